//! The development tool: real servers on one machine without Docker, and the demo that is played on them. It is
//! never linked into the services; their tests use it to start servers of their own.

#![cfg_attr(
    not(feature = "kafka"),
    allow(dead_code, unused_imports, reason = "some of it serves only what is measured on Kafka")
)]

pub mod access; // tokens, and the table of who may do what
#[cfg(feature = "kafka")]
pub mod bench; // figures, each beside a reference
pub mod certificates; // an authority for one machine
pub mod chaos; // random faults everywhere under load, and a checker that trusts nobody
mod client; // of HTTP
#[cfg(feature = "kafka")]
pub mod compose; // the same outage through docker compose, where there is an engine
pub mod corpus; // bytes that a fuzzer has kept
pub mod demo; // the story of an outage, played and checked
#[cfg(feature = "kafka")]
pub mod fuzz; // requests made up from the documents of interfaces
pub mod local; // a whole stack: up, down, status, logs, exec
mod machine; // the machine that figures were taken on
pub mod openapi; // documents of interfaces against what is answered
#[cfg(feature = "kafka")]
pub mod overload; // ten times the clients it lets in
pub mod place; // where things are
#[cfg(feature = "kafka")]
pub mod recovery; // how soon events flow again, and how soon another instance takes over
pub mod say; // what it prints
pub mod scrape; // what /metrics says, beside what the runbook says
mod secured; // what SECURE=1 gives a stack: certificates, logins, tokens
pub mod servers; // Postgres, Redis, Kafka and the services: start, kill, freeze, start again
#[cfg(feature = "kafka")]
mod site; // servers and services to measure
pub mod story; // the workflow of an order by curl, each answer shown and checked
pub mod tls; // a front for a server that speaks none, and connections byte by byte
mod topic; // what really is in the topic

pub use self::client::http_client;
