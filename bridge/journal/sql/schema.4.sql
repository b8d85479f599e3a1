-- Version 4: the messages of one commit stand together, so that a commit costs a few
-- statements however much has gathered.

CREATE TABLE batches (
    last     INTEGER PRIMARY KEY,  -- the number of its last message; they follow each other
    messages INTEGER NOT NULL,     -- how many those are
    bytes    INTEGER NOT NULL,     -- all bodies together
    heads    BLOB NOT NULL,        -- JSON: [stream, routing key, id, type, time, trace] of each;
                                   -- time is in microseconds since 1970, UTC
    bodies   BLOB NOT NULL         -- one on each line
);

-- The lowest number that is not done with: confirmed by the broker, or dropped.
ALTER TABLE state ADD COLUMN first INTEGER NOT NULL DEFAULT 1;
UPDATE state SET first = coalesce((SELECT min(sequence) FROM messages), sequence + 1);

INSERT INTO batches
SELECT sequence, 1, length(body),
       json_array(json_array(stream, routing_key, id, type, time, trace)), body
FROM messages;
DROP TABLE messages;
