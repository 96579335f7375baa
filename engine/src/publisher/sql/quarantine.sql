-- The aggregates set aside, the oldest first, at most $1. Index: quarantined_event_aggregate_idx.
SELECT o.aggregate_id AS id, o.error, o.since, o.released_at,
       (SELECT count(*) FROM quarantined_event e WHERE e.aggregate_id = o.aggregate_id) AS waiting_events,
       (SELECT min(e.seq) FROM quarantined_event e WHERE e.aggregate_id = o.aggregate_id) AS first_waiting_seq
  FROM quarantined_aggregate o
 ORDER BY o.since
 LIMIT $1
