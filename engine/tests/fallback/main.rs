//! The fallback job on a real Redis. Every test has a queue of its own; those that harm Redis have a server of their own.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

mod jobs;
mod outages;
mod support;
mod workers;
