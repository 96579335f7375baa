-- Sets aggregates aside: $1 aggregate ids, $2 why the broker refused the first of their events, or null where an event only waits behind
-- another one. An aggregate that is in the quarantine for that reason alone, because what it waited for was delivered, is released.
INSERT INTO quarantined_aggregate (aggregate_id, error, released_at)
SELECT DISTINCT ON (i.aggregate_id) i.aggregate_id, coalesce(i.error, 'waited behind a refused event'),
       CASE WHEN i.error IS NULL THEN now() END
  FROM unnest($1::uuid[], $2::text[]) AS i(aggregate_id, error)
 ORDER BY i.aggregate_id, i.error NULLS LAST
    ON CONFLICT (aggregate_id) DO UPDATE SET error = excluded.error, since = now(), released_at = NULL
       WHERE excluded.released_at IS NULL
