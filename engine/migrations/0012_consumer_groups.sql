-- Which groups read the topic, as `partition:group`. Kafka keeps its groups apart from its topics, and here nothing is written of them. Groups
-- of Redis Streams are lost with the streams: from here they are made again, so that what is published again waits for each of them.
ALTER TABLE published_topic ADD COLUMN consumer_groups text[] NOT NULL DEFAULT '{}';
