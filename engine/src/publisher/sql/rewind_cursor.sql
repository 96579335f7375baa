-- Sets a cursor that is beyond the journal's end back to it, and says from where to where. Otherwise as many new events as were lost would never be
-- published. Whatever the journal still has is at or below such a cursor, and so is published. Index: aggregate_event_pkey read backwards.
UPDATE publisher_cursor c
   SET published_seq = h.head, moved_at = now()
  FROM (SELECT b.published_seq, coalesce((SELECT max(e.seq) FROM aggregate_event e), 0) AS head FROM publisher_cursor b) h
 WHERE c.published_seq > h.head
RETURNING h.published_seq, h.head
