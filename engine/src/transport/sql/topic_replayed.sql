-- The events up to position $2 were sent again to the topic with the id $1: what it lacked, if that was not more, it has.
-- Index: published_topic_pkey.
UPDATE published_topic
   SET replayed_at = now()
 WHERE topic_id = $1 AND lost_seq <= $2 AND replayed_at IS NULL
RETURNING lost_seq
