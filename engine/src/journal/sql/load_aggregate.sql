-- One aggregate's history in the order of its versions, up to and including version $2.
-- $1 aggregate id, $2 highest version wanted. Index: aggregate_event_aggregate_version_key.
SELECT seq, event_id, aggregate_id AS id, version, event_type, payload::text AS payload, metadata::text AS metadata, occurred_at
  FROM aggregate_event
 WHERE aggregate_id = $1 AND version <= $2
 ORDER BY version
