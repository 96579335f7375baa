//! The commands of the `bonus` binary, as an operator or a script runs them.

use tokio::process::{Child, Command};

use super::World;
pub use super::ran::{Ran, ended, without_terminal};

/// Starts a command on the servers of `world`, with these variables besides, and without a terminal.
pub fn spawn(world: &World, variables: &[(&str, &str)], arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bonus"));
    command
        .args(arguments)
        .env("DATABASE_URL", &world.database_url)
        .env("KAFKA_BROKERS", &world.brokers)
        .env("ORDERS_TOPIC", &world.topic)
        .env("BONUS_EVENTS_TOPIC", &world.events_topic)
        .envs(variables.iter().copied());
    without_terminal(&mut command)
}

pub async fn run_with(world: &World, variables: &[(&str, &str)], arguments: &[&str]) -> Ran {
    ended(spawn(world, variables, arguments)).await
}

pub async fn run(world: &World, arguments: &[&str]) -> Ran {
    run_with(world, &[], arguments).await
}
