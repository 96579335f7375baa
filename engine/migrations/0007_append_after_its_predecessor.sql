-- An append refuses an event whose predecessor is not there, and two deployments in one database do not share their locks.
--
-- 1. The predecessor. The unique (aggregate_id, version) refuses a version that is taken. It accepts one behind a gap: after a
-- failover that lost commits, or a restore, an aggregate's actor may remember version 3 of an aggregate that has two, and versions 1, 2, 4
-- would be in the journal. Now an event's version is one more than its predecessor's, which is looked up, and NULL if there is
-- none, which the column refuses. The predecessor of a command's second event is the event before it in the batch. Version 1 has
-- none. So a creation costs nothing, and any other event one look into the leaf of aggregate_event_aggregate_version_key to which its own entry goes.
-- What is refused so is answered like a taken version: the actor forgets its state, loads the aggregate and decides again.
--
-- 2. The keys. Advisory locks and channels belong to a database. They are now derived from the schema of the deployment's own
-- aggregate_event: whatever search_path a session has, who writes to the same table takes the same lock. In the schema `public` the numbers
-- and the name are what they were, so that instances of the version before, which have them built in, exclude those of this one.
-- Whoever needs a key asks for it here.
--
-- 3. The timeline, by which an instance notices that its database is another one than before.

-- The schema of the deployment. Not current_schema(): that changes when somebody creates a schema that comes first in a search path.
CREATE FUNCTION deployment_schema() RETURNS text LANGUAGE sql STABLE
    AS $$ SELECT (pg_identify_object('pg_class'::regclass, 'aggregate_event'::regclass, 0)).schema $$;

-- The advisory lock that serialises appends.
CREATE FUNCTION append_lock_key() RETURNS bigint LANGUAGE sql STABLE
    AS $$ SELECT CASE deployment_schema() WHEN 'public' THEN 7023100001 ELSE hashtextextended(deployment_schema(), 7023100001) END $$;

-- The advisory lock that is the publisher's lease.
CREATE FUNCTION publisher_lease_key() RETURNS bigint LANGUAGE sql STABLE
    AS $$ SELECT CASE deployment_schema() WHEN 'public' THEN 7023100002 ELSE hashtextextended(deployment_schema(), 7023100002) END $$;

-- The channel on which an append wakes a publisher in another process. A channel's name has at most 63 bytes, a schema's as well.
CREATE FUNCTION appended_channel() RETURNS text LANGUAGE sql STABLE
    AS $$ SELECT CASE deployment_schema() WHEN 'public' THEN 'aggregate_event_appended' ELSE 'aggregate_event_appended_' || md5(deployment_schema()) END $$;

-- Which history of which server this is: it changes with a promotion, a recovery to a point in time, or another server. NULL where it
-- cannot be told: on a standby, and on servers that call themselves Postgres and do not offer it.
CREATE FUNCTION server_timeline() RETURNS text LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF pg_is_in_recovery() THEN
        RETURN NULL;
    END IF;
    RETURN (SELECT c.system_identifier FROM pg_control_system() c) || '/' || left(pg_walfile_name(pg_current_wal_lsn()), 8);
EXCEPTION WHEN feature_not_supported OR insufficient_privilege OR undefined_function OR object_not_in_prerequisite_state THEN
    RETURN NULL;
END
$$;

-- Appends in hand end first: they hold the key as it was.
SELECT pg_advisory_xact_lock(7023100001);

CREATE OR REPLACE FUNCTION append_aggregate_events(
    command_nos          int[],
    event_ids            uuid[],
    aggregate_ids            uuid[],
    versions             bigint[],
    event_types          text[],
    payloads             text[],
    metadatas            text[],
    occurred_ats         timestamptz[],
    receipt_command_nos  int[],
    receipt_keys         text[],
    receipt_command_ids  uuid[],
    receipt_fingerprints bytea[],
    receipt_aggregate_ids    uuid[],
    receipt_versions     bigint[],
    receipt_refusals     text[],
    notify_publisher     boolean,
    OUT head       bigint,
    OUT conflicted int[],
    OUT repeated   int[],
    OUT known      int[]
) LANGUAGE plpgsql
  -- A plan made while a table is one page would read it from end to end, and would be kept as the table grows.
  SET enable_seqscan = off
  -- Else each call is planned anew, which takes as long as carrying a lone one out: with the subquery a plan for the values at hand looks cheaper.
  SET plan_cache_mode = force_generic_plan
AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(append_lock_key());

    SELECT coalesce(max(e.seq), 0) INTO head FROM aggregate_event e;
    conflicted := '{}';
    repeated := '{}';
    known := '{}';

    IF cardinality(receipt_keys) = 0
       OR NOT EXISTS (SELECT FROM command_receipt r WHERE r.idempotency_key = ANY (receipt_keys)) THEN
        BEGIN
            INSERT INTO aggregate_event (seq, event_id, aggregate_id, version, event_type, payload, metadata, occurred_at)
            SELECT head + i.place, i.event_id, i.aggregate_id,
                   CASE
                       WHEN i.version = 1
                         OR (aggregate_ids[i.place - 1] = i.aggregate_id AND versions[i.place - 1] = i.version - 1)
                       THEN i.version
                       -- A scalar subquery: an EXISTS could be planned as a hash of the whole table.
                       ELSE 1 + (SELECT p.version FROM aggregate_event p
                                  WHERE p.aggregate_id = i.aggregate_id AND p.version = i.version - 1)
                   END,
                   i.event_type, i.payload::json, i.metadata::json, i.occurred_at
              FROM unnest(event_ids, aggregate_ids, versions, event_types, payloads, metadatas, occurred_ats)
                   WITH ORDINALITY AS i(event_id, aggregate_id, version, event_type, payload, metadata, occurred_at, place);

            IF cardinality(receipt_keys) > 0 THEN
                INSERT INTO command_receipt (idempotency_key, command_id, fingerprint, aggregate_id, version, refusal)
                SELECT i.idempotency_key, i.command_id, i.fingerprint, i.aggregate_id, i.version, i.refusal::json
                  FROM unnest(receipt_keys, receipt_command_ids, receipt_fingerprints, receipt_aggregate_ids, receipt_versions,
                              receipt_refusals)
                       AS i(idempotency_key, command_id, fingerprint, aggregate_id, version, refusal);
            END IF;

            IF notify_publisher THEN
                PERFORM pg_notify(appended_channel(), '');
            END IF;
            RETURN;
        EXCEPTION WHEN unique_violation OR not_null_violation THEN
            -- Undone up to here; the lock is still held. The function below finds the commands at fault.
        END;
    END IF;

    SELECT checked.head, checked.conflicted, checked.repeated, checked.known
      INTO head, conflicted, repeated, known
      FROM append_aggregate_events_checked(
               command_nos, event_ids, aggregate_ids, versions, event_types, payloads, metadatas, occurred_ats,
               receipt_command_nos, receipt_keys, receipt_command_ids, receipt_fingerprints, receipt_aggregate_ids,
               receipt_versions, receipt_refusals, notify_publisher) AS checked;
END
$$;

-- As in 0002, with the predecessor looked for; settings as in 0005, since replacing a function drops them.
CREATE OR REPLACE FUNCTION append_aggregate_events_checked(
    command_nos          int[],
    event_ids            uuid[],
    aggregate_ids            uuid[],
    versions             bigint[],
    event_types          text[],
    payloads             text[],
    metadatas            text[],
    occurred_ats         timestamptz[],
    receipt_command_nos  int[],
    receipt_keys         text[],
    receipt_command_ids  uuid[],
    receipt_fingerprints bytea[],
    receipt_aggregate_ids    uuid[],
    receipt_versions     bigint[],
    receipt_refusals     text[],
    notify_publisher     boolean,
    OUT head       bigint,
    OUT conflicted int[],
    OUT repeated   int[],
    OUT known      int[]
) LANGUAGE plpgsql
  SET plan_cache_mode = force_generic_plan
  SET enable_seqscan = off
  SET enable_hashjoin = off
  SET enable_mergejoin = off
AS $$
DECLARE
    orphaned int[];
    refused  int[];
BEGIN
    PERFORM pg_advisory_xact_lock(append_lock_key());

    SELECT coalesce(max(e.seq), 0) INTO head FROM aggregate_event e;

    SELECT coalesce(array_agg(DISTINCT i.command_no) FILTER (WHERE e.event_id <> i.event_id), '{}'),
           coalesce(array_agg(DISTINCT i.command_no) FILTER (WHERE e.event_id = i.event_id), '{}')
      INTO conflicted, known
      FROM unnest(command_nos, event_ids, aggregate_ids, versions) AS i(command_no, event_id, aggregate_id, version)
      JOIN aggregate_event e ON e.aggregate_id = i.aggregate_id AND e.version = i.version;

    -- Behind a gap. Committed events count, and the one before of the same command: another command of the batch may be refused yet.
    SELECT coalesce(array_agg(DISTINCT i.command_no), '{}')
      INTO orphaned
      FROM unnest(command_nos, aggregate_ids, versions) WITH ORDINALITY AS i(command_no, aggregate_id, version, place)
     WHERE i.version > 1
       AND (i.command_no = command_nos[i.place - 1] AND i.version = versions[i.place - 1] + 1) IS NOT TRUE
       AND i.command_no <> ALL (conflicted || known)
       AND (SELECT p.version FROM aggregate_event p WHERE p.aggregate_id = i.aggregate_id AND p.version = i.version - 1) IS NULL;
    conflicted := conflicted || orphaned;

    repeated := '{}';
    IF cardinality(receipt_keys) > 0 THEN
        SELECT coalesce(array_agg(i.command_no) FILTER (WHERE r.command_id <> i.command_id), '{}'),
               known || coalesce(array_agg(i.command_no) FILTER (WHERE r.command_id = i.command_id), '{}')
          INTO repeated, known
          FROM unnest(receipt_command_nos, receipt_keys, receipt_command_ids) AS i(command_no, idempotency_key, command_id)
          JOIN command_receipt r ON r.idempotency_key = i.idempotency_key;
    END IF;

    refused := conflicted || repeated || known;

    INSERT INTO aggregate_event (seq, event_id, aggregate_id, version, event_type, payload, metadata, occurred_at)
    SELECT head + row_number() OVER (ORDER BY i.place),
           i.event_id, i.aggregate_id, i.version, i.event_type, i.payload::json, i.metadata::json, i.occurred_at
      FROM unnest(command_nos, event_ids, aggregate_ids, versions, event_types, payloads, metadatas, occurred_ats)
           WITH ORDINALITY AS i(command_no, event_id, aggregate_id, version, event_type, payload, metadata, occurred_at, place)
     WHERE i.command_no <> ALL (refused)
     ORDER BY i.place;

    IF cardinality(receipt_keys) > 0 THEN
        INSERT INTO command_receipt (idempotency_key, command_id, fingerprint, aggregate_id, version, refusal)
        SELECT i.idempotency_key, i.command_id, i.fingerprint, i.aggregate_id, i.version, i.refusal::json
          FROM unnest(receipt_command_nos, receipt_keys, receipt_command_ids, receipt_fingerprints,
                      receipt_aggregate_ids, receipt_versions, receipt_refusals)
               AS i(command_no, idempotency_key, command_id, fingerprint, aggregate_id, version, refusal)
         WHERE i.command_no <> ALL (refused);
    END IF;

    IF notify_publisher THEN
        PERFORM pg_notify(appended_channel(), '');
    END IF;
END
$$;
