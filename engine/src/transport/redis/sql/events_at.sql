-- The events at the positions $1, in order. Index: aggregate_event_pkey.
SELECT seq, event_id, aggregate_id AS id, version, event_type, payload::text AS payload, metadata::text AS metadata, occurred_at
  FROM aggregate_event
 WHERE seq = ANY($1)
 ORDER BY seq
