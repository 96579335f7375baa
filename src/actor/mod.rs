//! Order aggregates as actors: one actor per live order, found through a registry, alive only while it is used.
//!
//! An actor is a cache with manners. It handles its order's commands one at a time, so that commands of one instance
//! never race; it keeps the folded state, so that a command needs no read. It is not the truth: two instances may hold an
//! actor for the same order, the journal's unique `(order_id, version)` decides, and the loser reloads and decides again.
//! State changes only after the commit; after any other outcome the actor forgets it and reloads.
//!
//! The registries are supervised; order actors are not: after a panic the registry makes a new one for the next command.
//!
//! ```text
//! HTTP ──Perform──> registry shard (by order id) ──Perform──> order actor ──Append──> journal
//! ```

mod order;
mod registry;
mod trace;

pub use order::{IdempotencyKey, OrderDependencies, Outcome, Perform, Trace};
pub use registry::{CrashOrder, Orders, Registry, RegistryLimits};
