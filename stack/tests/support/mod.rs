//! The built tool, as a person runs it.

use std::process::{Command, Stdio};

/// The tool, with the services of the release build where there is one: latencies mean something there only.
pub fn tool() -> Command {
    let mut tool = Command::new(env!("CARGO_BIN_EXE_stack"));
    tool.env_remove("KEEP")
        .env_remove("STACK")
        .env_remove("MQ")
        .env_remove("REPLICAS")
        .env_remove("BROKERS")
        .env_remove("SECURE")
        .stdin(Stdio::null());
    for (name, variable) in [("orders", "ORDERS_BIN"), ("bonus", "BONUS_BIN")] {
        let release = stack::place::target().join("release").join(name);
        if std::env::var_os(variable).is_none() && release.is_file() {
            tool.env(variable, release);
        }
    }
    tool
}
