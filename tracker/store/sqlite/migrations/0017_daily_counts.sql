-- DuckDB rewrites a plain count(*) in a view into a function that SQLite does not have, and lists no view at all then.
DROP VIEW v_daily;
CREATE VIEW v_daily AS
SELECT (VALUES (day), (route)) AS day, route, account,
       (VALUES (tasks), ((SELECT as_integer FROM column_types))) AS tasks,
       (VALUES (succeeded), ((SELECT as_integer FROM column_types))) AS succeeded,
       (VALUES (failed), ((SELECT as_integer FROM column_types))) AS failed,
       (VALUES (tasks - succeeded - failed), ((SELECT as_integer FROM column_types))) AS active,
       (VALUES (mean_s), ((SELECT as_real FROM column_types))) AS mean_s
FROM (
    SELECT strftime('%Y-%m-%d', created_at / 1000.0, 'unixepoch') AS day, route, account, count(id) AS tasks,
           sum(status = 'SUCCEEDED') AS succeeded, sum(status = 'FAILED') AS failed,
           avg(CASE status WHEN 'SUCCEEDED' THEN (finished_at - created_at) / 1000.0 END) AS mean_s
    FROM tasks GROUP BY 1, route, account
);
