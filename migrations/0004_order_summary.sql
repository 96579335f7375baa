-- The list of orders: a projection that tails the journal with a cursor of its own, off the write path.
-- To rebuild it: TRUNCATE order_summary; UPDATE projection_cursor SET projected_seq = 0.
CREATE TABLE order_summary (
    order_id     uuid        NOT NULL,
    customer_id  uuid        NOT NULL,
    status       text        NOT NULL,
    currency     text        NOT NULL,
    items        json        NOT NULL,
    total_minor  bigint      NOT NULL,
    version      bigint      NOT NULL,
    -- Position of the order's first event: the list's order, newest first, and its page cursor.
    created_seq  bigint      NOT NULL,
    created_at   timestamptz NOT NULL,
    updated_at   timestamptz NOT NULL,

    CONSTRAINT order_summary_pkey PRIMARY KEY (order_id),
    CONSTRAINT order_summary_status_known
        CHECK (status IN ('created', 'paid', 'shipped', 'completed', 'cancelled'))
);
CREATE UNIQUE INDEX order_summary_newest_idx ON order_summary (created_seq DESC);
CREATE INDEX order_summary_customer_idx ON order_summary (customer_id, created_seq DESC);
CREATE INDEX order_summary_status_idx ON order_summary (status, created_seq DESC);

CREATE TABLE projection_cursor (
    projection    text   NOT NULL,
    projected_seq bigint NOT NULL DEFAULT 0,

    CONSTRAINT projection_cursor_pkey PRIMARY KEY (projection)
);
INSERT INTO projection_cursor (projection) VALUES ('order_summary');
