-- The operator gives up the first parked event of order $1, the one the broker refuses. It stays in the journal.
DELETE FROM quarantined_event
 WHERE seq = (SELECT min(e.seq) FROM quarantined_event e WHERE e.order_id = $1)
RETURNING seq
