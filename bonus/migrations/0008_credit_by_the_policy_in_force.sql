-- Credits and sweeps by the policy in force (0007). An account that is by another one is derived anew first, whole, in the same
-- transaction: so it changes once, from what it was to what it is with the new events by the new policy.

-- What accounts are by a policy at one moment, from the ledger alone; a customer without rows there has no credited events. Nobody else
-- may write these accounts meanwhile. Reads each customer's rows once, and a handful again for VIP.
CREATE FUNCTION derive_accounts(
    customers       uuid[],
    as_of           timestamptz,
    rules           policy
) RETURNS TABLE (
    customer_id     uuid,
    points          bigint,
    credited_events bigint,
    opened_at       timestamptz,
    vip             boolean,
    vip_review_at   timestamptz
) LANGUAGE plpgsql STABLE
  -- By customer, whatever the ledger's size was when the plan was made.
  SET plan_cache_mode = force_generic_plan
  SET enable_seqscan = off
  SET search_path FROM CURRENT
AS $$
BEGIN
    RETURN QUERY
    SELECT booked.customer_id, booked.points, booked.credited_events, booked.opened_at, standing.vip_until IS NOT NULL,
           standing.review_at
    FROM (
        SELECT customer.id AS customer_id, sums.points, sums.credited_events, sums.opened_at
        FROM unnest(customers) AS customer (id)
        CROSS JOIN LATERAL (
            -- An award counts unless a cancellation of its order, for its customer, is above it.
            SELECT coalesce(sum(worth(entry.event_type, rules)) FILTER (WHERE entry.version > coalesce(entry.cancelled_at, 0)), 0)::bigint
                       AS points,
                   count(*) AS credited_events, min(entry.booked_at) AS opened_at
            FROM (
                SELECT ledger.event_type, ledger.version, ledger.booked_at,
                       max(ledger.version) FILTER (WHERE ledger.event_type = 'OrderCancelled') OVER (PARTITION BY ledger.order_id)
                           AS cancelled_at
                FROM ledger
                WHERE ledger.customer_id = customer.id
            ) AS entry
        ) AS sums
    ) AS booked
    -- Who has too few points in all is not VIP.
    LEFT JOIN LATERAL vip_standing(booked.customer_id, as_of, rules) AS standing ON booked.points >= rules.vip_points;
END
$$;

-- As in 0006, by the policy in force. In the same transaction:
--
--   1. the policy, then the orders' locks, rows, points. The accounts are locked from here on.
--   2. the accounts that are by another policy are derived anew, with all that is committed for them: whoever else books for them comes
--      after this transaction, or came before it.
--   3. of the others, those whose VIP status the batch may have changed are looked at again, with as much.
CREATE FUNCTION credit_events(
    event_ids      uuid[],
    order_ids      uuid[],
    versions       bigint[],
    customer_ids   uuid[],
    event_types    text[],
    occurred_ats   timestamptz[],
    known          smallint[],     -- policies that the caller knows
    as_of          timestamptz,    -- the moment for which VIP is decided; NULL: when it is decided
    OUT policy_version smallint,   -- the policy in force
    OUT new_events bigint,         -- that the ledger did not hold
    OUT new_points bigint,         -- that they gave and took, by that policy
    OUT cancelled  bigint,         -- new awards that an earlier cancellation takes back at once
    OUT forked     uuid[],         -- refused: another event of the same order and version is booked …
    OUT booked     uuid[],         -- … which is this one
    OUT changed    uuid[],         -- customers whose grade or VIP status is another one now, with both before and after:
    OUT grade_before  int[],       -- 0 is the lowest
    OUT grade_after   int[],
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
    rules          policy;
    -- Accounts whose grade has changed, or whose VIP status may have, as they were.
    candidates     uuid[];
    were_worth     bigint[];
    were_vip       boolean[];
    were_by        smallint[];
    -- Of these: to be derived anew, and to be looked at again.
    behind         uuid[];
    reviewed       uuid[];
BEGIN
    rules := hold_policy(known);
    policy_version := rules.version;

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
        SELECT event.event_id, event.order_id, event.version, event.customer_id, event.event_type, worth(event.event_type, rules),
               rules.version, event.occurred_at
        FROM unnest(event_ids, order_ids, versions, customer_ids, event_types, occurred_ats)
            AS event (event_id, order_id, version, customer_id, event_type, occurred_at)
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
        SELECT award.customer_id, -worth(award.event_type, rules), 0, 0, award.occurred_at
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
               bool_or(change.points > 0 AND change.occurred_at > began - rules.vip_window) AS given
        FROM change
        GROUP BY change.customer_id
    ), credited AS (
        INSERT INTO account (customer_id, points, credited_events, policy_version)
        SELECT total.customer_id, total.points, total.events, rules.version
        FROM total
        ORDER BY total.customer_id
        ON CONFLICT (customer_id) DO UPDATE
        SET points = account.points + EXCLUDED.points,
            credited_events = account.credited_events + EXCLUDED.credited_events,
            updated_at = now()
        RETURNING account.customer_id, account.points, account.vip, account.vip_review_at, account.policy_version
    ), seen AS (
        SELECT total.customer_id, total.points AS change, total.events, total.cancelled, credited.points, credited.vip, credited.policy_version,
               credited.policy_version <> rules.version AS behind,
               CASE WHEN credited.vip THEN total.taken_back ELSE total.given AND credited.points >= rules.vip_points END
                   -- What is due is not left to the sweep: after a credit the status is that of its moment.
                   OR credited.vip_review_at <= began AS review
        FROM total
        JOIN credited ON credited.customer_id = total.customer_id
    ), candidate AS (
        SELECT seen.customer_id, seen.points - seen.change AS before, seen.vip, seen.policy_version, seen.behind, seen.review
        FROM seen
        WHERE seen.behind
           OR seen.review
           OR width_bucket(seen.points, rules.grade_bounds) <> width_bucket(seen.points - seen.change, rules.grade_bounds)
    )
    SELECT sums.events, sums.points, sums.cancelled, gathered.customers, gathered.before, gathered.vip, gathered.policy_version,
           gathered.behind, gathered.reviewed
    INTO new_events, new_points, cancelled, candidates, were_worth, were_vip, were_by, behind, reviewed
    FROM (
        SELECT coalesce(sum(seen.events), 0) AS events, coalesce(sum(seen.change), 0) AS points,
               coalesce(sum(seen.cancelled), 0) AS cancelled
        FROM seen
    ) AS sums, (
        SELECT array_agg(candidate.customer_id) AS customers, array_agg(candidate.before) AS before,
               array_agg(candidate.vip) AS vip, array_agg(candidate.policy_version) AS policy_version,
               array_agg(candidate.customer_id) FILTER (WHERE candidate.behind) AS behind,
               array_agg(candidate.customer_id) FILTER (WHERE candidate.review AND NOT candidate.behind) AS reviewed
        FROM candidate
    ) AS gathered;

    IF behind IS NOT NULL THEN
        UPDATE account
        SET points = derived.points, vip = derived.vip, vip_review_at = derived.vip_review_at, policy_version = rules.version
        FROM derive_accounts(behind, coalesce(as_of, clock_timestamp()), rules) AS derived
        WHERE account.customer_id = derived.customer_id;
    END IF;

    IF reviewed IS NOT NULL THEN
        UPDATE account
        SET vip = found.vip_until IS NOT NULL, vip_review_at = found.review_at
        FROM (
            SELECT customer.id AS customer_id, standing.vip_until, standing.review_at
            FROM unnest(reviewed) AS customer (id),
                 vip_standing(customer.id, coalesce(as_of, clock_timestamp()), rules) AS standing
        ) AS found
        WHERE account.customer_id = found.customer_id
          AND (account.vip, account.vip_review_at) IS DISTINCT FROM (found.vip_until IS NOT NULL, found.review_at);
    END IF;

    SELECT coalesce(array_agg(found.customer_id), '{}'), coalesce(array_agg(found.grade_before), '{}'),
           coalesce(array_agg(found.grade_after), '{}'), coalesce(array_agg(found.vip_before), '{}'),
           coalesce(array_agg(found.vip), '{}')
    INTO changed, grade_before, grade_after, vip_before, vip_after
    FROM (
        SELECT account.customer_id, width_bucket(candidate.before, former.grade_bounds) AS grade_before,
               width_bucket(account.points, rules.grade_bounds) AS grade_after, candidate.vip AS vip_before, account.vip
        FROM unnest(candidates, were_worth, were_vip, were_by) AS candidate (customer_id, before, vip, policy_version)
        JOIN account ON account.customer_id = candidate.customer_id
        JOIN policy AS former ON former.version = candidate.policy_version
    ) AS found
    WHERE found.vip <> found.vip_before OR found.grade_after <> found.grade_before;

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

-- For instances of the former version, which run on while the first of this one starts. They credit by version 1 alone, and are refused
-- while another policy is in force: they try again until they are replaced. They make grades of points, by the bounds of version 1, so
-- each grade is told by the points from which on it holds.
CREATE OR REPLACE FUNCTION credit_events(
    event_ids      uuid[],
    order_ids      uuid[],
    versions       bigint[],
    customer_ids   uuid[],
    event_types    text[],
    worths         bigint[],
    occurred_ats   timestamptz[],
    policy         smallint,
    grade_bounds   bigint[],
    vip_points     bigint,
    vip_window     interval,
    as_of          timestamptz,
    OUT new_events bigint,
    OUT new_points bigint,
    OUT cancelled  bigint,
    OUT forked     uuid[],
    OUT booked     uuid[],
    OUT changed    uuid[],
    OUT points_before bigint[],
    OUT points_after  bigint[],
    OUT vip_before    boolean[],
    OUT vip_after     boolean[]
) LANGUAGE sql
  SET search_path FROM CURRENT
AS $$
    SELECT credited.new_events, credited.new_points, credited.cancelled, credited.forked, credited.booked, credited.changed,
           ARRAY(SELECT (0 || grade_bounds)[grade + 1] FROM unnest(credited.grade_before) WITH ORDINALITY AS of (grade, place) ORDER BY place),
           ARRAY(SELECT (0 || grade_bounds)[grade + 1] FROM unnest(credited.grade_after) WITH ORDINALITY AS of (grade, place) ORDER BY place),
           credited.vip_before, credited.vip_after
    FROM credit_events(event_ids, order_ids, versions, customer_ids, event_types, occurred_ats, ARRAY[policy], as_of) AS credited
$$;

-- As in 0006, by the policy in force.
CREATE FUNCTION sweep_vip(
    accounts_max   bigint,
    known          smallint[],     -- policies that the caller knows
    as_of          timestamptz,    -- NULL: now
    OUT policy_version smallint,   -- the policy in force; NULL, as all below: another instance sweeps
    OUT reviewed   bigint,         -- accounts looked at
    OUT changed    uuid[],         -- customers whose grade or VIP status is another one now, with both before and after:
    OUT grade_before  int[],       -- 0 is the lowest; time alone changes no grade, another policy may
    OUT grade_after   int[],
    OUT vip_before    boolean[],
    OUT vip_after     boolean[]
) LANGUAGE plpgsql
  SET enable_seqscan = off
  SET search_path FROM CURRENT
AS $$
DECLARE
    -- Another deployment in another schema has another table, and another lock.
    of_these_accounts CONSTANT int := 'account'::regclass::oid::int;
    rules             policy;
    due               uuid[];
BEGIN
    changed := '{}';
    grade_before := '{}';
    grade_after := '{}';
    vip_before := '{}';
    vip_after := '{}';
    IF NOT pg_try_advisory_xact_lock(of_these_accounts, 0) THEN
        RETURN;
    END IF;
    rules := hold_policy(known);
    policy_version := rules.version;
    as_of := coalesce(as_of, clock_timestamp());
    -- Before any row: `bonus rebuild` of an earlier version locks the table first too.
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
    WITH before AS (
        SELECT account.customer_id, account.points, account.vip, account.policy_version
        FROM account
        WHERE account.customer_id = ANY (due)
    ), found AS (
        SELECT before.customer_id, before.points, standing.vip_until IS NOT NULL AS vip, standing.review_at
        FROM before, vip_standing(before.customer_id, as_of, rules) AS standing
        WHERE before.policy_version = rules.version
        UNION ALL
        SELECT derived.customer_id, derived.points, derived.vip, derived.vip_review_at
        FROM derive_accounts(ARRAY(SELECT before.customer_id FROM before WHERE before.policy_version <> rules.version), as_of, rules) AS derived
    ), looked_at AS (
        UPDATE account
        SET points = found.points, vip = found.vip, vip_review_at = found.review_at, policy_version = rules.version,
            updated_at = CASE WHEN (account.points, account.vip) = (found.points, found.vip) THEN account.updated_at ELSE now() END
        FROM found
        WHERE account.customer_id = found.customer_id
    ), change AS (
        SELECT found.customer_id, width_bucket(before.points, former.grade_bounds) AS grade_before,
               width_bucket(found.points, rules.grade_bounds) AS grade_after, before.vip AS vip_before, found.vip
        FROM found
        JOIN before ON before.customer_id = found.customer_id
        JOIN policy AS former ON former.version = before.policy_version
    )
    SELECT coalesce(array_agg(change.customer_id), '{}'), coalesce(array_agg(change.grade_before), '{}'),
           coalesce(array_agg(change.grade_after), '{}'), coalesce(array_agg(change.vip_before), '{}'),
           coalesce(array_agg(change.vip), '{}')
    INTO changed, grade_before, grade_after, vip_before, vip_after
    FROM change
    WHERE change.vip <> change.vip_before OR change.grade_after <> change.grade_before;
END
$$;

-- For instances of the former version: the one that has applied this file sweeps.
CREATE OR REPLACE FUNCTION sweep_vip(
    accounts_max   bigint,
    vip_points     bigint,
    vip_window     interval,
    as_of          timestamptz,
    OUT reviewed   bigint,
    OUT changed    uuid[],
    OUT points     bigint[],
    OUT vip_after  boolean[]
) LANGUAGE sql
  SET search_path FROM CURRENT
AS $$
    SELECT NULL::bigint, '{}'::uuid[], '{}'::bigint[], '{}'::boolean[]
$$;
