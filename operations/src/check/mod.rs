//! What `check` looks at for the outbox: the topic that is published to, and the Redis that keeps the retry.

pub mod retry;
pub mod streams;
#[cfg(feature = "kafka")]
pub mod topic;

/// How a service calls things in its advice.
#[derive(Debug, Clone, Copy)]
pub struct Words {
    /// What the variables with the topic's settings begin with: `ORDERS_TOPIC`.
    pub variables: &'static str,
    /// Whose events they are: `orders`.
    pub many: &'static str,
}
