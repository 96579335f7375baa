-- The ids of the events at the positions $1. Index: aggregate_event_pkey.
SELECT seq, event_id FROM aggregate_event WHERE seq = ANY($1)
