-- One row for each event that the policy valued. Rows are inserted once and never touched again. The ledger is also the
-- deduplication table, and is kept for ever: a window shorter than a replay of the topic would be no protection.

CREATE TABLE ledger (
    -- Order of booking, for reading newest first. Has gaps: a refused duplicate uses up a number.
    entry_no       bigint      GENERATED ALWAYS AS IDENTITY,
    -- What makes a credit happen once, whoever delivers the event and however often.
    event_id       uuid        NOT NULL,
    order_id       uuid        NOT NULL,
    version        bigint      NOT NULL,
    customer_id    uuid        NOT NULL,
    event_type     text        NOT NULL,
    points         bigint      NOT NULL,
    -- The rules in force when the row was booked.
    policy_version smallint    NOT NULL,
    occurred_at    timestamptz NOT NULL,
    booked_at      timestamptz NOT NULL DEFAULT now(),

    CONSTRAINT ledger_pkey PRIMARY KEY (event_id),
    -- An order has one event at each version. Also finds what an order gave, when it is cancelled.
    CONSTRAINT ledger_order_version_key UNIQUE (order_id, version),
    CONSTRAINT ledger_version_positive CHECK (version > 0),
    CONSTRAINT ledger_policy_version_positive CHECK (policy_version > 0),
    -- Only a cancellation takes points, and it gives none.
    CONSTRAINT ledger_points_sign CHECK (
        (event_type = 'OrderCancelled' AND points <= 0) OR (event_type <> 'OrderCancelled' AND points > 0)
    )
);

-- A customer's entries, newest first, page by page.
CREATE INDEX ledger_customer_entry_idx ON ledger (customer_id, entry_no);
