-- An append looks for conflicts only once it has met one.
--
-- The constraints are the check: a batch is inserted as it is, and nearly always that is all. Only when it violates one of them is it
-- undone, and the function of 0002 looks which commands are at fault and writes the others. (A block with an exception is a subtransaction;
-- it costs less than to look for each event of each batch in vain.)
--
-- A key that was used before is no rarity, since clients are told to repeat: keys are looked for first.
--
-- The planner's settings of 0005 stay with the function that needs them. Here tables are read for the last position and for keys only.
ALTER FUNCTION append_aggregate_events RENAME TO append_aggregate_events_checked;

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
    notify_publisher     boolean,
    OUT head       bigint,
    OUT conflicted int[],
    OUT repeated   int[],
    OUT known      int[]
) LANGUAGE plpgsql
  -- A plan made while a table is one page would read it from end to end, and would be kept as the table grows.
  SET enable_seqscan = off
AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(7023100001);

    SELECT coalesce(max(e.seq), 0) INTO head FROM aggregate_event e;
    conflicted := '{}';
    repeated := '{}';
    known := '{}';

    IF cardinality(receipt_keys) = 0
       OR NOT EXISTS (SELECT FROM command_receipt r WHERE r.idempotency_key = ANY (receipt_keys)) THEN
        BEGIN
            INSERT INTO aggregate_event (seq, event_id, aggregate_id, version, event_type, payload, metadata, occurred_at)
            SELECT head + i.place, i.event_id, i.aggregate_id, i.version, i.event_type, i.payload::json, i.metadata::json,
                   i.occurred_at
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
                PERFORM pg_notify('aggregate_event_appended', '');
            END IF;
            RETURN;
        EXCEPTION WHEN unique_violation THEN
            -- Undone up to here; the lock is still held.
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
