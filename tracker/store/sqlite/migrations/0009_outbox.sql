-- Events whose deliveries are not made yet: written with the event, deleted with the fan-out. A position in events
-- would skip an event that becomes visible after a later one.
CREATE TABLE outbox (
    seq INTEGER NOT NULL PRIMARY KEY  -- of the event
) STRICT;
INSERT INTO outbox (seq)
SELECT seq FROM events
WHERE announces IS NOT NULL AND seq > (SELECT seq FROM cursors WHERE name = 'deliveries') ORDER BY seq;
DELETE FROM cursors WHERE name = 'deliveries';
