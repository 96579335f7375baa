-- Events that an operator gave up: who, when and why. Before, only a log line told, so an event that no consumer will ever see
-- looked published everywhere. The row is also what makes a discard safe to repeat: the second one finds it and changes nothing.
CREATE TABLE discarded_event (
    seq          bigint      NOT NULL,
    aggregate_id     uuid        NOT NULL,
    discarded_at timestamptz NOT NULL DEFAULT now(),
    -- As they named themselves: the service does not know its operators.
    discarded_by text        NOT NULL,
    reason       text        NOT NULL,
    -- Why the broker had refused the event. The aggregate's own row goes when the aggregate is well again.
    error        text        NOT NULL,

    CONSTRAINT discarded_event_pkey PRIMARY KEY (seq),
    CONSTRAINT discarded_event_seq_fkey FOREIGN KEY (seq) REFERENCES aggregate_event (seq),
    CONSTRAINT discarded_event_by_not_blank CHECK (btrim(discarded_by) <> ''),
    CONSTRAINT discarded_event_reason_not_blank CHECK (btrim(reason) <> '')
);
