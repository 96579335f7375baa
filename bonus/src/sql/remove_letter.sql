-- The topic has acknowledged a letter. Parameters: $1 letter number. Index: dead_letter_pkey.
DELETE FROM dead_letter
WHERE letter_no = $1
