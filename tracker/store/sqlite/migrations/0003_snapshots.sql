-- A snapshot is now a whole task: with the fields that never change, moments as text, and nothing that is empty.

CREATE TEMP VIEW whole_snapshots AS
SELECT seq, json_patch(
    json_remove(snapshot, '$.error', '$.outputs'),
    -- json_patch drops what is NULL here
    json_object(
        'id', tasks.id, 'route', route, 'provider', provider, 'account', account, 'asset', asset,
        'expects_callback', iif(expects_callback, json('true'), NULL),
        'outputs', json(snapshot ->> 'outputs'),
        'error', iif(snapshot -> 'error' IS NULL, NULL, json_object(
            'code', snapshot ->> '$.error[0]', 'message', snapshot ->> '$.error[1]',
            'http_status', snapshot ->> '$.error[2]')),
        'created_at', strftime('%Y-%m-%dT%H:%M:%fZ', created_at / 1000.0, 'unixepoch'),
        'submitted_at', strftime('%Y-%m-%dT%H:%M:%fZ', (snapshot ->> 'submitted_at') / 1000.0, 'unixepoch'),
        'started_at', strftime('%Y-%m-%dT%H:%M:%fZ', (snapshot ->> 'started_at') / 1000.0, 'unixepoch'),
        'finished_at', strftime('%Y-%m-%dT%H:%M:%fZ', (snapshot ->> 'finished_at') / 1000.0, 'unixepoch'),
        'due_at', strftime('%Y-%m-%dT%H:%M:%fZ', (snapshot ->> 'due_at') / 1000.0, 'unixepoch'),
        'progress_at', strftime('%Y-%m-%dT%H:%M:%fZ', (snapshot ->> 'progress_at') / 1000.0, 'unixepoch'),
        'poll_trouble_since',
        strftime('%Y-%m-%dT%H:%M:%fZ', (snapshot ->> 'poll_trouble_since') / 1000.0, 'unixepoch'),
        'not_found_since', strftime('%Y-%m-%dT%H:%M:%fZ', (snapshot ->> 'not_found_since') / 1000.0, 'unixepoch'),
        'missing_output_since',
        strftime('%Y-%m-%dT%H:%M:%fZ', (snapshot ->> 'missing_output_since') / 1000.0, 'unixepoch')
    )) AS snapshot
FROM events JOIN tasks ON tasks.id = events.task_id
WHERE snapshot IS NOT NULL;

UPDATE events SET snapshot = whole_snapshots.snapshot FROM whole_snapshots WHERE whole_snapshots.seq = events.seq;

DROP VIEW whole_snapshots;
