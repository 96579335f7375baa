-- Drops orders that were created behind position $1, the journal's end: their events are gone, and their positions will be given out again.
-- Index: order_summary_newest_idx.
DELETE FROM order_summary WHERE created_seq > $1
