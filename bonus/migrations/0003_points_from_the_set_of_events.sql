-- What an order gives is a function of the events that the ledger holds of it, not of the order in which they came:
--
--   an award counts unless the ledger holds a cancellation of the same order, for the same customer, at a later version.
--
-- Until now a cancellation was booked as what the ledger had of its order at that moment, and an award that came after it (a
-- replay after the topic was lost, partitions that were added) stayed. Rows now say what was received, no more: an award its
-- points, a cancellation nothing. Earlier cancellations keep what they were booked with; nobody reads it any more. Accounts
-- that went wrong are mended by `bonus rebuild`.

-- Each row with what it comes to. A cancellation takes back the awards of its order and customer below it which no cancellation
-- in between has taken, whenever they were booked. The sum over a customer is the customer's account.
-- Reads for each cancellation the rows of its order, by ledger_order_version_key.
CREATE VIEW ledger_entry AS
SELECT entry.entry_no, entry.event_id, entry.order_id, entry.version, entry.customer_id, entry.event_type,
       CASE WHEN entry.event_type <> 'OrderCancelled' THEN entry.points
       ELSE (
           SELECT -coalesce(sum(award.points), 0)::bigint
           FROM ledger AS award
           WHERE award.order_id = entry.order_id
             AND award.customer_id = entry.customer_id
             AND award.event_type <> 'OrderCancelled'
             AND award.version < entry.version
             AND NOT EXISTS (
                 SELECT
                 FROM ledger AS between_them
                 WHERE between_them.order_id = entry.order_id
                   AND between_them.customer_id = entry.customer_id
                   AND between_them.event_type = 'OrderCancelled'
                   AND between_them.version > award.version
                   AND between_them.version < entry.version
             )
       ) END AS points,
       entry.policy_version, entry.occurred_at, entry.booked_at
FROM ledger AS entry;

-- Books a batch of events, each at most once in the life of the ledger, and changes the accounts by what that makes of the
-- orders' sums. One call, one round trip, one transaction. Parallel arrays, one element an event.
--
-- Awards commute, a cancellation commutes with nothing of its order: so each order's lock is shared by awards and exclusive for
-- a cancellation. Whoever comes second then sees what the first has committed, since each statement here has a snapshot of its
-- own. Orders share 64 locks, because a lock for each order of a large batch would not fit into the server's table of locks.
--
-- Nothing can deadlock: locks are taken by number, rows of the ledger by order and version, accounts by customer.
CREATE FUNCTION credit_events(
    event_ids      uuid[],
    order_ids      uuid[],
    versions       bigint[],
    customer_ids   uuid[],
    event_types    text[],
    worths         bigint[],       -- points of an award, 0 for a cancellation
    occurred_ats   timestamptz[],
    policy         smallint,
    OUT new_events bigint,         -- that the ledger did not hold
    OUT new_points bigint,         -- by which the accounts have changed, taken together
    OUT cancelled  bigint,         -- new awards that an earlier cancellation takes back at once
    OUT forked     uuid[],         -- refused: another event of the same order and version is booked …
    OUT booked     uuid[]          -- … which is this one
) LANGUAGE plpgsql
  -- A plan made while a table is one page would read it from end to end, and would be kept as the table grows.
  SET enable_seqscan = off
  SET search_path FROM CURRENT
AS $$
DECLARE
    -- Another deployment in another schema has another table, and other locks.
    of_this_ledger CONSTANT int := 'ledger'::regclass::oid::int;
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
        RETURNING ledger.order_id, ledger.version, ledger.customer_id, ledger.event_type, ledger.points
    ), standing AS (
        -- `ledger` is what it was before this statement.
        SELECT entry.order_id, entry.version, entry.customer_id, entry.event_type, entry.points,
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
        SELECT standing.customer_id, CASE WHEN standing.version > standing.cancelled_now THEN standing.points ELSE 0 END AS points,
               1 AS events, (standing.version < standing.cancelled_before AND standing.points > 0)::int AS cancelled
        FROM standing
        UNION ALL
        SELECT award.customer_id, -award.points, 0, 0
        FROM (
            SELECT DISTINCT standing.order_id, standing.customer_id, standing.cancelled_before, standing.cancelled_now
            FROM standing
            WHERE standing.event_type = 'OrderCancelled'
        ) AS taking
        JOIN ledger AS award ON award.order_id = taking.order_id
            AND award.customer_id = taking.customer_id
            AND award.event_type <> 'OrderCancelled'
            AND award.version > taking.cancelled_before
            AND award.version < taking.cancelled_now
    ), opened_or_changed AS (
        INSERT INTO account (customer_id, points, credited_events)
        SELECT change.customer_id, sum(change.points), sum(change.events)
        FROM change
        GROUP BY change.customer_id
        ORDER BY change.customer_id
        ON CONFLICT (customer_id) DO UPDATE
        SET points = account.points + EXCLUDED.points,
            credited_events = account.credited_events + EXCLUDED.credited_events,
            updated_at = now()
    )
    SELECT coalesce(sum(change.events), 0), coalesce(sum(change.points), 0), coalesce(sum(change.cancelled), 0)
    INTO new_events, new_points, cancelled
    FROM change;

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
