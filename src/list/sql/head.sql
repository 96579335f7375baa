-- The journal's last position, 0 when it is empty. Index: order_event_pkey, read backwards.
SELECT coalesce(max(seq), 0) AS head FROM order_event
