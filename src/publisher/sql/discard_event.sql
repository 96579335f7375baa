-- The operator $3 gives up the parked event at position $2 of order $1, because of $4; the broker had refused it because of $5.
-- The event stays in the journal. Its order is released, so that the publisher sends the rest at its next heartbeat.
-- Index: quarantined_event_pkey, quarantined_order_pkey.
WITH gone AS (
    DELETE FROM quarantined_event e WHERE e.order_id = $1 AND e.seq = $2 RETURNING e.seq, e.order_id
), released AS (
    UPDATE quarantined_order o SET released_at = now() FROM gone g WHERE o.order_id = g.order_id
)
INSERT INTO discarded_event (seq, order_id, discarded_by, reason, error)
SELECT g.seq, g.order_id, $3, $4, $5 FROM gone g
RETURNING order_id, seq, discarded_at, discarded_by, reason, error
