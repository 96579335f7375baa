//! What is measured around the engine: commands and connections. `docs/operations.md` says what is normal.

use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

const COMMANDS: &str = "orders_commands_total";
const COMMAND_SECONDS: &str = "orders_command_duration_seconds";
const CONNECTIONS: &str = "orders_http_connections";
/// Counted by the limit of each caller's requests.
pub const RATE_LIMITED: &str = "orders_http_rate_limited_total";

pub(super) fn describe() {
    describe_counter!(COMMANDS, "Commands answered, by command and outcome");
    describe_histogram!(
        COMMAND_SECONDS,
        Unit::Seconds,
        "Time from a command's arrival to its answer, by command"
    );
    describe_gauge!(CONNECTIONS, "Open client connections");
    describe_counter!(RATE_LIMITED, "Requests beyond what a caller may send, by what the caller is known by");
    for by in ["caller", "address"] {
        counter!(RATE_LIMITED, "by" => by).absolute(0);
    }
    kit::tls::describe_expiry("ORDERS");
}

pub fn command(kind: &'static str, outcome: &'static str, took: Duration) {
    counter!(COMMANDS, "command" => kind, "outcome" => outcome).increment(1);
    histogram!(COMMAND_SECONDS, "command" => kind).record(took);
}

/// To be set before a scrape.
pub fn connections(open: usize) {
    gauge!(CONNECTIONS).set(f64::from(u32::try_from(open).unwrap_or(u32::MAX)));
}
