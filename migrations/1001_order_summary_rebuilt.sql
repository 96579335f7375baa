-- Where `orders rebuild list` derives the list anew, beside the one that is read. Empty, with its cursor at 0, unless a rebuild is under
-- way or was interrupted. Whoever changes a column or a constraint of order_summary changes it here too.
CREATE TABLE order_summary_rebuilt (
    LIKE order_summary INCLUDING CONSTRAINTS,

    CONSTRAINT order_summary_rebuilt_pkey PRIMARY KEY (order_id)
);

-- Not in projection_cursor: a cursor that is set there by hand, for all projections at once, would be one that says more than the table has.
CREATE TABLE rebuild_cursor (
    projection    text   NOT NULL,
    projected_seq bigint NOT NULL DEFAULT 0,

    CONSTRAINT rebuild_cursor_pkey PRIMARY KEY (projection)
);
INSERT INTO rebuild_cursor (projection) VALUES ('order_summary_rebuilt');
