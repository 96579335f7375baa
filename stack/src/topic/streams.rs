//! The topic as Redis Streams have it: one stream a partition.

use anyhow::{Context, Result, bail};
use redis::aio::MultiplexedConnection;
use redis::streams::{StreamId, StreamRangeReply};

use super::{Published, TOPIC};

/// From now on the streams keep every entry: this group acknowledges none.
pub(crate) async fn keep_streams(redis: &mut MultiplexedConnection) -> Result<()> {
    for partition in 0..partitions(redis).await? {
        let stream = format!("{TOPIC}:{partition}");
        let create = ["CREATE", &stream, "topic-reader", "0", "MKSTREAM"];
        let _: () = redis::cmd("XGROUP").arg(&create).query_async(redis).await?;
    }
    Ok(())
}

async fn partitions(redis: &mut MultiplexedConnection) -> Result<i32> {
    let partitions: Option<i32> = redis::cmd("HGET").arg(TOPIC).arg("partitions").query_async(redis).await?;
    partitions.context("the topic is not there")
}

/// Every entry that the streams have at this moment, stream by stream. They drop what every group has acknowledged: see
/// [`keep_streams`].
pub(crate) async fn read_streams(redis: &mut MultiplexedConnection) -> Result<Vec<Published>> {
    let mut messages = Vec::new();
    for partition in 0..partitions(redis).await? {
        let stream = format!("{TOPIC}:{partition}");
        let entries: StreamRangeReply =
            redis::cmd("XRANGE").arg(&stream).arg("-").arg("+").query_async(redis).await?;
        for entry in &entries.ids {
            messages.push(published(partition, entry).with_context(|| format!("{stream} {}", entry.id))?);
        }
    }
    Ok(messages)
}

pub(crate) fn published(partition: i32, entry: &StreamId) -> Result<Published> {
    let field = |name: &str| -> Result<String> {
        entry.get::<String>(name).with_context(|| format!("an entry without {name}"))
    };
    let (key, subject) = (field("key")?, field("ce_subject")?);
    if subject != key {
        bail!("an entry with key {key} is about {subject}");
    }
    Ok(Published {
        partition,
        order: key.parse()?,
        version: field("ce_sequence")?.parse()?,
        event_id: field("ce_id")?,
    })
}
