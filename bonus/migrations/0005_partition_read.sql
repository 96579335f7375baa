-- Which topic is behind the offsets that a consumer group has committed. Kafka keeps offsets by the topic's name: when a topic is
-- deleted and made anew under its name, the old offsets would be taken for places in the new one, and what is before them would
-- never be read. The id of a topic is its own.

CREATE TABLE partition_read (
    group_id   text        NOT NULL,
    topic      text        NOT NULL,
    partition  integer     NOT NULL,
    topic_id   uuid        NOT NULL,
    -- How many partitions the topic had then. One that is read for the first time and has a higher number was added.
    partitions integer     NOT NULL,
    noticed_at timestamptz NOT NULL DEFAULT now(),

    CONSTRAINT partition_read_pkey PRIMARY KEY (group_id, topic, partition),
    CONSTRAINT partition_read_is_of_the_topic CHECK (partition >= 0 AND partition < partitions)
);
