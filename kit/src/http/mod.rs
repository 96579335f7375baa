//! HTTP for both services: the same mistake gets the same answer from each.

mod access;
pub mod actors;
mod body;
mod connections;
mod cors;
pub mod documentation;
mod endpoint;
mod hardening;
pub mod health;
pub mod json;
mod kind;
mod listener;
pub mod openapi;
pub mod origin;
mod paced;
mod problem;
mod rate;
mod routes;
mod server;

pub use access::{Caller, Gate};
pub use body::{Body, BodyLimits, header_once};
pub use connections::{ConnectionLimits, open, within_descriptors};
pub use cors::Origins;
pub use endpoint::{Endpoint, Serves, Side};
pub use kind::*;
pub use problem::{FieldError, PROBLEM_JSON, Problem};
pub use rate::{Rate, RateChoice};
pub use routes::{extractors, not_found, read, resource};
pub use server::{RunningServers, ServerSettings, Servers, operators_connections_max, operators_descriptors};
