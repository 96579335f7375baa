-- Keeps a dead letter until it is sent. Parameters: $1 topic, $2 partition, $3 offset or NULL, $4 group id, $5 reason, $6 key, $7 value,
-- $8 size of the value in bytes, $9 names of its headers, $10 their values, $11 most letters to keep whole,
-- $12 id of the entry if it has no offset.
-- Beyond that many, only the message's place is kept: a topic that takes no letters must not fill the disk.
INSERT INTO dead_letter (topic, partition, topic_offset, entry_id, group_id, reason, message_key, value, value_bytes, header_names, header_values)
SELECT $1, $2, $3, $12, $4, $5,
       CASE WHEN room.is_left THEN $6 END,
       CASE WHEN room.is_left THEN $7 END,
       $8,
       CASE WHEN room.is_left THEN $9 ELSE '{}'::text[] END,
       CASE WHEN room.is_left THEN $10 ELSE '{}'::bytea[] END
FROM (SELECT count(*) < $11 AS is_left FROM dead_letter) AS room
