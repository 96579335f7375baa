-- Parked events at positions $1 have been delivered after all.
DELETE FROM quarantined_event WHERE seq = ANY ($1)
