-- The outbox in numbers, from the database alone so that every instance answers the same.
-- Positions have no gaps, so what is pending is a difference, not a count, but for what was set aside. Indexes: aggregate_event_pkey,
-- quarantined_event_pkey, deferred_event_pkey.
SELECT c.published_seq,
       h.head AS head_seq,
       h.head - c.published_seq + q.events + d.events AS pending,
       q.events AS quarantined_events,
       (SELECT count(*) FROM quarantined_aggregate) AS quarantined,
       d.events AS deferred_events,
       (SELECT e.occurred_at FROM aggregate_event e
         WHERE e.seq = least(CASE WHEN h.head > c.published_seq THEN c.published_seq + 1 END, d.first_seq)) AS oldest_pending_at
  FROM publisher_cursor c,
       LATERAL (SELECT coalesce(max(e.seq), 0) AS head FROM aggregate_event e) h,
       LATERAL (SELECT count(*) AS events FROM quarantined_event e WHERE e.seq <= c.published_seq) q,
       LATERAL (SELECT count(*) AS events, min(e.seq) AS first_seq FROM deferred_event e WHERE e.seq <= c.published_seq) d
