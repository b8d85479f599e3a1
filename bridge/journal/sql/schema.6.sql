-- Version 6: how often a bridge had led when this one last did, and whether it still does.

ALTER TABLE state ADD COLUMN epoch INTEGER NOT NULL DEFAULT 0;
ALTER TABLE state ADD COLUMN leads INTEGER NOT NULL DEFAULT 0;
