-- Policies: by which rules accounts are derived from the ledger. The rules are defined in `policy.rs`; their values are here too, since
-- the functions and views of this schema price by them. A row is added with the release that adds the version, and never changed.
--
-- One policy is in force. Credits and sweeps work by it, and each account says by which it was derived. `bonus rebuild --policy N`
-- puts another one in force and derives the accounts anew. Until an account's turn comes it stays what it is, by its own policy; the
-- first credit or sweep that touches it derives it anew as well, in the same transaction.
--
-- The ledger is not rewritten for that. What an event is worth is a function of its type and of a policy; `ledger.points` and
-- `ledger.policy_version` say what it was worth when it was booked, and nothing is derived from them any more.
--
-- Both tables are locked first, in the order in which a credit takes them.
LOCK TABLE ledger IN SHARE ROW EXCLUSIVE MODE;
LOCK TABLE account IN ACCESS EXCLUSIVE MODE;

CREATE TABLE policy (
    version          smallint NOT NULL,
    created_points   bigint   NOT NULL,
    completed_points bigint   NOT NULL,
    -- Lifetime points from which on each grade but the lowest holds, rising.
    grade_bounds     bigint[] NOT NULL,
    -- Who has this many points from the events of the window is VIP.
    vip_points       bigint   NOT NULL,
    vip_window       interval NOT NULL,

    CONSTRAINT policy_pkey PRIMARY KEY (version),
    CONSTRAINT policy_version_positive CHECK (version > 0),
    -- The ledger books no award of nothing.
    CONSTRAINT policy_points_positive CHECK (created_points > 0 AND completed_points > 0 AND vip_points > 0)
);

INSERT INTO policy (version, created_points, completed_points, grade_bounds, vip_points, vip_window)
VALUES (1, 40, 100, '{100,300,1000}', 200, interval '720 hours'),
       (2, 20, 150, '{150,500,1500}', 300, interval '1440 hours');

CREATE TABLE policy_in_force (
    only_row boolean     NOT NULL DEFAULT true,
    version  smallint    NOT NULL,
    since    timestamptz NOT NULL DEFAULT now(),

    CONSTRAINT policy_in_force_pkey PRIMARY KEY (only_row),
    CONSTRAINT policy_in_force_has_one_row CHECK (only_row),
    CONSTRAINT policy_in_force_is_known FOREIGN KEY (version) REFERENCES policy (version)
);

INSERT INTO policy_in_force (version) VALUES (1);

CREATE FUNCTION policy_version_in_force() RETURNS smallint LANGUAGE sql STABLE
  SET search_path FROM CURRENT
AS $$
    SELECT policy_in_force.version FROM policy_in_force WHERE policy_in_force.only_row
$$;

-- By which policy the account is what it is. No foreign key: its check would lock the policy's row for each account that is opened.
ALTER TABLE account ADD COLUMN policy_version smallint NOT NULL DEFAULT 1;
ALTER TABLE account ALTER COLUMN policy_version SET DEFAULT policy_version_in_force();

-- The policy in force, which stays in force until the transaction ends. Whoever writes accounts calls this first, with the versions
-- that it knows: by others it must not work. Volatile: the row is read after the lock was granted.
CREATE FUNCTION hold_policy(known smallint[]) RETURNS policy LANGUAGE plpgsql
  SET search_path FROM CURRENT
AS $$
DECLARE
    rules policy;
BEGIN
    -- The number after those of the orders (0003).
    PERFORM pg_advisory_xact_lock_shared('ledger'::regclass::oid::int, 64);
    SELECT policy.*
    INTO rules
    FROM policy_in_force
    JOIN policy ON policy.version = policy_in_force.version
    -- By the index: callers have sequential scans off, and one would be taken for so costly that it is compiled.
    WHERE policy_in_force.only_row;
    IF rules.version <> ALL (known) THEN
        -- Not of the values: the same call succeeds once its program is a newer one, or another policy is in force.
        RAISE EXCEPTION USING
            ERRCODE = 'object_not_in_prerequisite_state',
            MESSAGE = format('policy %s is in force, and this program works by %s: run a version that knows it, or put another one in force',
                             rules.version, array_to_string(known, ', '));
    END IF;
    RETURN rules;
END
$$;

-- Puts a policy in force, once no transaction is under way that works by another one. Those that come wait for the commit.
CREATE FUNCTION put_policy_in_force(
    policy_version smallint,
    OUT former     smallint      -- that was in force before; the same: nothing has changed
) LANGUAGE plpgsql
  SET search_path FROM CURRENT
AS $$
BEGIN
    PERFORM pg_advisory_xact_lock('ledger'::regclass::oid::int, 64);
    SELECT policy_in_force.version INTO former FROM policy_in_force WHERE policy_in_force.only_row;
    UPDATE policy_in_force
    SET version = policy_version, since = now()
    WHERE policy_in_force.only_row AND policy_in_force.version <> policy_version;
END
$$;

-- The points of an event. Inlined into each statement, so it has no setting of its own.
CREATE FUNCTION worth(event_type text, rules policy) RETURNS bigint LANGUAGE sql IMMUTABLE
AS $$
    SELECT CASE event_type
               WHEN 'OrderCreated' THEN rules.created_points
               WHEN 'OrderCompleted' THEN rules.completed_points
               ELSE 0
           END
$$;

-- Each row with what it comes to (0003), by the policy of its account.
CREATE OR REPLACE VIEW ledger_entry AS
SELECT entry.entry_no, entry.event_id, entry.order_id, entry.version, entry.customer_id, entry.event_type,
       CASE WHEN entry.event_type <> 'OrderCancelled' THEN worth(entry.event_type, rules)
       ELSE (
           SELECT -coalesce(sum(worth(award.event_type, rules)), 0)::bigint
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
       rules.version AS policy_version, entry.occurred_at, entry.booked_at
FROM ledger AS entry
LEFT JOIN account ON account.customer_id = entry.customer_id
-- An account that is missing will be derived by the policy in force.
JOIN policy AS rules ON rules.version = coalesce(account.policy_version, policy_version_in_force());

-- Awards that no cancellation takes back. Their points are a policy's.
DROP VIEW counted_award;
CREATE VIEW counted_award AS
SELECT award.customer_id, award.occurred_at, award.event_type
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

-- One customer at one moment, as in 0006, by any policy.
CREATE FUNCTION vip_standing(
    customer       uuid,
    as_of          timestamptz,
    rules          policy,
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
    SELECT newest.occurred_at + rules.vip_window
    INTO vip_until
    FROM (
        SELECT award.occurred_at,
               sum(worth(award.event_type, rules)) OVER (ORDER BY award.occurred_at DESC ROWS UNBOUNDED PRECEDING) AS points
        FROM counted_award AS award
        WHERE award.customer_id = customer
          AND award.occurred_at <= as_of
          AND award.occurred_at > as_of - rules.vip_window
    ) AS newest
    WHERE newest.points >= rules.vip_points
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

-- For instances of the former version, which run on while the first of this one starts. They know version 1 alone; of an account that is
-- by another one they are told what it is.
CREATE OR REPLACE FUNCTION vip_standing(
    customer       uuid,
    as_of          timestamptz,
    vip_points     bigint,
    vip_window     interval,
    OUT vip_until  timestamptz,
    OUT review_at  timestamptz
) LANGUAGE sql STABLE
  SET search_path FROM CURRENT
AS $$
    SELECT standing.vip_until, standing.review_at
    FROM account
    JOIN policy AS rules ON rules.version = account.policy_version, vip_standing(customer, as_of, rules) AS standing
    WHERE account.customer_id = customer
$$;
