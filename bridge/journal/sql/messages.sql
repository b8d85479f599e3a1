-- name: create_state
INSERT INTO state (journal_id, sequence, dropped) VALUES (?, 0, 0)

-- name: read_state
SELECT journal_id, sequence, heard_at, dropped, dropped_from, dropped_to, forgot_at FROM state

-- name: write_state
UPDATE state
SET sequence = ?, heard_at = ?, dropped = ?, dropped_from = ?, dropped_to = ?, forgot_at = ?

-- name: measure_all
SELECT count(*), coalesce(sum(length(body)), 0) FROM messages

-- name: read_first
SELECT coalesce(min(sequence), ?) FROM messages

-- name: measure_through
SELECT count(*), coalesce(sum(length(body)), 0) FROM messages WHERE sequence <= ?

-- name: insert_message
INSERT INTO messages (sequence, stream, routing_key, id, type, time, body, trace)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)

-- name: read_messages
SELECT sequence, stream, routing_key, id, type, time, body, trace
FROM messages WHERE sequence > ? ORDER BY sequence LIMIT ?

-- name: read_oldest
SELECT sequence, time, length(body) FROM messages ORDER BY sequence

-- name: delete_through
DELETE FROM messages WHERE sequence <= ?

-- name: read_agents
SELECT agent, state FROM agents

-- name: write_agent
INSERT INTO agents (agent, state) VALUES (?, ?)
ON CONFLICT (agent) DO UPDATE SET state = excluded.state

-- name: forget_agent
DELETE FROM agents WHERE agent = ?
