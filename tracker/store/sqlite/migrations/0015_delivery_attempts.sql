-- The attempts of deliveries that failed. A success needs no row: its delivery has all of it.
ALTER TABLE deliveries ADD COLUMN started_at INTEGER;  -- of the last attempt that ended
ALTER TABLE deliveries ADD COLUMN took_ms INTEGER;     -- of the same

CREATE TABLE delivery_attempts (
    delivery_id TEXT    NOT NULL REFERENCES deliveries (id) ON DELETE CASCADE,
    n           INTEGER NOT NULL,  -- order; the attempt's own number begins anew when a delivery is retried by hand
    attempt     INTEGER NOT NULL,
    started_at  INTEGER,           -- NULL: from before times were stored
    took_ms     INTEGER,
    outcome     TEXT    NOT NULL CHECK (outcome IN ('succeeded', 'retry', 'failed', 'dead')),
    error       TEXT,
    output      TEXT,              -- the end of what the hook printed
    PRIMARY KEY (delivery_id, n)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER delivery_attempts_are_bounded AFTER INSERT ON delivery_attempts
BEGIN
    DELETE FROM delivery_attempts WHERE delivery_id = NEW.delivery_id AND n <= NEW.n - 50;
END;

-- Of each delivery twice: its failed attempts (kept = 1), and itself where it succeeded. Programs that rewrite views
-- cannot read a UNION.
CREATE VIEW v_delivery_attempts AS
SELECT deliveries.id AS delivery_id, task_id, hook, event,
       (VALUES (iif(kept."value", made.attempt, attempts)), ((SELECT as_integer FROM column_types))) AS attempt,
       (VALUES (iif(kept."value", made.outcome, status)), (hook)) AS outcome,
       (VALUES (strftime('%Y-%m-%dT%H:%M:%fZ', iif(kept."value", made.started_at, deliveries.started_at) / 1000.0,
                         'unixepoch')), (hook)) AS started_at,
       (VALUES (iif(kept."value", made.took_ms, deliveries.took_ms) / 1000.0), ((SELECT as_real FROM column_types)))
           AS took_s,
       (VALUES (iif(kept."value", made."error", NULL)), (hook)) AS "error",
       (VALUES (iif(kept."value", made.output, substr(deliveries.output, -500))), (hook)) AS output
FROM deliveries CROSS JOIN json_each('[1, 0]') AS kept
LEFT JOIN delivery_attempts AS made ON kept."value" AND made.delivery_id = deliveries.id
WHERE made.delivery_id IS NOT NULL OR (NOT kept."value" AND status = 'succeeded');
