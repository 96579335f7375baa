-- The operator wants aggregate $1's parked events sent again, in order. The publisher sees it at its next heartbeat.
UPDATE quarantined_aggregate SET released_at = now() WHERE aggregate_id = $1 RETURNING aggregate_id
