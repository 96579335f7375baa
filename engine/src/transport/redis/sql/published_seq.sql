-- The cursor. Index: publisher_cursor_pkey.
SELECT published_seq FROM publisher_cursor
