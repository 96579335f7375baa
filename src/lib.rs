//! An order service that outlives its message broker. The modules, in the order in which a command flows:
//!
//! - [`http`] turns a request into a command, and its outcome into an answer;
//! - [`actor`] finds the order's actor, which loads, decides, appends, evolves and replies;
//! - [`order`] has the rules; it is pure;
//! - [`journal`] commits the events, which is the acknowledgement; [`migration`] makes its tables;
//! - [`publisher`] sends committed events in order, by a pure machine, under a lease;
//! - [`transport`] talks to Kafka; [`fallback`] schedules retries in Redis;
//! - [`projection`] keeps the list of orders.
//!
//! Around them:
//!
//! - [`app`] wires the parts and stops them in order;
//! - [`cli`] has the operators' commands, which work without HTTP;
//! - [`kit::supervision`] restarts actors and tasks;
//! - [`config`] has every setting, [`telemetry`] every metric, [`error`] every way in which a command can fail.

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
