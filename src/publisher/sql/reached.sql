-- How far publication has come: the cursor, and what was set aside. Index: publisher_cursor_pkey; quarantined_event is small.
SELECT c.published_seq,
       coalesce((SELECT array_agg(q.seq ORDER BY q.seq) FROM quarantined_event q), '{}') AS quarantined_seqs
  FROM publisher_cursor c
