-- Which history of which server a session has led to, and how far the journal goes there. Index: order_event_pkey, read backwards.
SELECT server_timeline() AS timeline, coalesce(max(seq), 0) AS head FROM order_event
