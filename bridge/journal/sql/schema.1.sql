-- Version 1. Later versions are further files, schema.2.sql and so on: each takes the
-- file from the version before it, and is never changed once it was released.

CREATE TABLE messages (
    sequence    INTEGER PRIMARY KEY,
    stream      TEXT NOT NULL,
    routing_key TEXT NOT NULL,
    id          TEXT NOT NULL,
    type        TEXT NOT NULL,
    time        INTEGER NOT NULL,  -- microseconds since 1970, UTC
    body        BLOB NOT NULL
);

-- One row: what must outlive the messages.
CREATE TABLE state (
    journal_id     TEXT NOT NULL,
    sequence       INTEGER NOT NULL,  -- the last number given
    heard_at       INTEGER,           -- when Tactium could last be heard, as messages.time
    dropped        INTEGER NOT NULL,  -- messages dropped and not yet told of
    dropped_from   INTEGER,           -- the time of the first of them
    dropped_to     INTEGER            -- the time of the last of them
);
