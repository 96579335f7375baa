-- Appends are carried out with the rights of the tables' owner. A role that serves may call the append, and needs no right to write to
-- aggregate_event or command_receipt: that nothing else writes there is now a privilege that it does not have.
--
-- A function that runs with another role's rights must not be led to objects of its caller's:
--
-- 1. It has a search_path of its own (below): the system's schema, the deployment's, and last the session's temporary tables, which
--    else come first.
-- 2. In a schema where others may create, as everybody may in `public` before Postgres 15, a function or operator can be made that fits
--    the arguments better than the system's: cardinality(text[]) instead of cardinality(anyarray). So what is polymorphic, or needs a
--    cast, is named with its schema. Operators are used where both sides have the very types of the system's operator.
--
-- Otherwise the functions are those of 0007.

-- Appends in hand end first.
SELECT pg_advisory_xact_lock(append_lock_key());

-- As in 0007, with what it calls named.
CREATE OR REPLACE FUNCTION deployment_schema() RETURNS text LANGUAGE sql STABLE
    AS $$ SELECT (pg_catalog.pg_identify_object('pg_catalog.pg_class'::pg_catalog.regclass, 'aggregate_event'::pg_catalog.regclass, 0)).schema $$;

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
) LANGUAGE plpgsql SECURITY DEFINER
  -- A plan made while a table is one page would read it from end to end, and would be kept as the table grows.
  SET enable_seqscan = off
  -- Else each call is planned anew, which takes as long as carrying a lone one out: with the subquery a plan for the values at hand looks cheaper.
  SET plan_cache_mode = force_generic_plan
AS $$
BEGIN
    PERFORM pg_catalog.pg_advisory_xact_lock(append_lock_key());

    SELECT coalesce(pg_catalog.max(e.seq), 0) INTO head FROM aggregate_event e;
    conflicted := '{}';
    repeated := '{}';
    known := '{}';

    IF pg_catalog.cardinality(receipt_keys) = 0
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

            IF pg_catalog.cardinality(receipt_keys) > 0 THEN
                INSERT INTO command_receipt (idempotency_key, command_id, fingerprint, aggregate_id, version, refusal)
                SELECT i.idempotency_key, i.command_id, i.fingerprint, i.aggregate_id, i.version, i.refusal::json
                  FROM unnest(receipt_keys, receipt_command_ids, receipt_fingerprints, receipt_aggregate_ids, receipt_versions,
                              receipt_refusals)
                       AS i(idempotency_key, command_id, fingerprint, aggregate_id, version, refusal);
            END IF;

            IF notify_publisher THEN
                PERFORM pg_catalog.pg_notify(appended_channel(), '');
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

-- Called by the one above alone, and so with the same rights and search_path. Settings as in 0005, since replacing a function drops them.
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
    PERFORM pg_catalog.pg_advisory_xact_lock(append_lock_key());

    SELECT coalesce(pg_catalog.max(e.seq), 0) INTO head FROM aggregate_event e;

    SELECT coalesce(pg_catalog.array_agg(DISTINCT i.command_no) FILTER (WHERE e.event_id <> i.event_id), '{}'),
           coalesce(pg_catalog.array_agg(DISTINCT i.command_no) FILTER (WHERE e.event_id = i.event_id), '{}')
      INTO conflicted, known
      FROM unnest(command_nos, event_ids, aggregate_ids, versions) AS i(command_no, event_id, aggregate_id, version)
      JOIN aggregate_event e ON e.aggregate_id = i.aggregate_id AND e.version = i.version;

    -- Behind a gap. Committed events count, and the one before of the same command: another command of the batch may be refused yet.
    SELECT coalesce(pg_catalog.array_agg(DISTINCT i.command_no), '{}')
      INTO orphaned
      FROM unnest(command_nos, aggregate_ids, versions) WITH ORDINALITY AS i(command_no, aggregate_id, version, place)
     WHERE i.version > 1
       AND (i.command_no = command_nos[i.place - 1] AND i.version = versions[i.place - 1] + 1) IS NOT TRUE
       AND i.command_no <> ALL (pg_catalog.array_cat(conflicted, known))
       AND (SELECT p.version FROM aggregate_event p WHERE p.aggregate_id = i.aggregate_id AND p.version = i.version - 1) IS NULL;
    conflicted := pg_catalog.array_cat(conflicted, orphaned);

    repeated := '{}';
    IF pg_catalog.cardinality(receipt_keys) > 0 THEN
        SELECT coalesce(pg_catalog.array_agg(i.command_no) FILTER (WHERE r.command_id <> i.command_id), '{}'),
               pg_catalog.array_cat(known, coalesce(pg_catalog.array_agg(i.command_no) FILTER (WHERE r.command_id = i.command_id), '{}'))
          INTO repeated, known
          FROM unnest(receipt_command_nos, receipt_keys, receipt_command_ids) AS i(command_no, idempotency_key, command_id)
          JOIN command_receipt r ON r.idempotency_key = i.idempotency_key;
    END IF;

    refused := pg_catalog.array_cat(pg_catalog.array_cat(conflicted, repeated), known);

    INSERT INTO aggregate_event (seq, event_id, aggregate_id, version, event_type, payload, metadata, occurred_at)
    SELECT head + pg_catalog.row_number() OVER (ORDER BY i.place),
           i.event_id, i.aggregate_id, i.version, i.event_type, i.payload::json, i.metadata::json, i.occurred_at
      FROM unnest(command_nos, event_ids, aggregate_ids, versions, event_types, payloads, metadatas, occurred_ats)
           WITH ORDINALITY AS i(command_no, event_id, aggregate_id, version, event_type, payload, metadata, occurred_at, place)
     WHERE i.command_no <> ALL (refused)
     ORDER BY i.place;

    IF pg_catalog.cardinality(receipt_keys) > 0 THEN
        INSERT INTO command_receipt (idempotency_key, command_id, fingerprint, aggregate_id, version, refusal)
        SELECT i.idempotency_key, i.command_id, i.fingerprint, i.aggregate_id, i.version, i.refusal::json
          FROM unnest(receipt_command_nos, receipt_keys, receipt_command_ids, receipt_fingerprints,
                      receipt_aggregate_ids, receipt_versions, receipt_refusals)
               AS i(command_no, idempotency_key, command_id, fingerprint, aggregate_id, version, refusal)
         WHERE i.command_no <> ALL (refused);
    END IF;

    IF notify_publisher THEN
        PERFORM pg_catalog.pg_notify(appended_channel(), '');
    END IF;
END
$$;

-- The search_path of the append, and who may call what. Instances of the version before go on: a role that may INSERT into
-- aggregate_event today may append, and one that may SELECT may ask for keys. `migrate --grant-to` sets what the roles may from then on.
DO $$
DECLARE
    asked   record;
    grantee text;
BEGIN
    EXECUTE format('ALTER FUNCTION append_aggregate_events SET search_path = pg_catalog, %I, pg_temp', deployment_schema());
    FOR asked IN
        SELECT called.function, called.privilege
          FROM (VALUES ('append_aggregate_events', 'INSERT'), ('append_aggregate_events_checked', NULL), ('append_lock_key', 'SELECT'),
                       ('publisher_lease_key', 'SELECT'), ('appended_channel', 'SELECT'), ('deployment_schema', 'SELECT'),
                       ('server_timeline', 'SELECT')) AS called (function, privilege)
    LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %I FROM PUBLIC', asked.function);
        FOR grantee IN
            SELECT CASE acl.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(acl.grantee)) END
              FROM pg_class AS class, aclexplode(class.relacl) AS acl
             WHERE class.oid = 'aggregate_event'::regclass AND acl.grantee <> class.relowner AND acl.privilege_type = asked.privilege
        LOOP
            EXECUTE format('GRANT EXECUTE ON FUNCTION %I TO %s', asked.function, grantee);
        END LOOP;
    END LOOP;
END
$$;
