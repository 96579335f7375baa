-- Appends a batch of commands' events in one transaction (engine/migrations/0007_append_after_its_predecessor.sql says how).
-- $1..$8   events, one array element each: command number, event id, aggregate id, version, type, payload, metadata, time
-- $9..$15  receipts of keyed commands: command number, key, command id, fingerprint, aggregate id, version, refusal
-- $16      whether to NOTIFY a publisher in another process
-- Index: aggregate_event_pkey (for the head), command_receipt_pkey, aggregate_event_aggregate_version_key.
SELECT head, conflicted, repeated, known
  FROM append_aggregate_events($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
