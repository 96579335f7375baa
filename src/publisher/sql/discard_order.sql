-- The quarantined order $1, locked until the discard is decided: of two discards at once the second sees what the first one did.
-- Index: quarantined_order_pkey.
SELECT o.error, o.released_at IS NOT NULL AS is_released
  FROM quarantined_order o
 WHERE o.order_id = $1
   FOR UPDATE
