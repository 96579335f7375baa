-- The list is ordered by time of creation, newest first, so that a range of time is a range of each index. created_seq orders what was
-- created in the same microsecond. Building the indexes keeps the projection waiting, and no command.
CREATE INDEX order_summary_created_idx ON order_summary (created_at DESC, created_seq DESC);
CREATE INDEX order_summary_customer_created_idx ON order_summary (customer_id, created_at DESC, created_seq DESC);
CREATE INDEX order_summary_status_created_idx ON order_summary (status, created_at DESC, created_seq DESC);
DROP INDEX order_summary_customer_idx;
DROP INDEX order_summary_status_idx;
