-- Times are integers: milliseconds since 1970-01-01 UTC. The views show them as ISO 8601.

-- Checks on the callback path name their words with OR: for each row, IN looks them up in a table of its own.

CREATE TABLE tasks (
    id                   TEXT    NOT NULL PRIMARY KEY,
    route                TEXT    NOT NULL,
    provider             TEXT    NOT NULL,
    account              TEXT    NOT NULL,
    asset                TEXT    NOT NULL,
    external_id          TEXT,
    model                TEXT,
    status               TEXT    NOT NULL CHECK (
                             status = 'PENDING' OR status = 'RUNNING' OR status = 'SUCCEEDED' OR status = 'FAILED'),
    stage                TEXT    CHECK (
                             stage = 'text' OR stage = 'first' OR stage = 'complete'),
    progress             INTEGER CHECK (progress BETWEEN 0 AND 100),
    reason               TEXT    CHECK (reason IN (
                             'invalid_request', 'auth_failed', 'entitlement', 'quota_exhausted', 'rate_limited',
                             'policy_rejected', 'upstream_unavailable', 'generation_failed', 'missing_output',
                             'expired', 'submit_unknown', 'canceled', 'not_found')),
    error_code           TEXT,
    error_message        TEXT,
    error_http_status    INTEGER,
    retryable            INTEGER CHECK (retryable IN (0, 1)),
    user_message         TEXT    NOT NULL,
    outputs              TEXT    NOT NULL DEFAULT '[]',
    created_at           INTEGER NOT NULL,
    submitted_at         INTEGER,
    started_at           INTEGER,
    finished_at          INTEGER,
    due_at               INTEGER,             -- when the tracker acts next; a claim moves it to the lease's end
    leased               INTEGER NOT NULL DEFAULT 0 CHECK (leased IN (0, 1)),  -- due_at is a lease's end
    progress_at          INTEGER NOT NULL,
    submit_state         TEXT    NOT NULL CHECK (
                             submit_state = 'queued' OR submit_state = 'sending' OR submit_state = 'accepted'
                             OR submit_state = 'refused' OR submit_state = 'ambiguous'),
    submit_attempts      INTEGER NOT NULL DEFAULT 0,
    expects_callback     INTEGER NOT NULL DEFAULT 0 CHECK (expects_callback IN (0, 1)),
    polls                INTEGER NOT NULL DEFAULT 0,
    callbacks            INTEGER NOT NULL DEFAULT 0,
    poll_step            INTEGER NOT NULL DEFAULT 0,
    poll_trouble         TEXT,
    poll_trouble_since   INTEGER,
    not_found_since      INTEGER,
    missing_output_since INTEGER,
    unknown_status       TEXT,
    unknown_statuses     INTEGER NOT NULL DEFAULT 0,
    result_seq           INTEGER,             -- the event whose payload is the result
    version              INTEGER NOT NULL DEFAULT 1,
    idempotency_key      TEXT    UNIQUE,
    fingerprint          TEXT,
    CHECK ((status = 'FAILED') = (reason IS NOT NULL)),
    CHECK ((status = 'SUCCEEDED' OR status = 'FAILED') = (finished_at IS NOT NULL)),
    CHECK (status <> 'SUCCEEDED' OR outputs <> '[]')
) STRICT;

-- One sweep walks this index lane by lane and touches only what is due.
CREATE INDEX tasks_due ON tasks (account, provider, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX tasks_external ON tasks (external_id) WHERE external_id IS NOT NULL;
CREATE INDEX tasks_status ON tasks (status, id);

-- Requests are kept apart: they may be large, and a task's row is rewritten often.
CREATE TABLE requests (
    task_id   TEXT NOT NULL PRIMARY KEY REFERENCES tasks (id) ON DELETE CASCADE,
    body      TEXT NOT NULL,
    fallbacks TEXT                            -- models to try when the first is refused, a JSON array
) STRICT;

CREATE TABLE labels (
    task_id TEXT NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    name    TEXT NOT NULL,
    value   TEXT NOT NULL,
    PRIMARY KEY (task_id, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX labels_value ON labels (name, value, task_id);

-- Append-only. The dedupe key makes each piece of news unique; announces makes the row the source of deliveries.
CREATE TABLE events (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    task_id     TEXT    NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    at          INTEGER NOT NULL,
    source      TEXT    NOT NULL CHECK (
                             source = 'submit' OR source = 'callback' OR source = 'poll' OR source = 'operator'
                             OR source = 'clock'),
    stage       TEXT,
    outcome     TEXT    NOT NULL CHECK (
                             outcome = 'applied' OR outcome = 'duplicate' OR outcome = 'stale'
                             OR outcome = 'conflict' OR outcome = 'ignored'),
    from_status TEXT    NOT NULL,
    to_status   TEXT    NOT NULL,
    detail      TEXT    NOT NULL,
    dedupe_key  TEXT    NOT NULL,
    reading     TEXT    NOT NULL,             -- what was understood, as JSON: the history can be judged again
    announces   TEXT,                         -- hook events, space separated
    snapshot    TEXT,                         -- the task right after, where hooks have something to hear
    payload     TEXT,                         -- the redacted upstream body
    UNIQUE (task_id, dedupe_key)
) STRICT;

CREATE TABLE deliveries (
    id              TEXT    NOT NULL PRIMARY KEY,
    task_id         TEXT    NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    seq             INTEGER NOT NULL,
    hook            TEXT    NOT NULL,
    event           TEXT    NOT NULL,
    status          TEXT    NOT NULL CHECK (status IN ('pending', 'running', 'succeeded', 'failed', 'dead')),
    attempts        INTEGER NOT NULL DEFAULT 0,
    due_at          INTEGER,                  -- next attempt, or the lease's end while running; NULL when finished
    error           TEXT,
    output          TEXT,
    created_at      INTEGER NOT NULL,
    finished_at     INTEGER,
    UNIQUE (seq, event, hook),
    CHECK ((status IN ('pending', 'running')) = (due_at IS NOT NULL)),
    CHECK ((status IN ('pending', 'running')) = (finished_at IS NULL))
) STRICT;
CREATE INDEX deliveries_due ON deliveries (hook, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX deliveries_open ON deliveries (task_id, hook, seq) WHERE due_at IS NOT NULL;
CREATE INDEX deliveries_task ON deliveries (task_id, seq);

-- How far the outbox was read: deliveries exist for every announcement up to here.
CREATE TABLE cursors (
    name TEXT    NOT NULL PRIMARY KEY,
    seq  INTEGER NOT NULL
) STRICT;
INSERT INTO cursors (name, seq) VALUES ('deliveries', 0);

-- The models that each account can use, as the upstream last listed them.
CREATE TABLE models (
    account      TEXT    NOT NULL,
    family       TEXT    NOT NULL,
    id           TEXT    NOT NULL,
    display_name TEXT,
    type         TEXT,
    created_at   TEXT,                        -- as the upstream writes it
    PRIMARY KEY (account, family, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE model_lists (
    account   TEXT    NOT NULL,
    family    TEXT    NOT NULL,
    synced_at INTEGER NOT NULL,
    PRIMARY KEY (account, family)
) STRICT, WITHOUT ROWID;

-- Callbacks without a token for tasks that are not known yet.
CREATE TABLE parked (
    id          INTEGER PRIMARY KEY,
    provider    TEXT    NOT NULL,
    external_id TEXT    NOT NULL,
    received_at INTEGER NOT NULL,
    payload     TEXT,
    UNIQUE (provider, external_id)
) STRICT;

-- Callbacks that could not be read, for inspection; the oldest make room.
CREATE TABLE rejected (
    id          INTEGER PRIMARY KEY,
    provider    TEXT    NOT NULL,
    received_at INTEGER NOT NULL,
    http_status INTEGER NOT NULL,
    why         TEXT    NOT NULL,
    body        TEXT    NOT NULL
) STRICT;

-- The state machine once more, for hand edits and bugs alike.

CREATE TRIGGER tasks_begin_pending BEFORE INSERT ON tasks WHEN NEW.status <> 'PENDING'
BEGIN
    SELECT RAISE(ABORT, 'a task begins PENDING');
END;

CREATE TRIGGER tasks_are_not_replaced BEFORE INSERT ON tasks
WHEN EXISTS (SELECT 1 FROM tasks WHERE id = NEW.id OR idempotency_key = NEW.idempotency_key)
BEGIN
    SELECT RAISE(ABORT, 'a task is never replaced');
END;

CREATE TRIGGER tasks_succeeded_is_final BEFORE UPDATE OF status, outputs, reason, finished_at ON tasks
WHEN OLD.status = 'SUCCEEDED'
 AND (NEW.status <> 'SUCCEEDED' OR NEW.outputs = '[]' OR NEW.finished_at IS NOT OLD.finished_at)
BEGIN
    SELECT RAISE(ABORT, 'SUCCEEDED is final');
END;

CREATE TRIGGER tasks_failed_is_final BEFORE UPDATE OF status, reason, finished_at ON tasks
WHEN OLD.status = 'FAILED'
 AND (NEW.status <> OLD.status OR NEW.reason IS NOT OLD.reason OR NEW.finished_at IS NOT OLD.finished_at)
 AND NOT (NEW.status = 'SUCCEEDED' AND OLD.reason IN ('expired', 'submit_unknown', 'missing_output'))
BEGIN
    SELECT RAISE(ABORT, 'FAILED is final, unless the tracker had given up and the provider delivers');
END;

CREATE TRIGGER tasks_never_go_back BEFORE UPDATE OF status, stage, progress ON tasks
WHEN (OLD.status = 'RUNNING' AND NEW.status = 'PENDING')
  OR (OLD.progress IS NOT NULL AND (NEW.progress IS NULL OR NEW.progress < OLD.progress))
  OR (OLD.stage = 'complete' AND NEW.stage IS NOT 'complete')
  OR (OLD.stage = 'first' AND (NEW.stage IS NULL OR NEW.stage = 'text'))
  OR (OLD.stage = 'text' AND NEW.stage IS NULL)
BEGIN
    SELECT RAISE(ABORT, 'status, stage and progress never go back');
END;

CREATE TRIGGER tasks_keep_their_identity BEFORE UPDATE OF id, route, provider, account, external_id, created_at ON tasks
WHEN NEW.id <> OLD.id OR NEW.route <> OLD.route OR NEW.provider <> OLD.provider OR NEW.account <> OLD.account
  OR NEW.created_at <> OLD.created_at
  OR (OLD.external_id IS NOT NULL AND NEW.external_id IS NOT OLD.external_id)
BEGIN
    SELECT RAISE(ABORT, 'a task keeps its identity');
END;

CREATE TRIGGER tasks_unfinished_stay BEFORE DELETE ON tasks WHEN OLD.status IN ('PENDING', 'RUNNING')
BEGIN
    SELECT RAISE(ABORT, 'an unfinished task is never deleted; cancel it first');
END;

CREATE TRIGGER events_are_append_only BEFORE UPDATE OF
    seq, task_id, at, source, stage, outcome, from_status, to_status, detail, dedupe_key, reading, announces ON events
BEGIN
    SELECT RAISE(ABORT, 'events are append-only');
END;

CREATE TRIGGER events_are_not_replaced BEFORE INSERT ON events
WHEN EXISTS (SELECT 1 FROM events WHERE seq = NEW.seq)
  OR EXISTS (SELECT 1 FROM events WHERE task_id = NEW.task_id AND dedupe_key = NEW.dedupe_key)
BEGIN
    SELECT RAISE(ABORT, 'events are append-only: none is replaced');
END;

CREATE TRIGGER events_of_unfinished_tasks_stay BEFORE DELETE ON events
WHEN (SELECT status FROM tasks WHERE id = OLD.task_id) IN ('PENDING', 'RUNNING')
BEGIN
    SELECT RAISE(ABORT, 'the history of an unfinished task is never deleted');
END;

-- The public read surface. Its names are those of the JSON and are stable across releases.

CREATE VIEW v_outputs AS
SELECT tasks.id AS task_id, item.key AS n,
       item.value ->> 'kind' AS kind,
       CASE WHEN item.value ->> 'authenticated' THEN NULL ELSE item.value ->> 'url' END AS url,
       item.value ->> 'mime' AS mime, item.value ->> 'title' AS title, item.value ->> 'duration_s' AS duration_s,
       item.value ->> 'text' AS text,
       0 AS archived, NULL AS path, NULL AS bytes, NULL AS sha256
FROM tasks, json_each(tasks.outputs) AS item;

CREATE VIEW v_tasks AS
SELECT id, route, provider, account, external_id, status, stage, progress, reason,
       CASE WHEN error_code IS NULL AND error_message IS NULL AND error_http_status IS NULL THEN NULL
            ELSE json_object('code', error_code, 'message', error_message, 'http_status', error_http_status) END
           AS error,
       retryable, user_message,
       (SELECT json_group_array(json_object(
                   'n', n, 'kind', kind, 'url', url, 'mime', mime, 'title', title, 'duration_s', duration_s,
                   'text', text, 'archived', json(iif(archived, 'true', 'false')), 'path', path, 'bytes', bytes,
                   'sha256', sha256)) FROM v_outputs WHERE task_id = tasks.id) AS outputs,
       (SELECT body FROM requests WHERE task_id = tasks.id) AS request,
       (SELECT payload FROM events WHERE seq = tasks.result_seq) AS result,
       (SELECT json_group_object(name, value) FROM labels WHERE task_id = tasks.id) AS labels,
       model,
       strftime('%Y-%m-%dT%H:%M:%fZ', created_at / 1000.0, 'unixepoch') AS created_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', submitted_at / 1000.0, 'unixepoch') AS submitted_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', started_at / 1000.0, 'unixepoch') AS started_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', finished_at / 1000.0, 'unixepoch') AS finished_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', due_at / 1000.0, 'unixepoch') AS next_poll_at,
       polls, callbacks, version
FROM tasks;

CREATE VIEW v_active AS SELECT * FROM v_tasks WHERE status IN ('PENDING', 'RUNNING');

CREATE VIEW v_finished AS SELECT * FROM v_tasks WHERE status IN ('SUCCEEDED', 'FAILED');

CREATE VIEW v_failures AS SELECT * FROM v_tasks WHERE status = 'FAILED';

CREATE VIEW v_events AS
SELECT seq, task_id, strftime('%Y-%m-%dT%H:%M:%fZ', at / 1000.0, 'unixepoch') AS at, source, stage, outcome,
       from_status AS "from", to_status AS "to", detail, payload
FROM events;

CREATE VIEW v_deliveries AS
SELECT id, task_id, seq, hook, event, status, attempts,
       CASE status WHEN 'pending' THEN strftime('%Y-%m-%dT%H:%M:%fZ', due_at / 1000.0, 'unixepoch') END
           AS next_attempt_at,
       error, output,
       strftime('%Y-%m-%dT%H:%M:%fZ', created_at / 1000.0, 'unixepoch') AS created_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', finished_at / 1000.0, 'unixepoch') AS finished_at
FROM deliveries;
