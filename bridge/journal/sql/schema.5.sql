-- Version 5: which rows of Tactium's tables are journaled and not deleted there yet, and the
-- frame of a command that has no reply, to take it back from there.

CREATE TABLE rows (
    known TEXT NOT NULL  -- JSON: the number of each row, with a digest of its text
);

ALTER TABLE commands ADD COLUMN frame BLOB;
