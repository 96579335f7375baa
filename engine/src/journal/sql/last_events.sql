-- The last version, and its time, of each aggregate in $1 that has events.
-- Index: aggregate_event_aggregate_version_key, its last entry for each.
SELECT asked.id, last.version, last.occurred_at
  FROM unnest($1::uuid[]) AS asked (id)
 CROSS JOIN LATERAL (
           SELECT e.version, e.occurred_at
             FROM aggregate_event e
            WHERE e.aggregate_id = asked.id
            ORDER BY e.version DESC
            LIMIT 1
       ) AS last
