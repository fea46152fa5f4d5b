-- Each look-up finds its rows by an index, however many tasks have ended.

-- Held rows and creates that wait to be sent are few: a start finds them without a walk over all that is open.
CREATE INDEX tasks_held ON tasks (holder) WHERE holder IS NOT NULL;
CREATE INDEX tasks_unsent ON tasks (id) WHERE submit_state = 'queued';
CREATE INDEX deliveries_running ON deliveries (hook) WHERE status = 'running';
CREATE INDEX archives_running ON archives (holder) WHERE state = 'running';

-- Lists by what never changes, written once, with the task; and by the rare end.
CREATE INDEX tasks_lists ON tasks (provider, account, route, id);
CREATE INDEX tasks_failed ON tasks (status, id, reason, provider, account, route) WHERE status = 'FAILED';

CREATE INDEX deliveries_hook ON deliveries (hook);
CREATE INDEX deliveries_failed ON deliveries (status, hook) WHERE status IN ('failed', 'dead');

-- Counts, kept by triggers: in the transaction of each change, also of one made by hand.

CREATE TABLE task_counts (
    provider  TEXT    NOT NULL,
    account   TEXT    NOT NULL,
    route     TEXT    NOT NULL,
    pending   INTEGER NOT NULL DEFAULT 0,
    running   INTEGER NOT NULL DEFAULT 0,
    succeeded INTEGER NOT NULL DEFAULT 0,
    failed    INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (provider, account, route)
) STRICT, WITHOUT ROWID;
INSERT INTO task_counts
SELECT provider, account, route, sum(status = 'PENDING'), sum(status = 'RUNNING'), sum(status = 'SUCCEEDED'),
       sum(status = 'FAILED')
FROM tasks GROUP BY 1, 2, 3;

CREATE TABLE failure_counts (
    reason   TEXT    NOT NULL,
    provider TEXT    NOT NULL,
    account  TEXT    NOT NULL,
    route    TEXT    NOT NULL,
    failed   INTEGER NOT NULL,
    PRIMARY KEY (reason, provider, account, route)
) STRICT, WITHOUT ROWID;
INSERT INTO failure_counts
SELECT reason, provider, account, route, count(*) FROM tasks WHERE status = 'FAILED' GROUP BY 1, 2, 3, 4;

CREATE TABLE delivery_counts (
    hook      TEXT    NOT NULL PRIMARY KEY,
    pending   INTEGER NOT NULL DEFAULT 0,
    running   INTEGER NOT NULL DEFAULT 0,
    succeeded INTEGER NOT NULL DEFAULT 0,
    failed    INTEGER NOT NULL DEFAULT 0,
    dead      INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
INSERT INTO delivery_counts
SELECT hook, sum(status = 'pending'), sum(status = 'running'), sum(status = 'succeeded'), sum(status = 'failed'),
       sum(status = 'dead')
FROM deliveries GROUP BY 1;

CREATE TABLE archive_counts (
    state TEXT    NOT NULL PRIMARY KEY,
    files INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO archive_counts VALUES ('pending', 0), ('running', 0), ('stored', 0), ('dead', 0);
UPDATE archive_counts SET files = counted.files
FROM (SELECT state, count(*) AS files FROM archives GROUP BY 1) AS counted WHERE counted.state = archive_counts.state;

CREATE TRIGGER tasks_count_insert AFTER INSERT ON tasks
BEGIN
    INSERT INTO task_counts (provider, account, route, pending) VALUES (NEW.provider, NEW.account, NEW.route, 1)
    ON CONFLICT DO UPDATE SET pending = pending + 1;  -- a task begins PENDING
END;

CREATE TRIGGER tasks_count_update AFTER UPDATE OF status ON tasks WHEN NEW.status <> OLD.status
BEGIN
    UPDATE task_counts SET
        pending = pending - (OLD.status = 'PENDING'),  -- and is never PENDING again
        running = running - (OLD.status = 'RUNNING') + (NEW.status = 'RUNNING'),
        succeeded = succeeded + (NEW.status = 'SUCCEEDED'),  -- which is final
        failed = failed - (OLD.status = 'FAILED') + (NEW.status = 'FAILED')
    WHERE provider = NEW.provider AND account = NEW.account AND route = NEW.route;
END;

CREATE TRIGGER tasks_count_failure AFTER UPDATE OF status ON tasks WHEN NEW.status = 'FAILED' AND OLD.status <> 'FAILED'
BEGIN
    INSERT INTO failure_counts (reason, provider, account, route, failed)
    VALUES (NEW.reason, NEW.provider, NEW.account, NEW.route, 1) ON CONFLICT DO UPDATE SET failed = failed + 1;
END;

CREATE TRIGGER tasks_count_recovery AFTER UPDATE OF status ON tasks WHEN OLD.status = 'FAILED' AND NEW.status <> 'FAILED'
BEGIN
    UPDATE failure_counts SET failed = failed - 1
    WHERE reason = OLD.reason AND provider = OLD.provider AND account = OLD.account AND route = OLD.route;
END;

CREATE TRIGGER tasks_count_delete AFTER DELETE ON tasks  -- only of ended ones
BEGIN
    UPDATE task_counts SET succeeded = succeeded - (OLD.status = 'SUCCEEDED'), failed = failed - (OLD.status = 'FAILED')
    WHERE provider = OLD.provider AND account = OLD.account AND route = OLD.route;
    UPDATE failure_counts SET failed = failed - 1
    WHERE reason = OLD.reason AND provider = OLD.provider AND account = OLD.account AND route = OLD.route;
END;

CREATE TRIGGER deliveries_count_insert AFTER INSERT ON deliveries
BEGIN
    INSERT INTO delivery_counts (hook, pending, running, succeeded, failed, dead)
    VALUES (NEW.hook, NEW.status = 'pending', NEW.status = 'running', NEW.status = 'succeeded', NEW.status = 'failed',
            NEW.status = 'dead')
    ON CONFLICT DO UPDATE SET
        pending = pending + excluded.pending, running = running + excluded.running,
        succeeded = succeeded + excluded.succeeded, failed = failed + excluded.failed, dead = dead + excluded.dead;
END;

CREATE TRIGGER deliveries_count_update AFTER UPDATE OF status ON deliveries
WHEN NEW.status <> OLD.status AND NEW.hook = OLD.hook
BEGIN
    UPDATE delivery_counts SET
        pending = pending - (OLD.status = 'pending') + (NEW.status = 'pending'),
        running = running - (OLD.status = 'running') + (NEW.status = 'running'),
        succeeded = succeeded - (OLD.status = 'succeeded') + (NEW.status = 'succeeded'),
        failed = failed - (OLD.status = 'failed') + (NEW.status = 'failed'),
        dead = dead - (OLD.status = 'dead') + (NEW.status = 'dead')
    WHERE hook = NEW.hook;
END;

CREATE TRIGGER deliveries_count_rename AFTER UPDATE OF hook ON deliveries WHEN NEW.hook <> OLD.hook  -- by hand
BEGIN
    UPDATE delivery_counts SET
        pending = pending - (OLD.status = 'pending'), running = running - (OLD.status = 'running'),
        succeeded = succeeded - (OLD.status = 'succeeded'), failed = failed - (OLD.status = 'failed'),
        dead = dead - (OLD.status = 'dead')
    WHERE hook = OLD.hook;
    INSERT INTO delivery_counts (hook, pending, running, succeeded, failed, dead)
    VALUES (NEW.hook, NEW.status = 'pending', NEW.status = 'running', NEW.status = 'succeeded', NEW.status = 'failed',
            NEW.status = 'dead')
    ON CONFLICT DO UPDATE SET
        pending = pending + excluded.pending, running = running + excluded.running,
        succeeded = succeeded + excluded.succeeded, failed = failed + excluded.failed, dead = dead + excluded.dead;
END;

CREATE TRIGGER deliveries_count_delete AFTER DELETE ON deliveries
BEGIN
    UPDATE delivery_counts SET
        pending = pending - (OLD.status = 'pending'), running = running - (OLD.status = 'running'),
        succeeded = succeeded - (OLD.status = 'succeeded'), failed = failed - (OLD.status = 'failed'),
        dead = dead - (OLD.status = 'dead')
    WHERE hook = OLD.hook;
END;

CREATE TRIGGER archives_count_insert AFTER INSERT ON archives
BEGIN
    UPDATE archive_counts SET files = files + 1 WHERE state = NEW.state;
END;

CREATE TRIGGER archives_count_update AFTER UPDATE OF state ON archives WHEN NEW.state <> OLD.state
BEGIN
    UPDATE archive_counts SET files = files + iif(state = NEW.state, 1, -1) WHERE state IN (OLD.state, NEW.state);
END;

CREATE TRIGGER archives_count_delete AFTER DELETE ON archives
BEGIN
    UPDATE archive_counts SET files = files - 1 WHERE state = OLD.state;
END;

-- New items of the archive are due at once; the claim walks them in the order of its choice: URLs that expire first, then
-- the longest wait. Others (leased, or to be tried again) are looked up by time. Each item is in one of the two indexes.
DROP INDEX archives_due;
CREATE INDEX archives_new ON archives (expires_at IS NULL, expires_at, due_at)
WHERE due_at IS NOT NULL AND attempts = 0 AND error IS NULL;
CREATE INDEX archives_waiting ON archives (due_at) WHERE due_at IS NOT NULL AND (attempts > 0 OR error IS NOT NULL);
