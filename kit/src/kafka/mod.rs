//! Kafka, for both services: client settings, what an error means, what a topic may be called, and which topic has a name. The first
//! two need librdkafka, which is the feature `kafka`.

#[cfg(feature = "kafka")]
mod client;
#[cfg(feature = "kafka")]
mod explain;
mod identity;
mod metadata;
mod name;

#[cfg(feature = "kafka")]
pub use client::client_config;
#[cfg(feature = "kafka")]
pub use explain::{code, describe, explain};
pub use identity::{TopicError, topic_identity};
pub use metadata::TopicIdentity;
pub use name::topic_name;
