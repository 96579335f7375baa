-- A customer's sum over the ledger, kept in the transaction that inserts the ledger rows. It could be computed again from
-- the ledger at any time; it exists so that a balance is one row to read.

CREATE TABLE account (
    customer_id     uuid        NOT NULL,
    -- No CHECK (points >= 0) here, though it always holds (a cancellation takes back at most what its order gave, see
    -- points.rs): Postgres checks the row proposed to INSERT ... ON CONFLICT before it looks for the conflict, and for a
    -- cancellation that row holds the difference, which is negative.
    points          bigint      NOT NULL,
    credited_events bigint      NOT NULL,
    opened_at       timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),

    CONSTRAINT account_pkey PRIMARY KEY (customer_id),
    CONSTRAINT account_credited_events_positive CHECK (credited_events > 0)
)
-- Room in each page for the next version of a row, so that updates touch no index.
WITH (fillfactor = 70);
