-- The topic with the id $1 is read by the groups $2.
-- Index: published_topic_pkey.
UPDATE published_topic SET consumer_groups = $2 WHERE topic_id = $1 AND consumer_groups <> $2
