//! What both services need around their domains. Knows no order, no points, no HTTP and no environment.

pub mod kafka;
pub mod postgres;
