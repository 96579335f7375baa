-- The projection has taken in everything up to position $1.
UPDATE projection_cursor SET projected_seq = $1 WHERE projection = 'order_summary'
