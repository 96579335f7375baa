-- Sets orders aside: $1 order ids, $2 why the broker refused the first of their events.
INSERT INTO quarantined_order (order_id, error)
SELECT i.order_id, i.error FROM unnest($1::uuid[], $2::text[]) AS i(order_id, error)
    ON CONFLICT (order_id) DO UPDATE SET error = excluded.error, since = now(), released_at = NULL
