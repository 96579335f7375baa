-- One plan for the append, made once, whatever the table's size and statistics.
--
-- By default each call is planned anew, which takes longer than carrying it out; and a batch on a table of some thousand rows
-- is planned as a scan of all of them, which is many times slower than as many looks into the index. Measured
-- with 64 clients on a journal that begins empty: 2,000 commands a second before, 8,500 after.
ALTER FUNCTION append_aggregate_events SET plan_cache_mode = force_generic_plan;
ALTER FUNCTION append_aggregate_events SET enable_seqscan = off;
ALTER FUNCTION append_aggregate_events SET enable_hashjoin = off;
ALTER FUNCTION append_aggregate_events SET enable_mergejoin = off;
