//! The bonus service: loyalty points from the order events, each event credited exactly once.
//!
//! ```text
//! Kafka or Redis -> feed (thread) -> Consumer actor -> ledger (one transaction a batch) -> Postgres
//!                     ^                    |
//!                     +---- effect done ---+      only then are messages acknowledged
//! ```
//!
//! Why exactly once: messages come at least once, because they are acknowledged only after the effect; the ledger's primary key
//! is the event's id, and an account changes only in the transaction that inserts a new ledger row.
//!
//! | fails | what happens |
//! |---|---|
//! | Kafka or Redis | nothing arrives; the client reconnects by itself; readiness stays |
//! | Postgres | the batch in hand is retried, the partitions are paused; readiness fails |
//! | this process, killed anywhere | another one, or the next start, reads on from what was last acknowledged; what comes again is absorbed |
//! | the actor or the feed panics | the Guardian ([`kit::supervision`]) starts both again; as above |
//! | no process runs when a VIP status ends | the next start, or another process, sweeps it; until then reading tells it as of now |
//! | a message cannot be credited | it is kept in Postgres before it is acknowledged, and sent to the dead-letter topic from there |
//! | the topic has lost what was to be read | an error with the range; reading goes on with the first message there is |
//!
//! The modules in the order of flow:

pub mod config; // every setting
pub mod error; // what can go wrong, and what is done about it
pub mod telemetry; // logs and metrics
pub mod traces; // from the request to the credit

pub mod batch; // what is handed over at once
pub mod feed; // the polling thread
#[cfg(feature = "kafka")]
pub mod kafka; // client settings, headers
pub mod link; // PURE: the connection lost, back
pub mod message; // PURE: bytes -> event
pub mod source; // a message as it came
pub mod spans; // of a batch
pub mod streams; // Redis Streams: names, entries

pub mod consumer; // the actor: effect, then answer
pub mod dead_letter; // what cannot be credited
pub mod ledger; // the transaction
pub mod points; // PURE: what an event is worth
pub mod policy; // PURE: the rules, by version
pub mod standing; // PURE: grade and VIP, and their changes

pub mod changes; // of standings: counted, and recorded to be published
pub mod customer_event; // PURE: as others are told
pub mod outbox; // what is published
pub mod rebuild; // all accounts anew, from the ledger
pub mod schedule; // cron expressions
pub mod sweep; // what the passing of time changes

pub mod batch_log; // what came of it, in the log

pub mod account; // reading
pub mod database; // sessions, migration
pub mod health; // what the parts say about themselves
pub mod http; // REST, readiness, metrics, OpenAPI

pub mod cli; // what operators do without HTTP

pub mod app; // wiring, and the order of stopping
