//! What a service of ours needs around its domain. Knows no order, no points, no address of HTTP and no environment.

pub mod cli;
pub mod http;
pub mod kafka;
pub mod postgres;
pub mod supervision;
pub mod telemetry;
