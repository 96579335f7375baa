-- Which of the positions $1 to $2 are set aside or given up. Indexes: quarantined_event_pkey, deferred_event_pkey, discarded_event_pkey.
SELECT q.seq FROM quarantined_event q WHERE q.seq BETWEEN $1 AND $2
 UNION
SELECT d.seq FROM deferred_event d WHERE d.seq BETWEEN $1 AND $2
 UNION
SELECT g.seq FROM discarded_event g WHERE g.seq BETWEEN $1 AND $2
