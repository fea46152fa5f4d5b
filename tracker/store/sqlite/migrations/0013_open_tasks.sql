-- Each change of a status was two writes of the index that held all tasks by status. Open tasks are few and worked off;
-- those that failed have an index of their own; those that succeeded are most, and are found along the ids.
DROP INDEX tasks_status;
CREATE INDEX tasks_open ON tasks (status, id) WHERE status = 'PENDING' OR status = 'RUNNING';

-- With the condition of the index: SQLite does not see that IN says the same.
DROP VIEW v_active;
CREATE VIEW v_active AS SELECT * FROM v_tasks WHERE status = 'PENDING' OR status = 'RUNNING';
