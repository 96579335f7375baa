-- The only way into aggregate_event: one call is one transaction that writes the commands of a whole batch.
--
-- Why a function: lock, check and insert must be three statements, because a statement's snapshot is taken when it
-- starts, and the check has to see what the previous holder of the lock committed. A function makes them one round trip.
--
-- The lock serialises appends across all instances for the few milliseconds of a batch, so that commit order is
-- position order (the idea of message-db's category lock, taken to the whole table). It is released by the commit itself.
--
-- A command is refused alone, its neighbours are written: `conflicted` lists commands one of whose (aggregate_id, version)
-- exists already, `repeated` those whose idempotency key was used before. `known` lists commands that an earlier call
-- already wrote (same event ids, or the same command's receipt): repeating a call whose answer was lost changes nothing.
CREATE FUNCTION append_aggregate_events(
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
    -- Wakes a publisher in another process. Once a batch at most: NOTIFY takes a database-wide lock at commit.
    notify_publisher     boolean,
    OUT head       bigint,
    OUT conflicted int[],
    OUT repeated   int[],
    OUT known      int[]
) LANGUAGE plpgsql AS $$
DECLARE
    refused int[];
BEGIN
    PERFORM pg_advisory_xact_lock(7023100001);

    SELECT coalesce(max(e.seq), 0) INTO head FROM aggregate_event e;

    SELECT coalesce(array_agg(DISTINCT i.command_no) FILTER (WHERE e.event_id <> i.event_id), '{}'),
           coalesce(array_agg(DISTINCT i.command_no) FILTER (WHERE e.event_id = i.event_id), '{}')
      INTO conflicted, known
      FROM unnest(command_nos, event_ids, aggregate_ids, versions) AS i(command_no, event_id, aggregate_id, version)
      JOIN aggregate_event e ON e.aggregate_id = i.aggregate_id AND e.version = i.version;

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
        PERFORM pg_notify('aggregate_event_appended', '');
    END IF;
END
$$;
