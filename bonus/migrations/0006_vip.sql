-- VIP: who has enough points from the events of a window of time that ends now. How many, and how long it is, is the policy's
-- (`policy.rs`) and a parameter everywhere below.
--
-- An award counts in the window from the moment its event occurred, unless its order was cancelled (0003). So VIP depends on the
-- rows of the ledger and on the clock alone, as the points depend on the rows.
--
-- Both tables are locked first, in the order in which a credit takes them: what is carried over below is all there is.
LOCK TABLE ledger IN SHARE ROW EXCLUSIVE MODE;
LOCK TABLE account IN ACCESS EXCLUSIVE MODE;

-- A customer's rows by the time of their events: for the window, and for reading newest first. It takes the place of the index by
-- entry number, so a credit writes as many index entries as before.
CREATE INDEX ledger_customer_occurred_idx ON ledger (customer_id, occurred_at);
DROP INDEX ledger_customer_entry_idx;

-- What the last credit or sweep found. `bonus rebuild` derives both anew.
ALTER TABLE account
    ADD COLUMN vip boolean NOT NULL DEFAULT false,
    -- The first moment at which the passing of time may change that. Awards to a VIP may put the end off; they leave this as it is,
    -- so that a credit to a VIP costs nothing more, and the sweep of that moment looks again.
    ADD COLUMN vip_review_at timestamptz,
    ADD CONSTRAINT account_vip_is_reviewed CHECK (vip_review_at IS NOT NULL OR NOT vip);

-- What the sweep looks for. Few accounts are VIP, and an award to one of them changes neither column.
CREATE INDEX account_vip_review_idx ON account (vip_review_at) WHERE vip_review_at IS NOT NULL;

-- Awards that no cancellation takes back.
CREATE VIEW counted_award AS
SELECT award.customer_id, award.occurred_at, award.points
FROM ledger AS award
WHERE award.event_type <> 'OrderCancelled'
  AND NOT EXISTS (
      SELECT
      FROM ledger AS cancellation
      WHERE cancellation.order_id = award.order_id
        AND cancellation.customer_id = award.customer_id
        AND cancellation.event_type = 'OrderCancelled'
        AND cancellation.version > award.version
  );

-- One customer at one moment. Reads backwards from the newest award until the points are enough: a handful of rows, and those that
-- were cancelled in between.
CREATE FUNCTION vip_standing(
    customer       uuid,
    as_of          timestamptz,
    vip_points     bigint,
    vip_window     interval,
    OUT vip_until  timestamptz,    -- NULL: not VIP
    OUT review_at  timestamptz     -- when time may change that; NULL: never
) LANGUAGE plpgsql STABLE
  -- The one good plan, made once a session: from index to index, newest first, up to the row that is enough.
  SET plan_cache_mode = force_generic_plan
  SET enable_seqscan = off
  SET enable_bitmapscan = off
  SET enable_hashjoin = off
  SET enable_mergejoin = off
  SET enable_sort = off
  SET search_path FROM CURRENT
AS $$
BEGIN
    SELECT newest.occurred_at + vip_window
    INTO vip_until
    FROM (
        SELECT award.occurred_at,
               sum(award.points) OVER (ORDER BY award.occurred_at DESC ROWS UNBOUNDED PRECEDING) AS points
        FROM counted_award AS award
        WHERE award.customer_id = customer
          AND award.occurred_at <= as_of
          AND award.occurred_at > as_of - vip_window
    ) AS newest
    WHERE newest.points >= vip_points
    ORDER BY newest.occurred_at DESC
    LIMIT 1;

    review_at := vip_until;
    IF vip_until IS NULL THEN
        -- An event whose clock is ahead counts from then on.
        SELECT award.occurred_at
        INTO review_at
        FROM counted_award AS award
        WHERE award.customer_id = customer AND award.occurred_at > as_of
        ORDER BY award.occurred_at
        LIMIT 1;
    END IF;
END
$$;

-- As in 0003, and beside points the VIP status. In the same transaction:
--
--   1. locks of the orders, rows, points: as before. The accounts are locked from here on.
--   2. the accounts whose status the batch may have changed are looked at again, with all that is committed for them: whoever else
--      books for them comes after this transaction, or came before it.
--
-- A VIP stays VIP by an award, and nobody becomes VIP by a cancellation, by an award from before the window, or with too few points
-- in all. So most batches look at no account again.
CREATE FUNCTION credit_events(
    event_ids      uuid[],
    order_ids      uuid[],
    versions       bigint[],
    customer_ids   uuid[],
    event_types    text[],
    worths         bigint[],       -- points of an award, 0 for a cancellation
    occurred_ats   timestamptz[],
    policy         smallint,
    grade_bounds   bigint[],       -- points from which on each grade but the lowest holds, rising
    vip_points     bigint,
    vip_window     interval,
    as_of          timestamptz,    -- the moment for which VIP is decided; NULL: when it is decided
    OUT new_events bigint,         -- that the ledger did not hold
    OUT new_points bigint,         -- by which the accounts have changed, taken together
    OUT cancelled  bigint,         -- new awards that an earlier cancellation takes back at once
    OUT forked     uuid[],         -- refused: another event of the same order and version is booked …
    OUT booked     uuid[],         -- … which is this one
    OUT changed    uuid[],         -- customers whose grade or VIP status is another one now, with both before and after:
    OUT points_before bigint[],
    OUT points_after  bigint[],
    OUT vip_before    boolean[],
    OUT vip_after     boolean[]
) LANGUAGE plpgsql
  -- A plan made while a table is one page would read it from end to end, or all entries of a customer for each event. It would be
  -- kept as the table grows.
  SET enable_seqscan = off
  SET enable_bitmapscan = off
  SET search_path FROM CURRENT
AS $$
DECLARE
    -- Another deployment in another schema has another table, and other locks.
    of_this_ledger CONSTANT int := 'ledger'::regclass::oid::int;
    began          CONSTANT timestamptz := coalesce(as_of, clock_timestamp());
    -- Accounts whose grade has changed, or whose VIP status may have.
    candidates     uuid[];
    were_worth     bigint[];
    are_worth      bigint[];
    were_vip       boolean[];
    reviewed       uuid[];
BEGIN
    PERFORM CASE WHEN lock.exclusive THEN pg_advisory_xact_lock(of_this_ledger, lock.number)
                 ELSE pg_advisory_xact_lock_shared(of_this_ledger, lock.number) END
    FROM (
        SELECT uuid_hash(event.order_id) & 63 AS number, bool_or(event.event_type = 'OrderCancelled') AS exclusive
        FROM unnest(order_ids, event_types) AS event (order_id, event_type)
        GROUP BY 1
        ORDER BY 1
    ) AS lock;

    WITH entry AS (
        INSERT INTO ledger (event_id, order_id, version, customer_id, event_type, points, policy_version, occurred_at)
        SELECT event.event_id, event.order_id, event.version, event.customer_id, event.event_type, event.worth, policy,
               event.occurred_at
        FROM unnest(event_ids, order_ids, versions, customer_ids, event_types, worths, occurred_ats)
            AS event (event_id, order_id, version, customer_id, event_type, worth, occurred_at)
        ORDER BY event.order_id, event.version, event.event_id
        ON CONFLICT DO NOTHING
        RETURNING ledger.order_id, ledger.version, ledger.customer_id, ledger.event_type, ledger.points, ledger.occurred_at
    ), state AS (
        -- `ledger` is what it was before this statement.
        SELECT entry.order_id, entry.version, entry.customer_id, entry.event_type, entry.points, entry.occurred_at,
               coalesce(before.cancelled_at, 0) AS cancelled_before,
               greatest(before.cancelled_at, 0, max(entry.version) FILTER (WHERE entry.event_type = 'OrderCancelled')
                   OVER (PARTITION BY entry.order_id, entry.customer_id)) AS cancelled_now
        FROM entry
        LEFT JOIN LATERAL (
            SELECT max(earlier.version) AS cancelled_at
            FROM ledger AS earlier
            WHERE earlier.order_id = entry.order_id
              AND earlier.customer_id = entry.customer_id
              AND earlier.event_type = 'OrderCancelled'
        ) AS before ON true
    ), change AS (
        SELECT state.customer_id, CASE WHEN state.version > state.cancelled_now THEN state.points ELSE 0 END AS points,
               1 AS events, (state.version < state.cancelled_before AND state.points > 0)::int AS cancelled, state.occurred_at
        FROM state
        UNION ALL
        SELECT award.customer_id, -award.points, 0, 0, award.occurred_at
        FROM (
            SELECT DISTINCT state.order_id, state.customer_id, state.cancelled_before, state.cancelled_now
            FROM state
            WHERE state.event_type = 'OrderCancelled'
        ) AS taking
        JOIN ledger AS award ON award.order_id = taking.order_id
            AND award.customer_id = taking.customer_id
            AND award.event_type <> 'OrderCancelled'
            AND award.version > taking.cancelled_before
            AND award.version < taking.cancelled_now
    ), total AS (
        SELECT change.customer_id, sum(change.points)::bigint AS points, sum(change.events) AS events,
               sum(change.cancelled) AS cancelled, bool_or(change.points < 0) AS taken_back,
               bool_or(change.points > 0 AND change.occurred_at > began - vip_window) AS given
        FROM change
        GROUP BY change.customer_id
    ), credited AS (
        INSERT INTO account (customer_id, points, credited_events)
        SELECT total.customer_id, total.points, total.events
        FROM total
        ORDER BY total.customer_id
        ON CONFLICT (customer_id) DO UPDATE
        SET points = account.points + EXCLUDED.points,
            credited_events = account.credited_events + EXCLUDED.credited_events,
            updated_at = now()
        RETURNING account.customer_id, account.points, account.vip, account.vip_review_at
    ), seen AS (
        SELECT total.customer_id, total.points AS change, total.events, total.cancelled, credited.points, credited.vip,
               CASE WHEN credited.vip THEN total.taken_back ELSE total.given AND credited.points >= vip_points END
                   -- What is due is not left to the sweep: after a credit the status is that of its moment.
                   OR credited.vip_review_at <= began AS review
        FROM total
        JOIN credited ON credited.customer_id = total.customer_id
    ), candidate AS (
        SELECT seen.customer_id, seen.change, seen.points, seen.vip, seen.review
        FROM seen
        WHERE seen.review
           OR width_bucket(seen.points, grade_bounds) <> width_bucket(seen.points - seen.change, grade_bounds)
    )
    SELECT sums.events, sums.points, sums.cancelled, gathered.customers, gathered.before, gathered.after, gathered.vip,
           gathered.reviewed
    INTO new_events, new_points, cancelled, candidates, were_worth, are_worth, were_vip, reviewed
    FROM (
        SELECT coalesce(sum(seen.events), 0) AS events, coalesce(sum(seen.change), 0) AS points,
               coalesce(sum(seen.cancelled), 0) AS cancelled
        FROM seen
    ) AS sums, (
        SELECT array_agg(candidate.customer_id) AS customers, array_agg(candidate.points - candidate.change) AS before,
               array_agg(candidate.points) AS after, array_agg(candidate.vip) AS vip,
               array_agg(candidate.customer_id) FILTER (WHERE candidate.review) AS reviewed
        FROM candidate
    ) AS gathered;

    IF reviewed IS NOT NULL THEN
        UPDATE account
        SET vip = found.vip_until IS NOT NULL, vip_review_at = found.review_at
        FROM (
            SELECT customer.id AS customer_id, standing.vip_until, standing.review_at
            FROM unnest(reviewed) AS customer (id),
                 vip_standing(customer.id, coalesce(as_of, clock_timestamp()), vip_points, vip_window) AS standing
        ) AS found
        WHERE account.customer_id = found.customer_id
          AND (account.vip, account.vip_review_at) IS DISTINCT FROM (found.vip_until IS NOT NULL, found.review_at);
    END IF;

    SELECT coalesce(array_agg(candidate.customer_id), '{}'), coalesce(array_agg(candidate.before), '{}'),
           coalesce(array_agg(candidate.after), '{}'), coalesce(array_agg(candidate.vip), '{}'),
           coalesce(array_agg(account.vip), '{}')
    INTO changed, points_before, points_after, vip_before, vip_after
    FROM unnest(candidates, were_worth, are_worth, were_vip) AS candidate (customer_id, before, after, vip)
    JOIN account ON account.customer_id = candidate.customer_id
    WHERE account.vip <> candidate.vip
       OR width_bucket(candidate.before, grade_bounds) <> width_bucket(candidate.after, grade_bounds);

    forked := '{}';
    booked := '{}';
    IF new_events < cardinality(event_ids) THEN
        -- What was not new is booked under its own id, which is a repetition, or its place is taken by another event.
        SELECT coalesce(array_agg(event.event_id), '{}'), coalesce(array_agg(holder.event_id), '{}')
        INTO forked, booked
        FROM unnest(event_ids, order_ids, versions) AS event (event_id, order_id, version)
        JOIN ledger AS holder ON holder.order_id = event.order_id AND holder.version = event.version
        WHERE holder.event_id <> event.event_id
          AND NOT EXISTS (SELECT FROM ledger AS itself WHERE itself.event_id = event.event_id);
    END IF;
END
$$;

-- For instances of the former version, which run on while the first of this one starts: they keep VIP by version 1 of the policy.
CREATE OR REPLACE FUNCTION credit_events(
    event_ids      uuid[],
    order_ids      uuid[],
    versions       bigint[],
    customer_ids   uuid[],
    event_types    text[],
    worths         bigint[],
    occurred_ats   timestamptz[],
    policy         smallint,
    OUT new_events bigint,
    OUT new_points bigint,
    OUT cancelled  bigint,
    OUT forked     uuid[],
    OUT booked     uuid[]
) LANGUAGE sql
  SET search_path FROM CURRENT
AS $$
    SELECT new_events, new_points, cancelled, forked, booked
    FROM credit_events(event_ids, order_ids, versions, customer_ids, event_types, worths, occurred_ats, policy,
                       '{100,300,1000}', 200, interval '720 hours', NULL)
$$;

-- What the passing of time has done: looks again at the accounts that are due, the longest due first. One call is one transaction.
-- One instance at a time sweeps. It passes over an account that is being credited: that credit looks again itself, or the next
-- sweep does. So it waits for nobody while it holds accounts.
CREATE FUNCTION sweep_vip(
    accounts_max   bigint,
    vip_points     bigint,
    vip_window     interval,
    as_of          timestamptz,    -- NULL: now
    OUT reviewed   bigint,         -- accounts looked at; NULL: another instance sweeps
    OUT changed    uuid[],         -- customers whose VIP status is another one now, with their points
    OUT points     bigint[],
    OUT vip_after  boolean[]
) LANGUAGE plpgsql
  SET enable_seqscan = off
  SET search_path FROM CURRENT
AS $$
DECLARE
    -- Another deployment in another schema has another table, and another lock.
    of_these_accounts CONSTANT int := 'account'::regclass::oid::int;
    due               uuid[];
BEGIN
    changed := '{}';
    points := '{}';
    vip_after := '{}';
    IF NOT pg_try_advisory_xact_lock(of_these_accounts, 0) THEN
        RETURN;
    END IF;
    as_of := coalesce(as_of, clock_timestamp());
    -- Before any row: `bonus rebuild` locks the table first too.
    LOCK TABLE account IN ROW EXCLUSIVE MODE;

    SELECT array_agg(locked.customer_id)
    INTO due
    FROM (
        SELECT account.customer_id
        FROM account
        WHERE account.vip_review_at <= as_of
        ORDER BY account.vip_review_at
        LIMIT accounts_max
        FOR UPDATE SKIP LOCKED
    ) AS locked;
    reviewed := coalesce(cardinality(due), 0);

    -- A statement of its own: it sees what was committed before the accounts were locked.
    WITH found AS (
        SELECT before.customer_id, before.vip, standing.vip_until, standing.review_at
        FROM account AS before, vip_standing(before.customer_id, as_of, vip_points, vip_window) AS standing
        WHERE before.customer_id = ANY (due)
    ), looked_at AS (
        UPDATE account
        SET vip = found.vip_until IS NOT NULL, vip_review_at = found.review_at,
            updated_at = CASE WHEN found.vip = (found.vip_until IS NOT NULL) THEN account.updated_at ELSE now() END
        FROM found
        WHERE account.customer_id = found.customer_id
        RETURNING account.customer_id, account.points, account.vip, found.vip AS vip_before
    )
    SELECT coalesce(array_agg(looked_at.customer_id), '{}'), coalesce(array_agg(looked_at.points), '{}'),
           coalesce(array_agg(looked_at.vip), '{}')
    INTO changed, points, vip_after
    FROM looked_at
    WHERE looked_at.vip <> looked_at.vip_before;
END
$$;

-- The accounts that there are, by version 1 of the policy. Who has too few points in all is not VIP.
UPDATE account
SET vip = found.vip_until IS NOT NULL, vip_review_at = found.review_at
FROM (
    SELECT rich.customer_id, standing.vip_until, standing.review_at
    FROM account AS rich, vip_standing(rich.customer_id, now(), 200, interval '720 hours') AS standing
    WHERE rich.points >= 200
) AS found
WHERE account.customer_id = found.customer_id
  AND found.review_at IS NOT NULL;
