-- Which topic of Kafka the events were published to. A topic that is deleted and made anew has the same name and another id; what was
-- published to the former one is gone from Kafka, and only this table can tell after a restart that it was another one.
-- Rows are observations: added once, by whichever instance sees it first, and without the lease. The one column that is changed later
-- tells that an operator has sent the lost events again.
CREATE TABLE published_topic (
    -- The order in which they were seen.
    number        bigint      GENERATED ALWAYS AS IDENTITY,
    topic         text        NOT NULL,
    topic_id      uuid        NOT NULL,
    partitions    integer     NOT NULL,
    seen_at       timestamptz NOT NULL DEFAULT now(),
    -- The cursor at that time.
    published_seq bigint      NOT NULL,
    -- Of a topic that was made anew: up to this position events were published to the one before it.
    lost_seq      bigint,
    -- When `aggregates replay` had sent them again.
    replayed_at   timestamptz,

    CONSTRAINT published_topic_pkey PRIMARY KEY (topic_id, partitions),
    CONSTRAINT published_topic_some_partitions CHECK (partitions > 0),
    CONSTRAINT published_topic_not_negative CHECK (published_seq >= 0 AND lost_seq >= 0),
    CONSTRAINT published_topic_replays_what_was_lost CHECK (replayed_at IS NULL OR lost_seq IS NOT NULL)
);
CREATE INDEX published_topic_name_idx ON published_topic (topic, number);
