-- The channel on which an append wakes a publisher in another process: the deployment's own (engine/migrations/0007_append_after_its_predecessor.sql).
SELECT appended_channel() AS channel
