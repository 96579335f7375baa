-- How far publication has come: the cursor, what was set aside, and what was given up. Index: publisher_cursor_pkey;
-- quarantined_event and discarded_event are small, and deferred_event is empty while every partition takes events.
SELECT c.published_seq,
       coalesce((SELECT array_agg(q.seq ORDER BY q.seq) FROM quarantined_event q), '{}') AS quarantined_seqs,
       coalesce((SELECT array_agg(d.seq ORDER BY d.seq) FROM deferred_event d), '{}') AS deferred_seqs,
       coalesce((SELECT array_agg(d.seq ORDER BY d.seq) FROM discarded_event d), '{}') AS discarded_seqs
  FROM publisher_cursor c
