-- What a job cost, and what it counts in the budget of its account. Amounts are in billionths.
ALTER TABLE tasks ADD COLUMN usage TEXT;           -- the upstream's own figures about the ended job, a JSON object
ALTER TABLE tasks ADD COLUMN price_amount INTEGER;
ALTER TABLE tasks ADD COLUMN price_currency TEXT;
ALTER TABLE tasks ADD COLUMN cost_amount INTEGER;
ALTER TABLE tasks ADD COLUMN cost_currency TEXT;
ALTER TABLE tasks ADD COLUMN cost_kind TEXT CHECK (cost_kind IN ('actual', 'estimate'));

-- Sums, kept by triggers in the transaction of each change. A task belongs to the UTC day of its creation. A sum that does
-- not fit into 64 bits stays at the largest: a failing trigger would lose the end of a task.

CREATE TABLE spending (
    day      INTEGER NOT NULL,  -- since 1970
    account  TEXT    NOT NULL,
    currency TEXT    NOT NULL,
    amount   INTEGER NOT NULL,
    PRIMARY KEY (day, account, currency)
) STRICT, WITHOUT ROWID;

CREATE TABLE cost_days (
    day      INTEGER NOT NULL,  -- since 1970
    route    TEXT    NOT NULL,
    account  TEXT    NOT NULL,
    currency TEXT    NOT NULL,
    kind     TEXT    NOT NULL,
    tasks    INTEGER NOT NULL,
    amount   INTEGER NOT NULL,
    PRIMARY KEY (day, route, account, currency, kind)
) STRICT, WITHOUT ROWID;

CREATE TABLE cost_labels (
    name     TEXT    NOT NULL,
    value    TEXT    NOT NULL,
    currency TEXT    NOT NULL,
    kind     TEXT    NOT NULL,
    tasks    INTEGER NOT NULL,
    amount   INTEGER NOT NULL,
    PRIMARY KEY (name, value, currency, kind)
) STRICT, WITHOUT ROWID;
CREATE INDEX cost_labels_amount ON cost_labels (amount);

CREATE TRIGGER tasks_price_insert AFTER INSERT ON tasks WHEN NEW.price_amount IS NOT NULL
BEGIN
    INSERT INTO spending (day, account, currency, amount)
    VALUES (NEW.created_at / 86400000, NEW.account, NEW.price_currency, NEW.price_amount)
    ON CONFLICT DO UPDATE SET amount = min(amount + excluded.amount, 9000000000000000000);
END;

CREATE TRIGGER tasks_price_update AFTER UPDATE OF price_amount, price_currency ON tasks
WHEN NEW.price_amount IS NOT OLD.price_amount OR NEW.price_currency IS NOT OLD.price_currency
BEGIN
    UPDATE spending SET amount = amount - OLD.price_amount
    WHERE day = OLD.created_at / 86400000 AND account = OLD.account AND currency = OLD.price_currency;
    INSERT INTO spending (day, account, currency, amount)
    SELECT NEW.created_at / 86400000, NEW.account, NEW.price_currency, NEW.price_amount
    WHERE NEW.price_amount IS NOT NULL
    ON CONFLICT DO UPDATE SET amount = min(amount + excluded.amount, 9000000000000000000);
END;

CREATE TRIGGER tasks_price_delete AFTER DELETE ON tasks WHEN OLD.price_amount IS NOT NULL
BEGIN
    UPDATE spending SET amount = amount - OLD.price_amount
    WHERE day = OLD.created_at / 86400000 AND account = OLD.account AND currency = OLD.price_currency;
END;

-- Two triggers, so that the first cost, nearly always the only one, runs only the statements that it needs.
CREATE TRIGGER tasks_cost_gone AFTER UPDATE OF cost_amount, cost_currency, cost_kind ON tasks
WHEN OLD.cost_amount IS NOT NULL AND (NEW.cost_amount IS NOT OLD.cost_amount
  OR NEW.cost_currency IS NOT OLD.cost_currency OR NEW.cost_kind IS NOT OLD.cost_kind)
BEGIN
    UPDATE cost_days SET tasks = tasks - 1, amount = amount - OLD.cost_amount
    WHERE day = OLD.created_at / 86400000 AND route = OLD.route AND account = OLD.account
      AND currency = OLD.cost_currency AND kind = OLD.cost_kind;
    UPDATE cost_labels SET tasks = tasks - 1, amount = amount - OLD.cost_amount
    WHERE (name, value) IN (SELECT name, value FROM labels WHERE task_id = OLD.id)
      AND currency = OLD.cost_currency AND kind = OLD.cost_kind;
END;

CREATE TRIGGER tasks_cost_known AFTER UPDATE OF cost_amount, cost_currency, cost_kind ON tasks
WHEN NEW.cost_amount IS NOT NULL AND (NEW.cost_amount IS NOT OLD.cost_amount
  OR NEW.cost_currency IS NOT OLD.cost_currency OR NEW.cost_kind IS NOT OLD.cost_kind)
BEGIN
    INSERT INTO cost_days (day, route, account, currency, kind, tasks, amount)
    VALUES (NEW.created_at / 86400000, NEW.route, NEW.account, NEW.cost_currency, NEW.cost_kind, 1, NEW.cost_amount)
    ON CONFLICT DO UPDATE SET
        tasks = tasks + 1, amount = min(amount + excluded.amount, 9000000000000000000);
    INSERT INTO cost_labels (name, value, currency, kind, tasks, amount)
    SELECT name, value, NEW.cost_currency, NEW.cost_kind, 1, NEW.cost_amount FROM labels WHERE task_id = NEW.id
    ON CONFLICT DO UPDATE SET
        tasks = tasks + 1, amount = min(amount + excluded.amount, 9000000000000000000);
END;

CREATE TRIGGER tasks_cost_delete BEFORE DELETE ON tasks WHEN OLD.cost_amount IS NOT NULL  -- its labels still exist
BEGIN
    UPDATE cost_days SET tasks = tasks - 1, amount = amount - OLD.cost_amount
    WHERE day = OLD.created_at / 86400000 AND route = OLD.route AND account = OLD.account
      AND currency = OLD.cost_currency AND kind = OLD.cost_kind;
    UPDATE cost_labels SET tasks = tasks - 1, amount = amount - OLD.cost_amount
    WHERE (name, value) IN (SELECT name, value FROM labels WHERE task_id = OLD.id)
      AND currency = OLD.cost_currency AND kind = OLD.cost_kind;
END;

CREATE TRIGGER labels_cost_insert AFTER INSERT ON labels  -- by hand: others come before the cost
WHEN EXISTS (SELECT 1 FROM tasks WHERE id = NEW.task_id AND cost_amount IS NOT NULL)
BEGIN
    INSERT INTO cost_labels (name, value, currency, kind, tasks, amount)
    SELECT NEW.name, NEW.value, cost_currency, cost_kind, 1, cost_amount FROM tasks WHERE id = NEW.task_id
    ON CONFLICT DO UPDATE SET
        tasks = tasks + 1, amount = min(amount + excluded.amount, 9000000000000000000);
END;

CREATE TRIGGER labels_cost_update AFTER UPDATE OF name, value ON labels  -- by hand
WHEN EXISTS (SELECT 1 FROM tasks WHERE id = NEW.task_id AND cost_amount IS NOT NULL)
BEGIN
    UPDATE cost_labels SET tasks = tasks - 1, amount = amount - task.cost_amount
    FROM (SELECT cost_amount, cost_currency, cost_kind FROM tasks WHERE id = OLD.task_id) AS task
    WHERE name = OLD.name AND value = OLD.value AND currency = task.cost_currency AND kind = task.cost_kind;
    INSERT INTO cost_labels (name, value, currency, kind, tasks, amount)
    SELECT NEW.name, NEW.value, cost_currency, cost_kind, 1, cost_amount FROM tasks WHERE id = NEW.task_id
    ON CONFLICT DO UPDATE SET
        tasks = tasks + 1, amount = min(amount + excluded.amount, 9000000000000000000);
END;

CREATE TRIGGER labels_cost_delete AFTER DELETE ON labels  -- by hand: those of a deleted task have none any more
WHEN EXISTS (SELECT 1 FROM tasks WHERE id = OLD.task_id AND cost_amount IS NOT NULL)
BEGIN
    UPDATE cost_labels SET tasks = tasks - 1, amount = amount - task.cost_amount
    FROM (SELECT cost_amount, cost_currency, cost_kind FROM tasks WHERE id = OLD.task_id) AS task
    WHERE name = OLD.name AND value = OLD.value AND currency = task.cost_currency AND kind = task.cost_kind;
END;

-- Views: what a task cost, and the sums by day.

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
       (VALUES (cost_amount / 1000000000.0), ((SELECT as_real FROM column_types))) AS cost_amount,
       cost_currency, cost_kind,
       polls, callbacks, version, retryable, user_message, usage,
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

CREATE VIEW v_active AS SELECT * FROM v_tasks WHERE status = 'PENDING' OR status = 'RUNNING';

CREATE VIEW v_finished AS SELECT * FROM v_tasks WHERE status IN ('SUCCEEDED', 'FAILED');

CREATE VIEW v_failures AS SELECT * FROM v_tasks WHERE status = 'FAILED';

CREATE VIEW v_costs AS
SELECT (VALUES (strftime('%Y-%m-%d', day * 86400, 'unixepoch')), (route)) AS day, route, account, currency, kind, tasks,
       (VALUES (amount / 1000000000.0), ((SELECT as_real FROM column_types))) AS amount
FROM cost_days WHERE tasks > 0;
