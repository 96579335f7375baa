-- The cursor, and the id of the event there; null if nothing is published. Indexes: publisher_cursor_pkey, aggregate_event_pkey.
SELECT c.published_seq, e.event_id FROM publisher_cursor c LEFT JOIN aggregate_event e ON e.seq = c.published_seq
