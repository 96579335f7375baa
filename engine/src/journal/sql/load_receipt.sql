-- What the command with idempotency key $1 came to. Index: command_receipt_pkey.
SELECT fingerprint, aggregate_id, version, refusal::text AS refusal
  FROM command_receipt
 WHERE idempotency_key = $1
