//! An order service that outlives its message broker. The modules, in the order in which a command flows:
//!
//! - [`http`] turns a request into a command, and its outcome into an answer;
//! - [`order`] has the rules; it is pure;
//! - [`engine`] runs them: an actor for each order, the journal that commits their events, the publisher;
//! - [`list`] keeps the list of orders.
//!
//! Around them:
//!
//! - [`app`] wires the parts and stops them in order;
//! - [`cli`] has the operators' commands, which work without HTTP;
//! - [`kit::supervision`] restarts actors and tasks;
//! - [`config`] has every setting, [`telemetry`] what is measured here, [`migration`] every table.

pub mod app;
pub mod cli;
pub mod config;
pub mod http;
pub mod list;
pub mod migration;
pub mod order;
pub mod telemetry;
