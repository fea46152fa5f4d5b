-- Where a task comes from, which one it repeats, and what ended it.
ALTER TABLE tasks ADD COLUMN origin TEXT NOT NULL DEFAULT 'submit' CHECK (origin IN ('submit', 'register'));
ALTER TABLE tasks ADD COLUMN retry_of TEXT;   -- may name a task that retention has deleted
ALTER TABLE tasks ADD COLUMN ended_by TEXT;   -- the source of its last event that ended it
UPDATE tasks SET origin = 'register' WHERE submit_state = 'accepted' AND submit_attempts = 0;
CREATE INDEX tasks_retries ON tasks (retry_of) WHERE retry_of IS NOT NULL;

-- The long columns come last, so that a person who selects all of them can read the others.
DROP VIEW v_failures;
DROP VIEW v_finished;
DROP VIEW v_active;
DROP VIEW v_tasks;

CREATE VIEW v_tasks AS
SELECT id, status, stage, progress, reason, route, provider, account, model, external_id, origin, retry_of, ended_by,
       (VALUES (strftime('%Y-%m-%dT%H:%M:%fZ', created_at / 1000.0, 'unixepoch')), (model)) AS created_at,
       (VALUES (strftime('%Y-%m-%dT%H:%M:%fZ', submitted_at / 1000.0, 'unixepoch')), (model)) AS submitted_at,
       (VALUES (strftime('%Y-%m-%dT%H:%M:%fZ', started_at / 1000.0, 'unixepoch')), (model)) AS started_at,
       (VALUES (strftime('%Y-%m-%dT%H:%M:%fZ', finished_at / 1000.0, 'unixepoch')), (model)) AS finished_at,
       (VALUES (strftime('%Y-%m-%dT%H:%M:%fZ', due_at / 1000.0, 'unixepoch')), (model)) AS next_poll_at,
       (VALUES ((finished_at - created_at) / 1000.0), ((SELECT as_real FROM column_types))) AS duration_s,
       (VALUES ((started_at - created_at) / 1000.0), ((SELECT as_real FROM column_types))) AS queue_s,
       polls, callbacks, version, retryable, user_message,
       (VALUES (
           CASE WHEN error_code IS NULL AND error_message IS NULL AND error_http_status IS NULL THEN NULL
                ELSE json_object('code', error_code, 'message', error_message, 'http_status', error_http_status) END
       ), (model)) AS "error",
       (VALUES ((SELECT json_group_object("name", "value") FROM labels WHERE task_id = tasks.id)), (model)) AS labels,
       (VALUES ((
           SELECT json_group_array(json_object(
               'n', n, 'kind', kind, 'url', url, 'mime', mime, 'title', title, 'duration_s', duration_s, 'text', "text",
               'archived', json(iif(archived, 'true', 'false')), 'path', "path", 'bytes', bytes, 'sha256', sha256))
           FROM v_outputs WHERE task_id = tasks.id
       )), (model)) AS outputs,
       (SELECT body FROM requests WHERE task_id = tasks.id) AS request,
       (SELECT payload FROM events WHERE seq = tasks.result_seq) AS "result"
FROM tasks;

CREATE VIEW v_active AS SELECT * FROM v_tasks WHERE status IN ('PENDING', 'RUNNING');

CREATE VIEW v_finished AS SELECT * FROM v_tasks WHERE status IN ('SUCCEEDED', 'FAILED');

CREATE VIEW v_failures AS SELECT * FROM v_tasks WHERE status = 'FAILED';
