-- How long tasks take: the coarse size of each task, and per route, model and size the times of the last that succeeded.
ALTER TABLE tasks ADD COLUMN size TEXT;
ALTER TABLE tasks ADD COLUMN unfinished_at INTEGER;   -- when a poll last found that it had not ended

CREATE TABLE durations (
    route      TEXT NOT NULL,
    model      TEXT NOT NULL,      -- '' stands for all
    size       TEXT NOT NULL,      -- '' stands for all
    took_s     TEXT NOT NULL CHECK (json_valid(took_s)),   -- JSON list of seconds, the newest last
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (route, model, size)
) STRICT, WITHOUT ROWID;

-- The newest tasks are enough to begin with, however large the file is.
INSERT INTO durations (route, model, size, took_s, updated_at)
WITH
    newest AS (SELECT * FROM tasks ORDER BY id DESC LIMIT 20000),
    ended AS (
        SELECT route, coalesce(model, '') AS model, finished_at, (finished_at - submitted_at) / 1000.0 AS took_s
        FROM newest WHERE status = 'SUCCEEDED' AND finished_at > submitted_at AND submit_attempts > 0
    ),
    keyed AS (
        SELECT route, '' AS model, took_s, finished_at FROM ended
        UNION ALL
        SELECT route, model, took_s, finished_at FROM ended WHERE model <> ''
    ),
    ranked AS (
        SELECT *, row_number() OVER (PARTITION BY route, model ORDER BY finished_at DESC) AS place FROM keyed
    ),
    last AS (SELECT * FROM ranked WHERE place <= 100 ORDER BY route, model, place DESC)
SELECT route, model, '', json_group_array(took_s), max(finished_at) FROM last GROUP BY route, model
ORDER BY max(finished_at) DESC LIMIT 1000;
