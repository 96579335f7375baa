-- One order's history in version order, up to and including version $2.
-- $1 order id, $2 highest version wanted. Index: order_event_order_version_key.
SELECT seq, event_id, order_id, version, event_type, payload::text AS payload, metadata::text AS metadata, occurred_at
  FROM order_event
 WHERE order_id = $1 AND version <= $2
 ORDER BY version
