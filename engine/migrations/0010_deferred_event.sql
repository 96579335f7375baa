-- Events whose partition of the topic takes nothing while the others do. They wait here so that the cursor can pass them and all
-- other aggregates go on; when the partition takes events again they are sent, in order and before any later event of the partition's
-- aggregates, and each row goes with its delivery. An outage of the whole broker writes nothing here: then the cursor waits.
CREATE TABLE deferred_event (
    seq         bigint      NOT NULL,
    aggregate_id    uuid        NOT NULL,
    -- What the publisher calls the partition, or the partitions that share a producer.
    lane        int         NOT NULL,
    -- Of how many partitions. If some are added the publisher divides the rows anew.
    partitions  int         NOT NULL,
    deferred_at timestamptz NOT NULL DEFAULT now(),

    CONSTRAINT deferred_event_pkey PRIMARY KEY (seq),
    CONSTRAINT deferred_event_seq_fkey FOREIGN KEY (seq) REFERENCES aggregate_event (seq),
    CONSTRAINT deferred_event_lane_within CHECK (lane >= 0 AND lane < partitions)
);
CREATE INDEX deferred_event_lane_idx ON deferred_event (lane, seq);
-- Rows come and go while the table has next to none most of the time: statistics would be those of the moment before.
ALTER TABLE deferred_event SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

CREATE OR REPLACE VIEW outbox_message AS
    SELECT e.seq, e.event_id, e.aggregate_id, e.version, e.event_type, e.payload, e.metadata, e.occurred_at,
           false AS quarantined, false AS deferred
      FROM aggregate_event e
     WHERE e.seq > (SELECT c.published_seq FROM publisher_cursor c)
    UNION ALL
    SELECT e.seq, e.event_id, e.aggregate_id, e.version, e.event_type, e.payload, e.metadata, e.occurred_at,
           true AS quarantined, false AS deferred
      FROM quarantined_event q
      JOIN aggregate_event e ON e.seq = q.seq
     -- Set aside ahead of the cursor: counted above already.
     WHERE e.seq <= (SELECT c.published_seq FROM publisher_cursor c)
    UNION ALL
    SELECT e.seq, e.event_id, e.aggregate_id, e.version, e.event_type, e.payload, e.metadata, e.occurred_at,
           false AS quarantined, true AS deferred
      FROM deferred_event d
      JOIN aggregate_event e ON e.seq = d.seq
     WHERE e.seq <= (SELECT c.published_seq FROM publisher_cursor c);
