-- Takes the letters that are due for this process, to be sent within $1 seconds. Parameters: $2 most letters.
-- Index: dead_letter_due_idx. SKIP LOCKED: another process that takes some at the same moment takes others.
UPDATE dead_letter
SET attempts = attempts + 1, due_at = now() + make_interval(secs => $1)
WHERE letter_no IN (
    SELECT letter_no
    FROM dead_letter
    WHERE refused_at IS NULL AND due_at <= now()
    ORDER BY due_at
    LIMIT $2
    FOR UPDATE SKIP LOCKED
)
RETURNING letter_no, topic, partition, topic_offset, entry_id, group_id, reason, message_key, value, value_bytes, header_names, header_values
