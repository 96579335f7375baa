//! Kafka, for both services: how a cluster is reached, what an error means, what a topic may be called, and which topic has a name.
//! librdkafka's clients, and what its errors mean, are behind the feature `kafka`.

mod cluster;
mod connection;
mod decoder;
#[cfg(feature = "kafka")]
mod explain;
mod frame;
mod handshake;
mod identity;
mod link;
mod login;
mod metadata;
mod name;
mod protocol;
mod sasl;
mod scram;
mod security;

pub use cluster::Cluster;
#[cfg(feature = "kafka")]
pub use explain::{code, describe, explain};
pub use identity::{LinkReport, TopicError};
pub use link::LinkError;
pub use metadata::TopicIdentity;
pub use name::topic_name;
pub use protocol::{SaslMechanism, SecurityProtocol};
pub use security::{Given, Security};
