//! HTTP for both services: the same mistake gets the same answer from each.

mod access;
pub mod actors;
mod connections;
pub mod documentation;
mod hardening;
pub mod health;
mod kind;
pub mod openapi;
pub mod origin;
mod problem;
mod routes;

pub use access::{Caller, Endpoint, Gate};
pub use connections::{ConnectionLimits, in_hand, open, watch, within_descriptors};
pub use hardening::hardened;
pub use kind::*;
pub use problem::{FieldError, PROBLEM_JSON, Problem};
pub use routes::{extractors, not_found, read, resource};
