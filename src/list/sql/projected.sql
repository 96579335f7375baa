-- The position up to which the projection has taken in everything.
SELECT projected_seq FROM projection_cursor WHERE projection = 'order_summary'
