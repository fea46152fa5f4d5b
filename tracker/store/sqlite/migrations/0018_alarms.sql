-- Alarms, and their changes as events for hooks. There is one row for each kind and subject that was ever raised, until
-- retention deletes it: its deliveries run in order.
CREATE TABLE alarms (
    id           INTEGER PRIMARY KEY,
    kind         TEXT    NOT NULL,
    subject      TEXT    NOT NULL,
    is_raised    INTEGER NOT NULL CHECK (is_raised IN (0, 1)),
    since        INTEGER NOT NULL,
    message      TEXT    NOT NULL,
    fix          TEXT    NOT NULL,
    announced_at INTEGER NOT NULL,             -- when it was last raised
    UNIQUE (kind, subject)
) STRICT;

CREATE TABLE alarm_events (
    seq       INTEGER PRIMARY KEY AUTOINCREMENT,
    alarm_id  INTEGER NOT NULL REFERENCES alarms (id) ON DELETE CASCADE,
    at        INTEGER NOT NULL,
    event     TEXT    NOT NULL CHECK (event IN ('system.alarm', 'system.clear')),
    since     INTEGER NOT NULL,                -- of the alarm, as all that follows
    message   TEXT    NOT NULL,
    fix       TEXT    NOT NULL,
    in_outbox INTEGER NOT NULL DEFAULT 1 CHECK (in_outbox IN (0, 1))
) STRICT;
CREATE INDEX alarm_events_alarm ON alarm_events (alarm_id);
CREATE INDEX alarm_events_outbox ON alarm_events (in_outbox) WHERE in_outbox = 1;

-- A delivery is of a task or of an alarm. To copy a million deliveries into another table takes half a minute, and a
-- constraint that is removed changes no row, so only the text of the table changes.
-- Source: https://www.sqlite.org/lang_altertable.html, "Making Other Kinds Of Table Schema Changes" (read 2026-11).
ALTER TABLE deliveries ADD COLUMN alarm_id INTEGER REFERENCES alarms (id) ON DELETE CASCADE
    CHECK ((task_id IS NULL) <> (alarm_id IS NULL));
PRAGMA writable_schema = ON;
UPDATE sqlite_schema
SET sql = replace(sql, 'task_id         TEXT    NOT NULL REFERENCES tasks', 'task_id         TEXT    REFERENCES tasks')
WHERE type = 'table' AND name = 'deliveries';
PRAGMA writable_schema = RESET;
CREATE TEMP TABLE changed (is_changed CHECK (is_changed));
INSERT INTO changed SELECT NOT "notnull" FROM pragma_table_info('deliveries') WHERE name = 'task_id';
DROP TABLE changed;

CREATE INDEX deliveries_alarm ON deliveries (alarm_id, seq) WHERE alarm_id IS NOT NULL;
CREATE INDEX deliveries_alarm_open ON deliveries (hook, alarm_id, seq) WHERE alarm_id IS NOT NULL AND due_at IS NOT NULL;

-- What an alarm is about that ends some time after the last one: no search of what ended long ago.
CREATE INDEX deliveries_dead ON deliveries (hook, finished_at) WHERE status = 'dead' AND task_id IS NOT NULL;
CREATE INDEX archives_dead ON archives (finished_at) WHERE state = 'dead';

DROP VIEW v_deliveries;
CREATE VIEW v_deliveries AS
SELECT id, task_id, seq, hook, event, status, attempts,
       (VALUES (
           CASE status WHEN 'pending' THEN strftime('%Y-%m-%dT%H:%M:%fZ', due_at / 1000.0, 'unixepoch') END
       ), (hook)) AS next_attempt_at,
       (VALUES (strftime('%Y-%m-%dT%H:%M:%fZ', created_at / 1000.0, 'unixepoch')), (hook)) AS created_at,
       (VALUES (strftime('%Y-%m-%dT%H:%M:%fZ', finished_at / 1000.0, 'unixepoch')), (hook)) AS finished_at,
       (VALUES ((finished_at - created_at) / 1000.0), ((SELECT as_real FROM column_types))) AS took_s,
       (SELECT kind FROM alarms WHERE alarms.id = alarm_id) AS alarm_kind,
       (SELECT subject FROM alarms WHERE alarms.id = alarm_id) AS alarm_subject,
       "error", output
FROM deliveries;

CREATE VIEW v_alarms AS
SELECT kind, subject, (VALUES (strftime('%Y-%m-%dT%H:%M:%fZ', since / 1000.0, 'unixepoch')), (kind)) AS since,
       "message", fix
FROM alarms WHERE is_raised = 1;
