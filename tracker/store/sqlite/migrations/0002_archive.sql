-- Copies of outputs. An output is known by its identity (its URL without the query, or the digest of inline data),
-- so that one that comes again, at another place or signed anew, is not downloaded again.

CREATE TABLE archives (
    task_id     TEXT    NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    identity    TEXT    NOT NULL,
    n           INTEGER NOT NULL,         -- position among the outputs; makes the file's name
    state       TEXT    NOT NULL CHECK (
                    state = 'pending' OR state = 'running' OR state = 'stored' OR state = 'dead'),
    attempts    INTEGER NOT NULL DEFAULT 0,
    due_at      INTEGER,                  -- next attempt, or the lease's end while running; NULL when finished
    expires_at  INTEGER,                  -- of the upstream URL, as far as it or the contract shows
    error       TEXT,
    path        TEXT,                     -- below the archive: <task id>/<n>-<slug>.<ext>
    bytes       INTEGER,
    sha256      TEXT,
    mime        TEXT,
    created_at  INTEGER NOT NULL,
    finished_at INTEGER,
    PRIMARY KEY (task_id, identity),
    CHECK ((state = 'pending' OR state = 'running') = (due_at IS NOT NULL)),
    CHECK ((state = 'pending' OR state = 'running') = (finished_at IS NULL)),
    CHECK ((state = 'stored') = (path IS NOT NULL AND bytes IS NOT NULL AND sha256 IS NOT NULL AND mime IS NOT NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX archives_due ON archives (due_at) WHERE due_at IS NOT NULL;

-- How far the outbox was read: the archive knows the outputs of every announcement up to here.
INSERT INTO cursors (name, seq) VALUES ('archives', 0);

DROP VIEW v_outputs;
CREATE VIEW v_outputs AS
SELECT tasks.id AS task_id, item.key AS n,
       item.value ->> 'kind' AS kind,
       CASE WHEN item.value ->> 'authenticated' THEN NULL ELSE item.value ->> 'url' END AS url,
       coalesce(archives.mime, item.value ->> 'mime') AS mime,
       item.value ->> 'title' AS title, item.value ->> 'duration_s' AS duration_s,
       item.value ->> 'text' AS text,
       archives.path IS NOT NULL AS archived, archives.path AS path, archives.bytes AS bytes,
       archives.sha256 AS sha256
FROM tasks, json_each(tasks.outputs) AS item
LEFT JOIN archives ON archives.task_id = tasks.id AND archives.state = 'stored' AND archives.identity = coalesce(
    item.value ->> 'known_as',
    substr(item.value ->> 'url', 1, instr((item.value ->> 'url') || '?', '?') - 1),
    item.value ->> 'inline');
