-- The events of order $1 in order, each with how far it has come. Index: order_event_order_version_key, quarantined_event_pkey.
SELECT e.seq, e.event_id, e.event_type, e.version, e.occurred_at,
       CASE WHEN q.seq IS NOT NULL THEN 'quarantined'
            WHEN e.seq > c.published_seq THEN 'waiting'
            ELSE 'published'
       END AS stage
  FROM order_event e
 CROSS JOIN publisher_cursor c
  LEFT JOIN quarantined_event q ON q.seq = e.seq
 WHERE e.order_id = $1
 ORDER BY e.version
