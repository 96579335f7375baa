//! What really is in the topic, whichever message queue has it.

#[cfg(feature = "kafka")]
mod kafka;
mod streams;

use std::collections::HashMap;

use anyhow::{Result, bail};
use uuid::Uuid;

#[cfg(feature = "kafka")]
pub(crate) use self::kafka::{Reading, count, read};
pub(crate) use self::streams::{keep_streams, published, read_streams};

pub(crate) const TOPIC: &str = "orders.events";

/// A message, in the order of its partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Published {
    pub(crate) partition: i32,
    pub(crate) order: Uuid,
    pub(crate) version: i64,
    pub(crate) event_id: String,
}

/// Whether the first occurrences of each order's events are in version order.
pub(crate) fn in_version_order(messages: &[Published]) -> Result<()> {
    let mut last: HashMap<Uuid, i64> = HashMap::new();
    for message in messages {
        let last = last.entry(message.order).or_default();
        if message.version > *last + 1 {
            bail!("version {} of order {} came before version {}", message.version, message.order, *last + 1);
        }
        *last = message.version.max(*last);
    }
    Ok(())
}
