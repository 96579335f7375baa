-- How far publication has come: one row, moved forward once per batch of acknowledgements.
CREATE TABLE publisher_cursor (
    only_row      boolean     NOT NULL DEFAULT true,
    -- Everything at or below this position is delivered, or set aside in quarantined_event.
    published_seq bigint      NOT NULL DEFAULT 0,
    moved_at      timestamptz NOT NULL DEFAULT now(),

    CONSTRAINT publisher_cursor_pkey PRIMARY KEY (only_row),
    CONSTRAINT publisher_cursor_only_row CHECK (only_row),
    CONSTRAINT publisher_cursor_not_negative CHECK (published_seq >= 0)
);
INSERT INTO publisher_cursor DEFAULT VALUES;

-- Aggregates one of whose events the broker refuses for the event's own sake (too large, say). The aggregate waits here for
-- an operator, its later events wait behind it, and the cursor passes so that all other aggregates go on.
CREATE TABLE quarantined_aggregate (
    aggregate_id    uuid        NOT NULL,
    error       text        NOT NULL,
    since       timestamptz NOT NULL DEFAULT now(),
    -- Set by the operator's release: the publisher then sends the aggregate's waiting events again, in order.
    released_at timestamptz,

    CONSTRAINT quarantined_aggregate_pkey PRIMARY KEY (aggregate_id)
);

CREATE TABLE quarantined_event (
    seq      bigint NOT NULL,
    aggregate_id uuid   NOT NULL,

    CONSTRAINT quarantined_event_pkey PRIMARY KEY (seq),
    CONSTRAINT quarantined_event_seq_fkey FOREIGN KEY (seq) REFERENCES aggregate_event (seq),
    CONSTRAINT quarantined_event_aggregate_fkey FOREIGN KEY (aggregate_id) REFERENCES quarantined_aggregate (aggregate_id)
);
CREATE INDEX quarantined_event_aggregate_idx ON quarantined_event (aggregate_id, seq);

-- What awaits publication. `SELECT count(*) FROM outbox_message` is 0 when nothing does.
CREATE VIEW outbox_message AS
    SELECT e.seq, e.event_id, e.aggregate_id, e.version, e.event_type, e.payload, e.metadata, e.occurred_at,
           false AS quarantined
      FROM aggregate_event e
     WHERE e.seq > (SELECT c.published_seq FROM publisher_cursor c)
    UNION ALL
    SELECT e.seq, e.event_id, e.aggregate_id, e.version, e.event_type, e.payload, e.metadata, e.occurred_at,
           true AS quarantined
      FROM quarantined_event q
      JOIN aggregate_event e ON e.seq = q.seq
     -- Set aside ahead of the cursor: counted above already.
     WHERE e.seq <= (SELECT c.published_seq FROM publisher_cursor c);
