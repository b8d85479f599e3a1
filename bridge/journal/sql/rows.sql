-- name: forget
DELETE FROM rows

-- name: note
INSERT INTO rows (known) VALUES (?)

-- name: read
SELECT known FROM rows
