//! What a message says, whichever message queue has it.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use uuid::Uuid;

/// A message of the order service, in the order of its partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Published {
    pub(crate) partition: i32,
    pub(crate) order: Uuid,
    pub(crate) version: i64,
    pub(crate) event_id: String,
}

/// What a customer has gained or lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) event_id: String,
    pub(crate) customer: Uuid,
    pub(crate) version: i64,
    pub(crate) event_type: String,
    /// Of a grade's change.
    pub(crate) grade: Option<String>,
    pub(crate) points: Option<i64>,
}

/// A message of the bonus service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PublishedChange {
    pub(crate) partition: i32,
    pub(crate) change: Change,
}

/// A message's `key`, `value` or attribute.
pub(crate) type Field<'a> = &'a dyn Fn(&str) -> Option<String>;

pub(crate) fn published(partition: i32, field: Field<'_>) -> Result<Published> {
    let field = |name: &str| field(name).with_context(|| format!("a message without {name}"));
    let (key, subject) = (field("key")?, field("ce_subject")?);
    if subject != key {
        bail!("a message with key {key} is about {subject}");
    }
    Ok(Published {
        partition,
        order: key.parse()?,
        version: field("ce_sequence")?.parse()?,
        event_id: field("ce_id")?,
    })
}

pub(crate) fn published_change(partition: i32, field: Field<'_>) -> Result<PublishedChange> {
    // Subject and sequence are those of the customer.
    let Published { order: customer, version, event_id, .. } = published(partition, field)?;
    let change = Change::parse(&field("value").context("a message without a value")?)?;
    let same = (change.customer, change.version, &change.event_id) == (customer, version, &event_id)
        && field("ce_type").as_deref() == Some(&change.event_type);
    ensure!(same, "the attributes of event {event_id} are not those of {change:?}");
    Ok(PublishedChange { partition, change })
}

impl Change {
    /// As it goes on the wire.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let value: Value = serde_json::from_str(text)?;
        let field = |name: &str| value[name].as_str().map(str::to_owned);
        let needed = |name: &str| field(name).with_context(|| format!("{text} has no {name}"));
        Ok(Self {
            event_id: needed("event_id")?,
            customer: needed("customer_id")?.parse()?,
            version: value["version"].as_i64().with_context(|| format!("{text} has no version"))?,
            event_type: needed("event_type")?,
            grade: field("grade"),
            points: value["points"].as_i64(),
        })
    }
}

impl PublishedChange {
    /// As the order service's messages are seen.
    pub(crate) fn published(&self) -> Published {
        let Change { event_id, customer, version, .. } = &self.change;
        Published {
            partition: self.partition,
            order: *customer,
            version: *version,
            event_id: event_id.clone(),
        }
    }
}
