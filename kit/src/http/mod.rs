//! HTTP for both services: the same mistake gets the same answer from each.

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

pub use connections::{ConnectionLimits, in_hand, open, watch, within_descriptors};
pub use hardening::hardened;
pub use kind::*;
pub use problem::{FieldError, PROBLEM_JSON, Problem};
pub use routes::{COMMAND, READ, READ_OR_COMMAND, extractors, not_found, read, resource};
