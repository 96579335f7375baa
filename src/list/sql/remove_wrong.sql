-- Removes from the list what is not the same in the one that was derived anew. Returns how many orders, and how many of them are there in
-- another form. Both lists are at the same position, and nobody else writes them. Index: order_summary_rebuilt_pkey, or none: it reads all.
WITH wrong AS (
    DELETE FROM order_summary s
     WHERE NOT EXISTS (
           SELECT FROM order_summary_rebuilt r
            WHERE r.order_id = s.order_id
              AND (r.customer_id, r.status, r.currency, r.items::text, r.total_minor, r.version, r.created_seq, r.created_at, r.updated_at)
                = (s.customer_id, s.status, s.currency, s.items::text, s.total_minor, s.version, s.created_seq, s.created_at, s.updated_at))
    RETURNING s.order_id
)
SELECT count(*) AS removed,
       count(*) FILTER (WHERE EXISTS (SELECT FROM order_summary_rebuilt r WHERE r.order_id = wrong.order_id)) AS different
  FROM wrong
