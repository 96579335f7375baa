//! The way out of the service: what a message looks like, and how the broker is spoken to.

mod kafka;
mod partition;
mod producer;
mod topic;
mod trace;

pub use kafka::{Kafka, KafkaSettings, Quiet};
pub use partition::{PartitionState, shortage, strength};
pub use producer::Signal;
pub use topic::{TopicConfiguration, TopicSettings};
