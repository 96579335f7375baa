-- The lanes of which events are deferred: of how many partitions, how many events, the last of their positions, since when.
-- Reads deferred_event once; it is empty while every partition takes events.
SELECT d.lane, max(d.partitions) AS partitions, count(*) AS events, max(d.seq) AS last_seq, min(d.deferred_at) AS since
  FROM deferred_event d
 GROUP BY d.lane
 ORDER BY d.lane
