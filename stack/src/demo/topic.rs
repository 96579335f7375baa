//! Whether the topic holds what it must, in order.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};
use serde::Serialize;
use uuid::Uuid;

use crate::topic::Published;

#[derive(Debug, Clone, Serialize)]
pub(crate) struct TopicSummary {
    pub(crate) messages: usize,
    pub(crate) events: usize,
    /// Messages whose event was in the topic already. At-least-once allows them; the ledger sorts them out.
    pub(crate) repeated: usize,
    pub(crate) orders: usize,
}

/// Checks that the topic holds every order's versions 1 to n, each first seen in that order, for exactly the orders and versions
/// given.
pub(crate) fn check_order(messages: &[Published], versions: &BTreeMap<Uuid, i64>) -> Result<TopicSummary> {
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    let mut latest: BTreeMap<Uuid, i64> = BTreeMap::new();
    for message in messages.iter().filter(|message| seen.insert(&message.event_id)) {
        let last = latest.entry(message.order).or_default();
        if message.version != *last + 1 {
            bail!("order {}: version {} follows version {last} in the topic", message.order, message.version);
        }
        *last = message.version;
    }
    for (order, version) in versions {
        let published = latest.get(order).copied().unwrap_or_default();
        if published != *version {
            bail!("order {order} is at version {version}, the topic at {published}");
        }
    }
    if latest.len() != versions.len() {
        bail!("the topic holds {} orders, {} were created", latest.len(), versions.len());
    }
    let (messages, events) = (messages.len(), seen.len());
    Ok(TopicSummary { messages, events, repeated: messages - events, orders: latest.len() })
}
