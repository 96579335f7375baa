-- The record of the event at position $2 of order $1, if it was given up. Index: discarded_event_pkey.
SELECT d.order_id, d.seq, d.discarded_at, d.discarded_by, d.reason, d.error
  FROM discarded_event d
 WHERE d.order_id = $1 AND d.seq = $2
