-- The quarantined aggregate $1, locked until the discard is decided: of two discards at once the second sees what the first one did.
-- Index: quarantined_aggregate_pkey.
SELECT o.error, o.released_at IS NOT NULL AS is_released
  FROM quarantined_aggregate o
 WHERE o.aggregate_id = $1
   FOR UPDATE
