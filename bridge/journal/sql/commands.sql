-- name: count
SELECT count(*) FROM commands

-- name: begin
INSERT INTO commands (identity, digest, at, frame, begun) VALUES (?, ?, ?, ?, 1)
ON CONFLICT (identity) DO UPDATE
SET at = excluded.at, frame = excluded.frame, begun = 1, id = NULL, reply = NULL

-- name: begin_old
INSERT INTO commands (identity, digest, at, frame, begun) VALUES (?, ?, ?, ?, 1)
ON CONFLICT (identity) DO UPDATE
SET digest = excluded.digest, at = excluded.at, frame = excluded.frame, begun = 1, id = NULL, reply = NULL
WHERE at < excluded.at OR (at = excluded.at AND reply IS NULL)

-- name: clear_up
UPDATE commands SET frame = NULL, begun = begun AND (? OR reply IS NOT NULL) WHERE identity = ?

-- name: uncertain
SELECT identity, frame FROM commands WHERE begun AND frame IS NOT NULL

-- name: end
INSERT INTO commands (identity, digest, at, begun, id, outcome, reason, reply)
VALUES (?, ?, ?, 0, ?, ?, ?, ?)
ON CONFLICT (identity) DO UPDATE
SET frame = CASE excluded.outcome WHEN 'uncertain' THEN frame END, id = excluded.id, outcome = excluded.outcome, reason = excluded.reason, reply = excluded.reply
WHERE reply IS NULL

-- name: end_old
INSERT INTO commands (identity, digest, at, begun, id, outcome, reason, reply)
VALUES (?, ?, ?, 0, ?, ?, ?, ?)
ON CONFLICT (identity) DO UPDATE
SET digest = excluded.digest, frame = CASE excluded.outcome WHEN 'uncertain' THEN frame END, id = excluded.id, outcome = excluded.outcome, reason = excluded.reason, reply = excluded.reply
WHERE reply IS NULL AND at <= excluded.at

-- name: recall
SELECT digest, begun, id, outcome, reason, reply FROM commands WHERE identity = ?

-- name: forget_old
DELETE FROM commands WHERE rowid IN (SELECT rowid FROM commands WHERE at < ? LIMIT ?)

-- name: latest_begun_of_surplus
SELECT max(at) FROM (SELECT begun, at FROM commands ORDER BY begun, at LIMIT ?) WHERE begun

-- name: forget_surplus
DELETE FROM commands WHERE rowid IN (SELECT rowid FROM commands ORDER BY begun, at LIMIT ?)

-- name: remembered
SELECT rowid, identity, digest, at, frame, id, outcome, reason, reply FROM commands
WHERE rowid > ? AND (begun OR reply IS NOT NULL) ORDER BY rowid LIMIT ?
