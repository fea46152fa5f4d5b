-- Facts about the store itself. The instance id tells two stores apart; a restored backup is still the same store.
CREATE TABLE meta (
    name  TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO meta (name, value) VALUES ('instance', lower(hex(randomblob(16))));

CREATE TRIGGER meta_instance_never_changes BEFORE UPDATE ON meta WHEN OLD.name = 'instance'
BEGIN
    SELECT RAISE(ABORT, 'the instance id never changes');
END;

CREATE TRIGGER meta_instance_stays BEFORE DELETE ON meta WHEN OLD.name = 'instance'
BEGIN
    SELECT RAISE(ABORT, 'the instance id never changes');
END;

CREATE TRIGGER meta_instance_is_not_replaced BEFORE INSERT ON meta
WHEN NEW.name = 'instance' AND EXISTS (SELECT 1 FROM meta WHERE name = 'instance')
BEGIN
    SELECT RAISE(ABORT, 'the instance id never changes');
END;

-- Views for other readers: each column has a type that a typed reader sees, and names that other dialects of SQL
-- reserve are quoted. An expression has no declared type, and before SQLite 3.41 a CAST has none either. So an
-- expression is the first row of a VALUES, which is the value, and a column is the last row, which gives the type.
-- (A UNION ALL would do the same, but programs that parse a view and print it again put parentheses around its parts,
-- which SQLite does not read.) Columns of tables stay as they are, so that conditions on them use their indexes.

CREATE TABLE column_types (as_real REAL) STRICT;  -- no other table has a column of this type

DROP VIEW v_deliveries;
DROP VIEW v_events;
DROP VIEW v_failures;
DROP VIEW v_finished;
DROP VIEW v_active;
DROP VIEW v_tasks;
DROP VIEW v_outputs;

CREATE VIEW v_outputs AS
SELECT tasks.id AS task_id,
       (VALUES (item."key"), (archives.bytes)) AS n,
       (VALUES (item."value" ->> 'kind'), (archives.mime)) AS kind,
       (VALUES (CASE WHEN item."value" ->> 'authenticated' THEN NULL ELSE item."value" ->> 'url' END), (archives.mime))
           AS url,
       (VALUES (coalesce(archives.mime, item."value" ->> 'mime')), (archives.mime)) AS mime,
       (VALUES (item."value" ->> 'title'), (archives.mime)) AS title,
       (VALUES (CAST(item."value" ->> 'duration_s' AS REAL)), ((SELECT as_real FROM column_types))) AS duration_s,
       (VALUES (item."value" ->> 'text'), (archives.mime)) AS "text",
       (VALUES (archives."path" IS NOT NULL), (archives.bytes)) AS archived,
       archives."path" AS "path", archives.bytes AS bytes, archives.sha256 AS sha256
FROM tasks, json_each(tasks.outputs) AS item
LEFT JOIN archives ON archives.task_id = tasks.id AND archives."state" = 'stored' AND archives."identity" = coalesce(
    item."value" ->> 'known_as',
    substr(item."value" ->> 'url', 1, instr((item."value" ->> 'url') || '?', '?') - 1),
    item."value" ->> 'inline');

CREATE VIEW v_tasks AS
SELECT id, route, provider, account, external_id, status, stage, progress, reason,
       (VALUES (
           CASE WHEN error_code IS NULL AND error_message IS NULL AND error_http_status IS NULL THEN NULL
                ELSE json_object('code', error_code, 'message', error_message, 'http_status', error_http_status) END
       ), (model)) AS "error",
       retryable, user_message,
       (VALUES ((
           SELECT json_group_array(json_object(
               'n', n, 'kind', kind, 'url', url, 'mime', mime, 'title', title, 'duration_s', duration_s, 'text', "text",
               'archived', json(iif(archived, 'true', 'false')), 'path', "path", 'bytes', bytes, 'sha256', sha256))
           FROM v_outputs WHERE task_id = tasks.id
       )), (model)) AS outputs,
       (SELECT body FROM requests WHERE task_id = tasks.id) AS request,
       (SELECT payload FROM events WHERE seq = tasks.result_seq) AS "result",
       (VALUES ((SELECT json_group_object("name", "value") FROM labels WHERE task_id = tasks.id)), (model)) AS labels,
       model,
       (VALUES (strftime('%Y-%m-%dT%H:%M:%fZ', created_at / 1000.0, 'unixepoch')), (model)) AS created_at,
       (VALUES (strftime('%Y-%m-%dT%H:%M:%fZ', submitted_at / 1000.0, 'unixepoch')), (model)) AS submitted_at,
       (VALUES (strftime('%Y-%m-%dT%H:%M:%fZ', started_at / 1000.0, 'unixepoch')), (model)) AS started_at,
       (VALUES (strftime('%Y-%m-%dT%H:%M:%fZ', finished_at / 1000.0, 'unixepoch')), (model)) AS finished_at,
       (VALUES (strftime('%Y-%m-%dT%H:%M:%fZ', due_at / 1000.0, 'unixepoch')), (model)) AS next_poll_at,
       polls, callbacks, version
FROM tasks;

CREATE VIEW v_active AS SELECT * FROM v_tasks WHERE status IN ('PENDING', 'RUNNING');

CREATE VIEW v_finished AS SELECT * FROM v_tasks WHERE status IN ('SUCCEEDED', 'FAILED');

CREATE VIEW v_failures AS SELECT * FROM v_tasks WHERE status = 'FAILED';

CREATE VIEW v_events AS
SELECT seq, task_id,
       (VALUES (strftime('%Y-%m-%dT%H:%M:%fZ', events."at" / 1000.0, 'unixepoch')), (detail)) AS "at",
       source, stage, outcome, from_status AS "from", to_status AS "to", detail, payload
FROM events;

CREATE VIEW v_deliveries AS
SELECT id, task_id, seq, hook, event, status, attempts,
       (VALUES (
           CASE status WHEN 'pending' THEN strftime('%Y-%m-%dT%H:%M:%fZ', due_at / 1000.0, 'unixepoch') END
       ), (hook)) AS next_attempt_at,
       "error", output,
       (VALUES (strftime('%Y-%m-%dT%H:%M:%fZ', created_at / 1000.0, 'unixepoch')), (hook)) AS created_at,
       (VALUES (strftime('%Y-%m-%dT%H:%M:%fZ', finished_at / 1000.0, 'unixepoch')), (hook)) AS finished_at
FROM deliveries;
