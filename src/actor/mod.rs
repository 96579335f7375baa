//! Order aggregates as actors: one actor per live order, found through a registry, alive only while it is used.
//!
//! An actor is a cache of its order's state. It handles the order's commands one at a time, so commands of one instance
//! never race. It keeps the folded state, so a command needs no read. It is not authoritative: two instances may have an
//! actor for the same order. The journal's unique `(order_id, version)` decides; the loser reloads and decides again.
//! State changes only after the commit. After any other outcome the actor forgets its state and reloads.
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
