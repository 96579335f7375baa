//! What both services need around their domains. Knows no order, no points, no address of HTTP and no environment.

pub mod http;
pub mod kafka;
pub mod postgres;
