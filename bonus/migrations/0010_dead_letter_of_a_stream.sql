-- A dead letter may be an entry of a Redis stream, whose place is an id such as 1700000000000-3 instead of an offset.
-- (0006 to 0009 are left for what is made at the same time.)

ALTER TABLE dead_letter
    ALTER COLUMN topic_offset DROP NOT NULL,
    ADD COLUMN entry_id text,
    ADD CONSTRAINT dead_letter_has_one_place CHECK (num_nonnulls(topic_offset, entry_id) = 1);
