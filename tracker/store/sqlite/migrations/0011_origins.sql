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

DROP VIEW v_deliveries;
CREATE VIEW v_deliveries AS
SELECT id, task_id, seq, hook, event, status, attempts,
       (VALUES (
           CASE status WHEN 'pending' THEN strftime('%Y-%m-%dT%H:%M:%fZ', due_at / 1000.0, 'unixepoch') END
       ), (hook)) AS next_attempt_at,
       (VALUES (strftime('%Y-%m-%dT%H:%M:%fZ', created_at / 1000.0, 'unixepoch')), (hook)) AS created_at,
       (VALUES (strftime('%Y-%m-%dT%H:%M:%fZ', finished_at / 1000.0, 'unixepoch')), (hook)) AS finished_at,
       (VALUES ((finished_at - created_at) / 1000.0), ((SELECT as_real FROM column_types))) AS took_s,
       "error", output
FROM deliveries;

-- Sums for reports. Days are UTC. A percentile is the least duration that covers its share of the successes.

ALTER TABLE column_types ADD COLUMN as_integer INTEGER;

CREATE VIEW v_daily AS
SELECT (VALUES (day), (route)) AS day, route, account,
       (VALUES (tasks), ((SELECT as_integer FROM column_types))) AS tasks,
       (VALUES (succeeded), ((SELECT as_integer FROM column_types))) AS succeeded,
       (VALUES (failed), ((SELECT as_integer FROM column_types))) AS failed,
       (VALUES (tasks - succeeded - failed), ((SELECT as_integer FROM column_types))) AS active,
       (VALUES (mean_s), ((SELECT as_real FROM column_types))) AS mean_s
FROM (
    SELECT strftime('%Y-%m-%d', created_at / 1000.0, 'unixepoch') AS day, route, account, count(*) AS tasks,
           sum(status = 'SUCCEEDED') AS succeeded, sum(status = 'FAILED') AS failed,
           avg(CASE status WHEN 'SUCCEEDED' THEN (finished_at - created_at) / 1000.0 END) AS mean_s
    FROM tasks GROUP BY 1, route, account
);

CREATE VIEW v_routes AS
SELECT route,
       (VALUES (succeeded), ((SELECT as_integer FROM column_types))) AS succeeded,
       (VALUES (failed), ((SELECT as_integer FROM column_types))) AS failed,
       (VALUES (1.0 * succeeded / (succeeded + failed)), ((SELECT as_real FROM column_types))) AS success_rate,
       (VALUES (p50_s), ((SELECT as_real FROM column_types))) AS p50_s,
       (VALUES (p95_s), ((SELECT as_real FROM column_types))) AS p95_s
FROM (
    SELECT route, sum(status = 'SUCCEEDED') AS succeeded, sum(status = 'FAILED') AS failed,
           min(CASE WHEN status = 'SUCCEEDED' AND place >= 0.5 * total THEN took_s END) AS p50_s,
           min(CASE WHEN status = 'SUCCEEDED' AND place >= 0.95 * total THEN took_s END) AS p95_s
    FROM (
        SELECT route, status, (finished_at - created_at) / 1000.0 AS took_s,
               row_number() OVER (PARTITION BY route, status ORDER BY finished_at - created_at) AS place,
               count(*) OVER (PARTITION BY route, status) AS total
        FROM tasks WHERE finished_at >= (strftime('%s', 'now') - 7 * 86400) * 1000
    )
    GROUP BY route
);

-- Creates that wait are found by their account: those that wait for a slot (due_at is NULL), in the order of their rows.
DROP INDEX tasks_unsent;
CREATE INDEX tasks_unsent ON tasks (account) WHERE submit_state = 'queued';
