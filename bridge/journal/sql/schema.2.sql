-- Version 2: which commands were begun and how they ended, for those that come again.

CREATE TABLE commands (
    identity BLOB PRIMARY KEY,  -- a hash of what makes two messages the same request
    digest   BLOB NOT NULL,     -- a hash of the body
    at       INTEGER NOT NULL,  -- when it was begun, or answered without that; as messages.time
    begun    INTEGER NOT NULL,  -- 1: its bytes may have gone out
    id       TEXT,              -- this and the rest: its reply, NULL until it has one
    outcome  TEXT,
    reason   TEXT,
    reply    BLOB
);

CREATE INDEX commands_by_age ON commands (at);
CREATE INDEX commands_by_worth ON commands (begun, at);

-- Up to when commands may be forgotten that came again later, as messages.time.
ALTER TABLE state ADD COLUMN forgot_at INTEGER;
