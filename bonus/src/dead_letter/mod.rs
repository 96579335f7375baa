//! Messages that cannot be credited: kept in Postgres before their offset is committed, then sent to the dead-letter topic.
//!
//! | the topic | what happens |
//! |---|---|
//! | takes the letter | its row is removed |
//! | finds it too large | headers, value, key are left out in turn, with a note of what is missing; the place of the original stays |
//! | takes it in no form | the row stays, an ERROR says where the message is, [`crate::telemetry::metric::letters`] counts it |
//! | is missing, forbidden or away | the row waits, and is tried again after 2 to 64 seconds, without an end |
//!
//! Crediting waits for none of that. At least once: a process that is killed between the topic's acknowledgement and the removal
//! of the row sends the letter again; its headers say where the original is.

mod delivery;
#[cfg(feature = "kafka")]
mod kafka;
mod outbox;
mod queue;
mod record;
mod redis;
mod sender;

pub use self::outbox::{StoredLetter, keep};
pub use self::sender::{Sender, Wake};
