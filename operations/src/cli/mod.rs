//! The commands that every service with an outbox has.

mod quarantine;
mod replay;

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use engine::journal::Reader;
use engine::transport::Transport;

pub use self::quarantine::Quarantine;
pub use self::replay::Replay;

/// A service whose operators give commands.
pub trait Service {
    /// The program, as operators call it.
    const PROGRAM: &'static str;
    /// Settings of the log.
    type Logging: Args;
    /// Where the journal is.
    type Database: Args;
    /// What the events are published to.
    type Broker: Args;

    /// Fails at once when the database cannot be reached, or is not the service's.
    fn open(database: &Self::Database) -> impl Future<Output = anyhow::Result<Reader>>;

    /// To be called on the process's main runtime, which carries the connections.
    ///
    /// # Errors
    /// When the settings cannot be used.
    fn target(broker: &Self::Broker) -> anyhow::Result<Target>;
}

/// What a command publishes to.
pub struct Target {
    pub transport: Arc<dyn Transport>,
    pub topic: String,
    /// Which message queue it is, and where, for people.
    pub place: String,
    pub delivery_timeout: Duration,
}

/// What every command takes.
pub type OutputArgs<S> = kit::cli::OutputArgs<<S as Service>::Logging>;
