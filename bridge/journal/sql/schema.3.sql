-- Version 3: what is known of each agent, and the trace of the command that made a call.

CREATE TABLE agents (
    agent TEXT PRIMARY KEY,  -- the canonical login
    state BLOB NOT NULL      -- JSON: its status, its call, its last call
) WITHOUT ROWID;

ALTER TABLE messages ADD COLUMN trace TEXT;
