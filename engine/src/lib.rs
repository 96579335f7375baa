//! Event-sourced aggregates as actors, with a transactional outbox: commands are acknowledged when their events are committed to
//! Postgres, and the events are published in order to a message broker that may be down at any time.
//!
//! The engine knows no domain, no HTTP and no environment. What it runs are the rules of one kind of [aggregate](aggregate).
//!
//! # A guide
//!
//! Say what happens to your aggregate, and what may happen. The functions are pure; the type is the state.
//!
//! ```
//! use chrono::{DateTime, Utc};
//! use engine::aggregate::{Aggregate, DecodeError, Name, Recorded};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Debug, Clone, Default)]
//! struct Account {
//!     is_open: bool,
//!     cents: u64,
//! }
//!
//! #[derive(Debug, Clone)]
//! enum Command {
//!     Open,
//!     Deposit { cents: u64 },
//!     Withdraw { cents: u64 },
//! }
//!
//! #[derive(Debug, Clone, Serialize, Deserialize)]
//! enum Event {
//!     Opened,
//!     Deposited { cents: u64 },
//!     Withdrawn { cents: u64 },
//! }
//!
//! #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
//! enum Rejection {
//!     #[error("the account is open already")]
//!     AlreadyOpen,
//!     #[error("the account holds only {cents} cents")]
//!     NotCovered { cents: u64 },
//! }
//!
//! impl Aggregate for Account {
//!     // Its table is called `account_event`, its metrics `accounts_…`.
//!     const NAME: Name = Name { one: "account", many: "accounts" };
//!     type Command = Command;
//!     type Event = Event;
//!     type Rejection = Rejection;
//!
//!     fn is_creation(command: &Command) -> bool {
//!         matches!(command, Command::Open)
//!     }
//!
//!     fn decide(&self, command: Command, _: DateTime<Utc>) -> Result<Vec<Event>, Rejection> {
//!         match command {
//!             Command::Open if self.is_open => Err(Rejection::AlreadyOpen),
//!             Command::Open => Ok(vec![Event::Opened]),
//!             Command::Deposit { cents } => Ok(vec![Event::Deposited { cents }]),
//!             Command::Withdraw { cents } if cents > self.cents => {
//!                 Err(Rejection::NotCovered { cents: self.cents })
//!             }
//!             Command::Withdraw { cents } => Ok(vec![Event::Withdrawn { cents }]),
//!         }
//!     }
//!
//!     fn evolve(self, event: &Recorded<Event>) -> Self {
//!         let cents = match event.data {
//!             Event::Opened => 0,
//!             // Total: what has happened cannot be refused, or fail.
//!             Event::Deposited { cents } => self.cents.saturating_add(cents),
//!             Event::Withdrawn { cents } => self.cents.saturating_sub(cents),
//!         };
//!         Self { is_open: true, cents }
//!     }
//!
//!     fn event_type(event: &Event) -> &'static str {
//!         match event {
//!             Event::Opened => "AccountOpened",
//!             Event::Deposited { .. } => "AccountDeposited",
//!             Event::Withdrawn { .. } => "AccountWithdrawn",
//!         }
//!     }
//!
//!     // These bytes are stored and published.
//!     fn encode(event: &Recorded<Event>) -> Result<String, serde_json::Error> {
//!         serde_json::to_string(&event.data)
//!     }
//!
//!     fn decode(_: &str, _: u32, payload: &str) -> Result<Event, DecodeError> {
//!         Ok(serde_json::from_str(payload)?)
//!     }
//! }
//!
//! // The rules need nothing else to be tested.
//! let account = Account { is_open: true, cents: 5 };
//! let refused = account.decide(Command::Withdraw { cents: 7 }, Utc::now());
//! assert_eq!(refused.unwrap_err(), Rejection::NotCovered { cents: 5 });
//!
//! # use engine::aggregate::AggregateId;
//! # use engine::{CommandError, Engine, Perform, Settings};
//! # use kit::settings::Migrate;
//! # use kit::supervision::Guardian;
//! // An instance of the service: once its tables are migrated, it takes commands.
//! async fn run(settings: &Settings, guardian: &actix::Addr<Guardian>) -> anyhow::Result<()> {
//!     let tables = engine::migration::migrations::<Account>(&sqlx::migrate::Migrator::DEFAULT);
//!     engine::migration::migrate(&settings.database, &settings.sessions, &tables, Migrate::Auto).await?;
//!     let engine = Engine::<Account>::start(settings, guardian, Vec::new()).await?;
//!
//!     let account = AggregateId(uuid::Uuid::now_v7());
//!     engine.aggregates.perform(Perform::new(account, Command::Open)).await?;
//!     let outcome = engine.aggregates.perform(Perform::new(account, Command::Deposit { cents: 100 })).await?;
//!     assert_eq!(outcome.current.state.cents, 100);
//!     match engine.aggregates.perform(Perform::new(account, Command::Withdraw { cents: 700 })).await {
//!         Err(CommandError::Refused(why)) => println!("{why}"),
//!         other => anyhow::bail!("{other:?}"),
//!     }
//!     Ok(())
//! }
//! ```
//!
//! `examples/stock/` in the repository is a whole service of this kind; `make example` runs it. [`Settings`] says what an instance needs;
//! [`transport::kafka`] is a way to a broker, and [`transport::Transport`] what another one has to do.
//!
//! A service whose state is not aggregates of the engine publishes by [`Outbox`] alone: it appends events in transactions of its own
//! ([`journal::Appender`]). The bonus service does.
//!
//! # What is promised
//! - A command's events are all committed, or none; it is acknowledged after the commit. See [`journal`].
//! - Decisions are made on what is committed, whoever else decides at the same time. See [`actor`].
//! - Every committed event is published at least once, each aggregate's in order, whatever fails meanwhile. A repeated one has the same id.
//!   See [`publisher`].
//! - Under an idempotency key a command is carried out once. See [`IdempotencyKey`].
//!
//! # What it needs
//! A schema of Postgres for each kind of aggregate, Redis for retries, one broker's topic. Actors run on actix arbiters under a
//! [`kit::supervision::Guardian`]; everything else runs on the tokio runtime in which [`Engine::start`] was called.

pub mod actor; // registry, and the aggregate's actor
pub mod aggregate; // PURE: what a user of the engine writes
mod command; // what is asked, and why it is refused
mod engine; // wiring
pub mod fallback; // the retry's job in Redis
pub mod journal; // the events: appended, read
pub mod metric;
pub mod migration;
mod names; // the statements, worded for an aggregate
mod outbox; // the journal and its publication, without aggregates
pub mod privileges; // what roles of Postgres may do with the tables
pub mod projection; // runs what is derived from the journal
pub mod publisher; // the events, published
#[cfg(test)]
mod sample;
pub mod traces;
pub mod transport; // to a message broker

pub use self::command::{CommandError, IdempotencyKey, Outcome, Perform, Trace, Visibility};
pub use self::engine::{Engine, Settings, supervise};
pub use self::names::Names;
pub use self::outbox::{Outbox, OutboxSettings, PublicationSettings, follower};
