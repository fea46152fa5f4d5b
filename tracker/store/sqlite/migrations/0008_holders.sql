-- A row for each process that has the store open, and who holds a lease.
CREATE TABLE processes (
    id         TEXT    NOT NULL PRIMARY KEY,  -- a ULID, new at each start
    host       TEXT    NOT NULL,
    pid        INTEGER NOT NULL,
    version    TEXT    NOT NULL,
    started_at INTEGER NOT NULL,
    seen_at    INTEGER NOT NULL               -- renewed by each check that a write can be committed
) STRICT;

-- The process whose lease ends at due_at; NULL: due_at is no lease's end. A create that is being sent keeps its holder.
ALTER TABLE tasks ADD COLUMN holder TEXT;
UPDATE tasks SET holder = 'unknown' WHERE leased = 1;
ALTER TABLE tasks DROP COLUMN leased;
ALTER TABLE deliveries ADD COLUMN holder TEXT;
UPDATE deliveries SET holder = 'unknown' WHERE status = 'running';
ALTER TABLE archives ADD COLUMN holder TEXT;
UPDATE archives SET holder = 'unknown' WHERE state = 'running';
DELETE FROM cursors WHERE name = 'writable';
