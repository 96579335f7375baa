//! `stack story`: the workflow of an order by curl, each command and its answer shown, each answer checked.

mod curl;
mod json;
mod steps;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::local::up::start_all;
use crate::local::{Home, LocalStack, Ports, Shape, distribution, down, label};
use crate::say;
use crate::servers::process::Life;

/// The services that are asked. Without them the story has a stack of its own, on free ports, which ends with it.
#[derive(Debug, Clone, Args)]
#[group(required = false, requires_all = ["orders", "bonus"])]
pub struct Addresses {
    /// The order service that is asked, such as http://localhost:3001.
    #[arg(long, env = "ORDERS_URL", value_name = "URL", required = false)]
    pub orders: String,
    /// The bonus service that is asked, such as http://localhost:3003.
    #[arg(long, env = "BONUS_URL", value_name = "URL", required = false)]
    pub bonus: String,
}

/// # Errors
/// The first answer that is not the expected one, or what could not be started.
pub fn story(home: Home, addresses: Option<Addresses>) -> Result<()> {
    match addresses {
        Some(addresses) => steps::play(&addresses)?,
        None => on_its_own_stack(home)?,
    }
    say::put("\nstory: every answer was the expected one");
    Ok(())
}

fn on_its_own_stack(home: Home) -> Result<()> {
    let _lock = home.lock()?;
    let shape = Shape::wanted()?.unwrap_or_default();
    ensure!(!shape.secure, "the story is told without tokens: unset SECURE");
    let (kafka, reason) = distribution(shape.mq)?;
    if let Some(reason) = reason {
        say::note(format!("Apache Kafka cannot be had here: {reason}"));
    }
    let label = label(kafka.as_ref());
    // Of an earlier story that failed.
    down(&home, |part, how| say::done(part, how))?;
    home.wipe()?;
    let stack = LocalStack::open(home.clone(), shape, kafka, Ports::Free, Life::Owned)?;
    say::title("Starting the stack");
    start_all(&stack, &label, &[])?;
    let addresses = Addresses { orders: stack.orders.url(), bonus: stack.bonus.url() };
    steps::play(&addresses)
        .with_context(|| format!("see the logs in {}", home.directory.join("logs").display()))?;
    drop(stack);
    home.wipe()
}
