//! Aggregates as actors: one actor per live aggregate, found through a registry, alive only while it is used.
//!
//! An actor is a cache of its aggregate's state. It handles the aggregate's commands one at a time, so commands of one instance
//! never race. It keeps the folded state, so a command needs no read. It is not authoritative: two instances may have an
//! actor for the same aggregate. The journal's unique `(aggregate_id, version)` decides; the loser reloads and decides again.
//! State changes only after the commit. After any other outcome the actor forgets its state and reloads.
//!
//! The registries are supervised; the actors of aggregates are not: after a panic the registry makes a new one for the next command.
//!
//! ```text
//! caller ──Perform──> registry shard (by id) ──TimedPerform──> the aggregate's actor ──Append──> journal
//! ```

mod aggregate;
mod registry;
mod trace;

pub use aggregate::{ActorDependencies, CommandResult};
pub use registry::{Aggregates, CrashAggregate, Registry, RegistryLimits};
