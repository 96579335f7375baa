//! Redis Streams.
//!
//! # Format
//! A topic is a hash, `{topic}`, with an `id` (its identity) and its number of `partitions`. Each partition is a stream,
//! `{topic}:{partition}`. An entry's fields are `key`, `value` and the message's attributes, each under its own name. The hash
//! `{topic}:position` is the publisher's: its tenure, how many entries it has appended, and up to which position of the journal the
//! streams have every event.
//!
//! # Order
//! A lane appends over a connection of its own, in the order in which events were sent. An entry and the count of appends are written
//! by one script, so Redis keeps or loses them together.
//!
//! # When Redis loses what it has acknowledged
//! The journal is the truth ([`keeper`]). Each append says which topic it is for, which tenure it belongs to and how many appends that
//! tenure knows of. Streams that were made anew, or have lost their end, refuse it. Then the lost events are sent again, before any
//! later one. `docs/adr/0031` says what is guaranteed.
//!
//! # Trimming
//! Only what every registered group has acknowledged is dropped ([`trim`]).

mod answer;
mod checkpoints;
mod client;
mod connection;
mod gate;
mod groups;
mod keeper;
mod lane;
mod overview;
mod restore;
mod script;
mod sending;
mod settings;
mod shared;
mod topic;
mod trim;
mod unconfirmed;

pub use client::RedisStreams;
pub use overview::StreamOverview;
pub use settings::StreamSettings;
