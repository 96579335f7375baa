-- Moves the cursor to position $1, never back. Runs on the lease's own session: who has lost the lease cannot move it.
UPDATE publisher_cursor SET published_seq = $1, moved_at = now() WHERE published_seq < $1
