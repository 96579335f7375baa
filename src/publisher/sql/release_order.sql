-- The operator wants order $1's parked events sent again, in order. The publisher sees it at its next heartbeat.
UPDATE quarantined_order SET released_at = now() WHERE order_id = $1 RETURNING order_id
