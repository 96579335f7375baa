//! Kafka, for both services: client settings, what an error means, what a topic may be called, and which topic has a name.

mod client;
mod explain;
mod identity;
mod metadata;
mod name;

pub use client::client_config;
pub use explain::{code, describe, explain};
pub use identity::{TopicError, topic_identity};
pub use metadata::TopicIdentity;
pub use name::topic_name;
