-- The data of outputs that came inside an answer, as base64 in pieces. Outputs hold its digest, which is their identity;
-- only the archive reads the data, and drops it once it is a file. Data that came before stays within the outputs.
CREATE TABLE inline_pieces (
    task_id  TEXT    NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    identity TEXT    NOT NULL,
    n        INTEGER NOT NULL,  -- position of the piece, from 0
    data     TEXT    NOT NULL,
    PRIMARY KEY (task_id, identity, n)
) STRICT;
