-- The operator $3 gives up the parked event at position $2 of aggregate $1, because of $4; the broker had refused it because of $5.
-- The event stays in the journal. Its aggregate is released, so that the publisher sends the rest at its next heartbeat.
-- Index: quarantined_event_pkey, quarantined_aggregate_pkey.
WITH gone AS (
    DELETE FROM quarantined_event e WHERE e.aggregate_id = $1 AND e.seq = $2 RETURNING e.seq, e.aggregate_id
), released AS (
    UPDATE quarantined_aggregate o SET released_at = now() FROM gone g WHERE o.aggregate_id = g.aggregate_id
)
INSERT INTO discarded_event (seq, aggregate_id, discarded_by, reason, error)
SELECT g.seq, g.aggregate_id, $3, $4, $5 FROM gone g
RETURNING aggregate_id AS id, seq, discarded_at, discarded_by, reason, error
