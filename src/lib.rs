//! An order service that outlives its message broker. The modules, in the order in which a command flows:
//!
//! - [`http`] turns a request into a command, and its outcome into an answer;
//! - [`actor`] finds the order's actor, which loads, decides, appends, evolves and replies;
//! - [`order`] holds the rules: pure;
//! - [`journal`] commits the events: that is the acknowledgement; [`migration`] makes its tables;
//! - [`publisher`] sends what is committed, in order, by a pure machine under a lease;
//! - [`transport`] knows Kafka; [`fallback`] schedules retries in Redis;
//! - [`projection`] keeps the list of orders.
//!
//! Around them: [`app`] wires and stops, [`cli`] is what operators do without HTTP, [`kit::supervision`] restarts, [`config`], [`telemetry`] and [`error`] are the one place each.

pub mod actor;
pub mod app;
pub mod cli;
pub mod config;
pub mod error;
pub mod fallback;
pub mod http;
pub mod journal;
pub mod migration;
pub mod order;
pub mod projection;
pub mod publisher;
pub mod telemetry;
pub mod transport;
