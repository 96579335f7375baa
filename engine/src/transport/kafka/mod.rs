//! Kafka: the format of a message, and the clients that talk to the brokers.

mod client;
mod producer;
mod statistics;
mod topic;
mod trace;
mod watch;

pub use client::{Kafka, KafkaSettings, QuietContext};
pub use topic::{TopicConfiguration, TopicSettings};
