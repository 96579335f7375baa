-- A letter could not be sent now. The next attempt is due after 2, 4, 8, … 64 seconds. Parameters: $1 letter number.
-- Index: dead_letter_pkey.
UPDATE dead_letter
SET due_at = now() + make_interval(secs => power(2, least(attempts, 6)))
WHERE letter_no = $1
