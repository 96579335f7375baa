-- Takes the projection's cursor for this transaction, and waits for whoever has it.
SELECT projected_seq FROM projection_cursor WHERE projection = 'order_summary' FOR UPDATE
