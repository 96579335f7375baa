//! The way out of the service: what a message looks like, and how the broker is spoken to.

mod kafka;
mod producer;
mod topic;
mod trace;

pub use kafka::{Kafka, KafkaSettings, PartitionState, Quiet};
pub use producer::Signal;
pub use topic::{TopicConfiguration, TopicSettings};
