-- Whether this role may truncate the list that is derived anew; its owner may.
SELECT has_table_privilege('order_summary_rebuilt', 'TRUNCATE') AS may_truncate
