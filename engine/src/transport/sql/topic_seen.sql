-- Writes down that the name $1 stands for the topic with the id $2 and $3 partitions, with the cursor of that moment. Returns a row if
-- that is new, with what was known before. Up to the journal's end of that moment events may have gone to a former topic: one beyond the
-- cursor may be acknowledged already. Whoever read the former topic reads this one. A broker that is not up to date may say an earlier topic or fewer partitions: those are known.
-- Indexes: published_topic_name_idx, published_topic_pkey, publisher_cursor_pkey, aggregate_event_pkey.
WITH former AS (
    SELECT t.topic_id, t.partitions, t.consumer_groups
      FROM published_topic t
     WHERE t.topic = $1
     ORDER BY t.number DESC
     LIMIT 1
)
INSERT INTO published_topic (topic, topic_id, partitions, published_seq, lost_seq, consumer_groups)
SELECT $1, $2, $3, c.published_seq,
       CASE WHEN f.topic_id <> $2 THEN (SELECT coalesce(max(e.seq), 0) FROM aggregate_event e) END,
       coalesce(f.consumer_groups, '{}')
  FROM publisher_cursor c
  LEFT JOIN former f ON true
 WHERE f.topic_id IS DISTINCT FROM $2 OR f.partitions < $3
    ON CONFLICT (topic_id, partitions) DO NOTHING
RETURNING published_seq, lost_seq,
          (SELECT f.topic_id FROM former f) AS former_id,
          (SELECT f.partitions FROM former f) AS former_partitions
