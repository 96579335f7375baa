//! Kafka: the format of a message, and the clients that talk to the brokers.

mod kafka;
mod partition;
mod producer;
mod topic;
mod trace;

pub use kafka::{Kafka, KafkaSettings, Quiet};
pub use partition::{PartitionState, shortage, strength};
pub use producer::Signal;
pub use topic::{TopicConfiguration, TopicSettings};
