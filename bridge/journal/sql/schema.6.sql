-- Version 6: the number of the leadership that was this bridge's, and whether it leads: one
-- that has never heard of another does.

ALTER TABLE state ADD COLUMN epoch INTEGER NOT NULL DEFAULT 0;
ALTER TABLE state ADD COLUMN leads INTEGER NOT NULL DEFAULT 1;
