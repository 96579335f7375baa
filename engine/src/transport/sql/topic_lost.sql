-- Up to which position events may have been published to the topic before the one with the id $1 and not sent again; 0 if none were.
-- Index: published_topic_pkey.
SELECT coalesce(max(t.lost_seq), 0) FROM published_topic t WHERE t.topic_id = $1 AND t.replayed_at IS NULL
