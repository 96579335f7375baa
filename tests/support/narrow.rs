//! A topic that refuses some events for their own sake.

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use serde_json::{Value, json};

use super::{Stage, an_order};

pub fn admin(stage: &Stage) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", &stage.servers.kafka).create().unwrap()
}

/// A topic that takes small messages only.
pub async fn narrow_topic(stage: &Stage) {
    let topic = NewTopic::new(&stage.topic, 3, TopicReplication::Fixed(1)).set("max.message.bytes", "1500");
    for created in admin(stage).create_topics([&topic], &AdminOptions::new()).await.unwrap() {
        created.unwrap();
    }
}

/// From now on it takes what it refused.
pub async fn widen_topic(stage: &Stage) {
    let wider = AlterConfig::new(ResourceSpecifier::Topic(&stage.topic)).set("max.message.bytes", "100000");
    for altered in admin(stage).alter_configs([&wider], &AdminOptions::new()).await.unwrap() {
        altered.unwrap();
    }
}

pub fn large_order() -> Value {
    let mut order = an_order();
    let items = (0..60).map(|n| json!({ "sku": format!("item-{n}"), "quantity": 1, "unit_price_minor": 1 }));
    order["items"] = items.collect();
    order
}
