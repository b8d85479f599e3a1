-- name: begin
BEGIN IMMEDIATE

-- name: commit
COMMIT

-- name: roll_back
ROLLBACK

-- name: create_state
INSERT INTO state (journal_id, sequence, dropped) VALUES (?, 0, 0)

-- name: read_state
SELECT journal_id, sequence, first, heard_at, dropped, dropped_from, dropped_to, forgot_at,
    epoch, leads
FROM state

-- name: write_state
UPDATE state
SET sequence = ?, first = ?, heard_at = ?,
    dropped = ?, dropped_from = ?, dropped_to = ?, forgot_at = ?,
    epoch = ?, leads = ?

-- name: measure_all
SELECT coalesce(sum(bytes), 0) FROM batches

-- name: read_gone
SELECT coalesce(min(last - messages), ?) FROM batches WHERE last = (SELECT min(last) FROM batches)

-- name: measure_through
SELECT coalesce(sum(bytes), 0) FROM batches WHERE last <= ?

-- name: insert_batch
INSERT INTO batches (last, messages, bytes, heads, bodies, beside) VALUES (?, ?, ?, ?, ?, ?)

-- name: read_beside
SELECT last, beside FROM batches WHERE last > ? AND beside IS NOT NULL ORDER BY last

-- name: read_batches
SELECT last, messages, bytes, heads, bodies FROM batches WHERE last > ? ORDER BY last

-- name: delete_through
DELETE FROM batches WHERE last <= ?

-- name: read_agents
SELECT agent, state FROM agents

-- name: write_agent
INSERT INTO agents (agent, state) VALUES (?, ?)
ON CONFLICT (agent) DO UPDATE SET state = excluded.state

-- name: write_agents
INSERT INTO agents (agent, state) SELECT key, CAST(value AS BLOB) FROM json_each(?) WHERE true
ON CONFLICT (agent) DO UPDATE SET state = excluded.state

-- name: forget_agent
DELETE FROM agents WHERE agent = ?
