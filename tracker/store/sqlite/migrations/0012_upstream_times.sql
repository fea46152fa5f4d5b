-- When the stage last changed, and when the job ended by the upstream's own words. Tasks from before have neither.
ALTER TABLE tasks ADD COLUMN stage_at INTEGER;
ALTER TABLE tasks ADD COLUMN upstream_finished_at INTEGER;

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
       (VALUES (strftime('%Y-%m-%dT%H:%M:%fZ', stage_at / 1000.0, 'unixepoch')), (model)) AS stage_at,
       (VALUES (strftime('%Y-%m-%dT%H:%M:%fZ', upstream_finished_at / 1000.0, 'unixepoch')), (model))
           AS upstream_finished_at,
       (VALUES (strftime('%Y-%m-%dT%H:%M:%fZ', due_at / 1000.0, 'unixepoch')), (model)) AS next_poll_at,
       (VALUES ((finished_at - created_at) / 1000.0), ((SELECT as_real FROM column_types))) AS duration_s,
       (VALUES ((started_at - created_at) / 1000.0), ((SELECT as_real FROM column_types))) AS queue_s,
       (VALUES (max(finished_at - upstream_finished_at, 0) / 1000.0), ((SELECT as_real FROM column_types)))
           AS noticed_after_s,
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
