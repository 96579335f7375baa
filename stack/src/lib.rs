//! The development tool: real servers on one machine without Docker, and the demo that is played on them. It is
//! never linked into the services; their tests use it to start servers of their own.

pub mod demo; // the story of an outage, played and checked
pub mod local; // a whole stack: up, down, status, logs, exec
pub mod place; // where things are
pub mod say; // what it prints
pub mod servers; // Postgres, Redis, Kafka and the services: start, kill, freeze, start again
