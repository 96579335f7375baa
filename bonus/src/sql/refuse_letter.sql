-- The topic takes a letter in no form: it stays for an operator. Parameters: $1 letter number, $2 what the topic said.
-- Index: dead_letter_pkey.
UPDATE dead_letter
SET refused_at = now(), refusal = $2
WHERE letter_no = $1
