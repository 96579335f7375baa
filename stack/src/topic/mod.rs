//! What really is in the topic, whichever message queue has it.

#[cfg(feature = "kafka")]
mod kafka;
mod message;
mod streams;

use std::collections::HashMap;

use anyhow::{Result, bail};
use uuid::Uuid;

#[cfg(feature = "kafka")]
pub(crate) use self::kafka::{Reading, count, read};
pub(crate) use self::message::{Change, Field, Published, PublishedChange, published, published_change};
pub(crate) use self::streams::{fields, keep_streams, read_streams};

pub(crate) const TOPIC: &str = "orders.events";
/// What customers gain and lose.
pub(crate) const CHANGES_TOPIC: &str = "bonus.events";

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
