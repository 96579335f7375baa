-- The topic that a group has read, by partition. Parameters: $1 group id, $2 topic. Index: partition_read_pkey.
SELECT partition, topic_id, partitions
FROM partition_read
WHERE group_id = $1 AND topic = $2
