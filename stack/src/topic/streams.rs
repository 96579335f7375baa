//! The topic as Redis Streams have it: one stream a partition.

use anyhow::{Context, Result};
use redis::aio::MultiplexedConnection;
use redis::streams::{StreamId, StreamRangeReply};

use super::{Published, TOPIC, published};

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
            messages.push(
                published(partition, &fields(entry)).with_context(|| format!("{stream} {}", entry.id))?,
            );
        }
    }
    Ok(messages)
}

/// The fields of an entry, by name.
pub(crate) fn fields(entry: &StreamId) -> impl Fn(&str) -> Option<String> {
    |name| entry.get(name)
}
