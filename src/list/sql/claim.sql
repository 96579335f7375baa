-- Takes the projection's cursor for this transaction; no row when another instance is at it.
SELECT projected_seq FROM projection_cursor WHERE projection = 'order_summary' FOR UPDATE SKIP LOCKED
