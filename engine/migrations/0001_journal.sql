-- The journal: event store and outbox in one table. Rows are inserted once and never touched again, so there is
-- nothing to vacuum, nothing to clean up, and publication progress lives elsewhere (0003).

CREATE TABLE aggregate_event (
    -- Position in the journal: 1, 2, 3, … without gaps. Assigned under the append lock (0002), not by a sequence:
    -- a sequence hands out numbers in another order than transactions commit, and a reader of "seq > last" would skip rows.
    seq         bigint      NOT NULL,
    event_id    uuid        NOT NULL,
    aggregate_id    uuid        NOT NULL,
    -- Counts from 1 within the aggregate. Two instances that decide on the same aggregate at once meet here; one loses.
    version     bigint      NOT NULL,
    event_type  text        NOT NULL,
    -- json, not jsonb: exactly the bytes that go to Kafka, serialised once for both.
    payload     json        NOT NULL,
    -- correlation_id, causation_id, traceparent, idempotency_key.
    metadata    json        NOT NULL,
    occurred_at timestamptz NOT NULL,

    CONSTRAINT aggregate_event_pkey PRIMARY KEY (seq),
    CONSTRAINT aggregate_event_aggregate_version_key UNIQUE (aggregate_id, version),
    CONSTRAINT aggregate_event_event_id_key UNIQUE (event_id),
    CONSTRAINT aggregate_event_seq_positive CHECK (seq > 0),
    CONSTRAINT aggregate_event_version_positive CHECK (version > 0)
);

-- What a command with an Idempotency-Key came to, written in the transaction of its events, or alone when it was
-- refused. Kept as long as the events: a window shorter than a client's longest retry would be no protection.
CREATE TABLE command_receipt (
    idempotency_key text        NOT NULL,
    -- The attempt that won. An append that is repeated after a cut connection recognises itself by it.
    command_id      uuid        NOT NULL,
    -- SHA-256 of what was asked; the same key with another fingerprint is a mistake of the client.
    fingerprint     bytea       NOT NULL,
    aggregate_id        uuid        NOT NULL,
    -- The aggregate's version that the command led to, or met when it was refused.
    version         bigint      NOT NULL,
    -- Why it was refused; NULL when it was carried out.
    refusal         json,
    recorded_at     timestamptz NOT NULL DEFAULT now(),

    CONSTRAINT command_receipt_pkey PRIMARY KEY (idempotency_key),
    CONSTRAINT command_receipt_key_length CHECK (length(idempotency_key) BETWEEN 1 AND 255),
    CONSTRAINT command_receipt_fingerprint_sha256 CHECK (length(fingerprint) = 32)
);
