-- A callback may have named another id before the create was answered: what the create is answered with holds, so the id
-- of an unfinished task may be corrected. It is never taken away.
DROP TRIGGER tasks_keep_their_identity;
CREATE TRIGGER tasks_keep_their_identity BEFORE UPDATE OF id, route, provider, account, external_id, created_at ON tasks
WHEN NEW.id <> OLD.id OR NEW.route <> OLD.route OR NEW.provider <> OLD.provider OR NEW.account <> OLD.account
  OR NEW.created_at <> OLD.created_at
  OR (OLD.external_id IS NOT NULL AND NEW.external_id IS NOT OLD.external_id
      AND (NEW.external_id IS NULL OR OLD.status = 'SUCCEEDED' OR OLD.status = 'FAILED'))
BEGIN
    SELECT RAISE(ABORT, 'a task keeps its identity');
END;

-- A hand edit must leave what the tracker can read: one row that it cannot takes every list down that holds it.
CREATE TRIGGER tasks_outputs_are_a_list BEFORE UPDATE OF outputs ON tasks
WHEN NEW.outputs <> '[]' AND length(NEW.outputs) < 65536  -- data that came inline is long, and no hand edit
 AND NOT (json_valid(NEW.outputs) AND NEW.outputs GLOB '[[]{"kind":"*}]')
BEGIN
    SELECT RAISE(ABORT, 'outputs are a JSON array of objects, each beginning with its kind');
END;

-- What was accepted, and paid, is not sent again.
CREATE TRIGGER tasks_accepted_are_not_sent_again BEFORE UPDATE OF submit_state ON tasks
WHEN OLD.submit_state = 'accepted' AND (NEW.submit_state = 'queued' OR NEW.submit_state = 'sending')
BEGIN
    SELECT RAISE(ABORT, 'a task that was accepted is not sent again');
END;

-- Until here histories were made by other rules: which outputs stay, and which id holds.
INSERT INTO cursors (name, seq) SELECT 'older rules', coalesce(max(seq), 0) FROM events;
