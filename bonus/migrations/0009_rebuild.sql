-- `bonus rebuild`, step by step, while crediting goes on: makes accounts what their ledger rows come to by a policy. One call is one
-- transaction; the accounts that it writes are locked for its length, in the order in which a credit locks them.
CREATE FUNCTION rebuild_accounts(
    by_policy      smallint,
    begin_at       uuid,           -- customers from this one on, in their order
    behind_only    boolean,        -- only accounts that are by another policy; else all, and the customers whose account is missing
    dry            boolean,        -- change nothing; the policy need not be in force
    accounts_max   bigint,
    entries_max    bigint,         -- no further account once these together have as many ledger rows
    as_of          timestamptz,    -- the moment for which VIP is decided; NULL: now
    OUT next_at    uuid,           -- where the next step begins; NULL: there is none
    OUT looked_at  bigint,         -- accounts of this step
    -- Those that were something else, before and after. NULL before: there was no account. NULL after: there are no ledger rows.
    OUT different     uuid[],
    OUT policy_before smallint[],
    OUT points_before bigint[],
    OUT points_after  bigint[],
    OUT events_before bigint[],
    OUT events_after  bigint[],
    OUT grade_before  int[],       -- 0 is the lowest
    OUT grade_after   int[],
    OUT vip_before    boolean[],
    OUT vip_after     boolean[]
) LANGUAGE plpgsql
  -- In the order of the index on customers, so that a step reads no more than it needs.
  SET plan_cache_mode = force_generic_plan
  SET enable_seqscan = off
  SET enable_bitmapscan = off
  SET search_path FROM CURRENT
AS $$
DECLARE
    rules     policy;
    upcoming  uuid[];
    entries   bigint[];
    taken     bigint;
    customers uuid[];
    -- Accounts that were missing.
    missing   uuid[] := '{}';
    opened    timestamptz[];
    reviews   timestamptz[];
BEGIN
    IF dry THEN
        SELECT policy.* INTO STRICT rules FROM policy WHERE policy.version = by_policy;
    ELSE
        rules := hold_policy(ARRAY[by_policy]);
        -- Before any row: `bonus rebuild` of an earlier version locks the table first too.
        LOCK TABLE account IN ROW EXCLUSIVE MODE;
    END IF;

    IF behind_only THEN
        SELECT array_agg(account.customer_id), array_agg(account.credited_events)
        INTO upcoming, entries
        FROM (
            SELECT account.customer_id, account.credited_events
            FROM account
            WHERE account.customer_id >= begin_at AND account.policy_version <> by_policy
            ORDER BY account.customer_id
            LIMIT accounts_max + 1
        ) AS account;
    ELSE
        SELECT array_agg(customer.customer_id), array_agg(customer.entries)
        INTO upcoming, entries
        FROM (
            SELECT every.customer_id, max(every.entries) AS entries
            FROM (
                (SELECT account.customer_id, 0 AS entries
                 FROM account
                 WHERE account.customer_id >= begin_at
                 ORDER BY account.customer_id
                 LIMIT accounts_max + 1)
                UNION ALL
                (SELECT ledger.customer_id, count(*) AS entries
                 FROM ledger
                 WHERE ledger.customer_id >= begin_at
                 GROUP BY ledger.customer_id
                 ORDER BY ledger.customer_id
                 LIMIT accounts_max + 1)
            ) AS every
            GROUP BY every.customer_id
            ORDER BY every.customer_id
            LIMIT accounts_max + 1
        ) AS customer;
    END IF;
    -- At least one, whatever it has.
    SELECT count(*)
    INTO taken
    FROM (
        SELECT row_number() OVER (ORDER BY customer.place) AS number,
               sum(customer.entries) OVER (ORDER BY customer.place) - customer.entries AS entries_before
        FROM unnest(entries) WITH ORDINALITY AS customer (entries, place)
    ) AS customer
    WHERE customer.number <= accounts_max AND customer.entries_before < entries_max;
    customers := coalesce(upcoming[:taken], '{}');
    next_at := upcoming[taken + 1];

    IF NOT dry THEN
        IF behind_only THEN
            -- Without those that a credit or a sweep has derived anew meanwhile.
            SELECT coalesce(array_agg(locked.customer_id), '{}')
            INTO customers
            FROM (
                SELECT account.customer_id
                FROM account
                WHERE account.customer_id = ANY (customers) AND account.policy_version <> by_policy
                ORDER BY account.customer_id
                FOR UPDATE
            ) AS locked;
        ELSE
            -- Locks those that are there, though it writes none of them, and opens the others, all in one order.
            WITH opening AS (
                INSERT INTO account (customer_id, points, credited_events, policy_version)
                SELECT customer.id, 0, 1, by_policy
                FROM unnest(customers) AS customer (id)
                ORDER BY customer.id
                ON CONFLICT (customer_id) DO UPDATE SET points = account.points WHERE false
                RETURNING account.customer_id
            )
            SELECT coalesce(array_agg(opening.customer_id), '{}') INTO missing FROM opening;
        END IF;
    END IF;
    looked_at := cardinality(customers);

    -- A statement of its own: it sees what was committed before the accounts were locked.
    SELECT coalesce(array_agg(found.customer_id), '{}'), coalesce(array_agg(found.policy_before), '{}'),
           coalesce(array_agg(found.points_before), '{}'), coalesce(array_agg(found.points_after), '{}'),
           coalesce(array_agg(found.events_before), '{}'), coalesce(array_agg(found.events_after), '{}'),
           coalesce(array_agg(found.grade_before), '{}'), coalesce(array_agg(found.grade_after), '{}'),
           coalesce(array_agg(found.vip_before), '{}'), coalesce(array_agg(found.vip_after), '{}'),
           coalesce(array_agg(found.opened_at), '{}'), coalesce(array_agg(found.vip_review_at), '{}')
    INTO different, policy_before, points_before, points_after, events_before, events_after, grade_before, grade_after, vip_before,
         vip_after, opened, reviews
    FROM (
        SELECT derived.customer_id, account.policy_version AS policy_before, account.points AS points_before,
               account.credited_events AS events_before, width_bucket(account.points, former.grade_bounds) AS grade_before,
               account.vip AS vip_before, booked.points AS points_after, booked.credited_events AS events_after,
               width_bucket(booked.points, rules.grade_bounds) AS grade_after, booked.vip AS vip_after, booked.opened_at,
               booked.vip_review_at, account.vip_review_at AS review_before
        FROM derive_accounts(customers, coalesce(as_of, clock_timestamp()), rules) AS derived
        LEFT JOIN LATERAL (
            SELECT derived.points, derived.credited_events, derived.vip, derived.opened_at, derived.vip_review_at
            WHERE derived.credited_events > 0
        ) AS booked ON true
        LEFT JOIN account ON account.customer_id = derived.customer_id AND account.customer_id <> ALL (missing)
        LEFT JOIN policy AS former ON former.version = account.policy_version
        ORDER BY derived.customer_id
    ) AS found
    WHERE (found.policy_before, found.points_before, found.events_before, found.vip_before)
              IS DISTINCT FROM (by_policy, found.points_after, found.events_after, found.vip_after)
       -- Looking again too early does no harm.
       OR coalesce(found.review_before, 'infinity') > coalesce(found.vip_review_at, 'infinity');

    IF dry THEN
        RETURN;
    END IF;
    UPDATE account
    SET points = found.points, credited_events = found.events, vip = found.vip, vip_review_at = found.review, policy_version = by_policy,
        opened_at = CASE WHEN account.customer_id = ANY (missing) THEN found.opened ELSE account.opened_at END,
        updated_at = now()
    FROM unnest(different, points_after, events_after, vip_after, reviews, opened)
        AS found (customer_id, points, events, vip, review, opened)
    WHERE account.customer_id = found.customer_id AND found.events IS NOT NULL;
    DELETE FROM account
    USING unnest(different, events_after) AS found (customer_id, events)
    WHERE account.customer_id = found.customer_id AND found.events IS NULL;
END
$$;
