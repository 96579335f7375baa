-- Deferred events at positions $1 have been delivered, or parked. Index: deferred_event_pkey.
DELETE FROM deferred_event WHERE seq = ANY ($1)
