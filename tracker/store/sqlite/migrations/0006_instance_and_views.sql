-- Facts about the store itself. The instance id tells two stores apart; a backup that is restored is still the same store.
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
