-- Who reads the topic with the id $1, and whoever read the one before it.
-- Index: published_topic_pkey.
SELECT t.consumer_groups FROM published_topic t WHERE t.topic_id = $1 ORDER BY t.number DESC LIMIT 1
