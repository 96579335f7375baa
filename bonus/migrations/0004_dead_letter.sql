-- Dead letters on their way to their topic. A message that cannot be credited is kept here before its offset is committed, and is
-- sent to the topic afterwards: a topic that refuses it, or is away, holds up nobody's credits. A row is removed when the topic has
-- acknowledged the letter. One that the topic refuses in every form stays, for an operator.

CREATE TABLE dead_letter (
    letter_no      bigint      GENERATED ALWAYS AS IDENTITY,
    -- Where the message is, or was.
    topic          text        NOT NULL,
    partition      integer     NOT NULL,
    topic_offset   bigint      NOT NULL,
    -- Which consumer group could not credit it, and why.
    group_id       text        NOT NULL,
    reason         text        NOT NULL,
    message_key    bytea,
    -- NULL also when it was too large to be kept; then only value_bytes says that there was one.
    value          bytea,
    value_bytes    bigint      NOT NULL,
    -- The message's own headers, in their order; a value may be NULL.
    header_names   text[]      NOT NULL,
    header_values  bytea[]     NOT NULL,
    kept_at        timestamptz NOT NULL DEFAULT now(),
    -- Attempts to send it, and when the next one is due. While one process tries, the others leave it alone until then.
    attempts       integer     NOT NULL DEFAULT 0,
    due_at         timestamptz NOT NULL DEFAULT now(),
    -- Given up, and what the topic said. `UPDATE dead_letter SET refused_at = NULL` has it tried again.
    refused_at     timestamptz,
    refusal        text,

    CONSTRAINT dead_letter_pkey PRIMARY KEY (letter_no),
    CONSTRAINT dead_letter_headers_match CHECK (cardinality(header_names) = cardinality(header_values))
);

-- The letters to send, the longest due first.
CREATE INDEX dead_letter_due_idx ON dead_letter (due_at) WHERE refused_at IS NULL;
