-- Where the events of aggregate $1 stand: its first parked one, and the cursor.
-- Index: quarantined_event_aggregate_idx, publisher_cursor_pkey.
SELECT (SELECT min(e.seq) FROM quarantined_event e WHERE e.aggregate_id = $1) AS first_waiting_seq, c.published_seq
  FROM publisher_cursor c
