//! What the parts say about themselves, for `/readyz` and for each other.

use std::sync::Arc;

use serde::Serialize;
use tokio::sync::watch;
use utoipa::ToSchema;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConsumerState {
    /// Waits for Postgres and its schema.
    Starting,
    Running,
    /// Failed; comes back after a pause.
    Restarting,
    Stopped,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum KafkaState {
    /// Not seen yet since the start.
    Connecting,
    Connected,
    /// Lost, or not there. Nothing to do: the client reconnects by itself.
    Unreachable,
}

#[derive(Debug, Clone)]
pub struct Health {
    pub consumer: ConsumerState,
    pub consumer_restarts: u64,
    /// Why the last attempt at the batch in hand failed.
    pub crediting_error: Option<String>,
    pub kafka: KafkaState,
    /// Partitions that the group has given to this process.
    pub partitions: usize,
    /// Messages in those partitions that are not yet committed, as last heard.
    pub lag_messages: i64,
}

/// Shared by all parts; cheap to clone.
#[derive(Clone)]
pub struct HealthBoard(Arc<watch::Sender<Health>>);

impl Default for HealthBoard {
    fn default() -> Self {
        let health = Health {
            consumer: ConsumerState::Starting,
            consumer_restarts: 0,
            crediting_error: None,
            kafka: KafkaState::Connecting,
            partitions: 0,
            lag_messages: 0,
        };
        Self(Arc::new(watch::Sender::new(health)))
    }
}

impl HealthBoard {
    pub fn update(&self, change: impl FnOnce(&mut Health)) {
        self.0.send_modify(change);
    }

    pub fn get(&self) -> Health {
        self.0.borrow().clone()
    }
}
