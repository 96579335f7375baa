//! The health of each part, for `/readyz` and for the other parts.

use std::sync::Arc;

use kit::supervision::{State, Vitals};
use serde::Serialize;
use tokio::sync::watch;
use utoipa::ToSchema;

use crate::config::Mq;

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

impl From<State> for ConsumerState {
    fn from(state: State) -> Self {
        match state {
            State::Starting => Self::Starting,
            State::Running => Self::Running,
            State::Restarting => Self::Restarting,
            State::Stopped => Self::Stopped,
        }
    }
}

/// The connection to the message queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MqState {
    /// Not seen yet since the start.
    Connecting,
    Connected,
    /// The connection is lost. The service reconnects by itself.
    Unreachable,
}

impl MqState {
    fn name(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Unreachable => "unreachable",
        }
    }
}

#[derive(Debug, Clone)]
pub struct Health {
    pub consumer: ConsumerState,
    pub consumer_restarts: u64,
    /// Why the last attempt at the batch in hand failed.
    pub crediting_error: Option<String>,
    pub mq: Mq,
    pub connection: MqState,
    /// Partitions that this process reads.
    pub partitions: usize,
    /// Messages in those partitions that are not yet acknowledged, as last heard.
    pub lag_messages: i64,
}

impl Health {
    /// The state of the message queue of this name, if it is the one in use.
    pub fn of(&self, mq: &str) -> Option<MqState> {
        (self.mq.value() == mq).then_some(self.connection)
    }
}

/// What the parts report.
#[derive(Debug, Clone)]
pub struct Reported {
    pub crediting_error: Option<String>,
    pub connection: MqState,
    pub partitions: usize,
    pub lag_messages: i64,
}

/// Shared by all parts; cheap to clone.
#[derive(Clone)]
pub struct HealthBoard {
    mq: Mq,
    reported: Arc<watch::Sender<Reported>>,
    consumer: Arc<Vitals>,
}

impl HealthBoard {
    /// The vitals are the consumer's.
    pub fn new(mq: Mq, consumer: Arc<Vitals>) -> Self {
        let reported = Reported {
            crediting_error: None,
            connection: MqState::Connecting,
            partitions: 0,
            lag_messages: 0,
        };
        Self { mq, reported: Arc::new(watch::Sender::new(reported)), consumer }
    }

    /// Changes what is reported, and with it the consumer's details in the supervision tree.
    pub fn update(&self, change: impl FnOnce(&mut Reported)) {
        self.reported.send_modify(change);
        let (connection, partitions, lag_messages) = {
            let reported = self.reported.borrow();
            (reported.connection, reported.partitions, reported.lag_messages)
        };
        self.consumer.detail(self.mq.value(), connection.name());
        self.consumer.detail("partitions", partitions);
        self.consumer.detail("lag_messages", lag_messages);
    }

    pub fn get(&self) -> Health {
        let Reported { crediting_error, connection, partitions, lag_messages } =
            self.reported.borrow().clone();
        Health {
            consumer: self.consumer.state().into(),
            consumer_restarts: self.consumer.restarts(),
            crediting_error,
            mq: self.mq,
            connection,
            partitions,
            lag_messages,
        }
    }
}
