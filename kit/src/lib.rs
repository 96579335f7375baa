//! What both services need around their domains. Knows no order and no bonus.

pub mod kafka;
