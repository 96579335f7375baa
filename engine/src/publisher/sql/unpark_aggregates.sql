-- A released aggregate with nothing left in the quarantine is well again. Index: quarantined_event_aggregate_idx.
DELETE FROM quarantined_aggregate o
 WHERE o.released_at IS NOT NULL
   AND NOT EXISTS (SELECT FROM quarantined_event e WHERE e.aggregate_id = o.aggregate_id)
