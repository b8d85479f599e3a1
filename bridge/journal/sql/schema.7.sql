-- Version 7: a commit of little is one row and one statement. What it changed beside the
-- messages stands with them, and `state` and `agents` hear of it from a later commit: until
-- then that is what counts, where `last` is above `state.sequence`.

ALTER TABLE batches ADD COLUMN beside BLOB;  -- JSON: the row of `state`, the states of agents
