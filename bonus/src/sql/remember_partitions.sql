-- From now on a group's offsets of these partitions are places in this topic. Parameters: $1 group id, $2 topic, $3 partitions,
-- $4 the topic's id, $5 how many partitions it has. Index: partition_read_pkey.
INSERT INTO partition_read (group_id, topic, partition, topic_id, partitions)
SELECT $1, $2, partition, $4, $5
FROM UNNEST($3::integer[]) AS settled (partition)
ORDER BY partition
ON CONFLICT (group_id, topic, partition) DO UPDATE
SET topic_id = EXCLUDED.topic_id, partitions = EXCLUDED.partitions, noticed_at = now()
WHERE partition_read.topic_id <> EXCLUDED.topic_id OR partition_read.partitions <> EXCLUDED.partitions
