-- The record of the event at position $2 of aggregate $1, if it was given up. Index: discarded_event_pkey.
SELECT d.aggregate_id AS id, d.seq, d.discarded_at, d.discarded_by, d.reason, d.error
  FROM discarded_event d
 WHERE d.aggregate_id = $1 AND d.seq = $2
