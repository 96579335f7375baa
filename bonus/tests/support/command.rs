//! The commands of the `bonus` binary, as an operator or a script runs them.

use std::process::Stdio;

use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::{DEADLINE, World};

/// What a command came to.
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    /// It ended with this code; the one document on its standard output.
    pub fn ended(&self, code: i32) -> Value {
        assert_eq!(self.code, code, "{}{}", self.out, self.err);
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}{}", self.out, self.err))
    }

    /// It ended with this code and said this on standard error, and nothing on standard output.
    pub fn failed(&self, code: i32, why: &str) {
        assert_eq!(self.code, code, "{}{}", self.out, self.err);
        assert!(self.err.contains(why), "{why:?} is not in {}", self.err);
        assert_eq!(self.out, "");
    }
}

/// Starts a command on the servers of `world`, with these variables besides, and without a terminal.
pub fn spawn(world: &World, variables: &[(&str, &str)], arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_bonus"))
        .args(arguments)
        .env("DATABASE_URL", &world.database_url)
        .env("KAFKA_BROKERS", &world.brokers)
        .env("ORDERS_TOPIC", &world.topic)
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

pub async fn ended(child: Child) -> Ran {
    let output = timeout(DEADLINE, child.wait_with_output()).await.unwrap().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

pub async fn run_with(world: &World, variables: &[(&str, &str)], arguments: &[&str]) -> Ran {
    ended(spawn(world, variables, arguments)).await
}

pub async fn run(world: &World, arguments: &[&str]) -> Ran {
    run_with(world, &[], arguments).await
}
