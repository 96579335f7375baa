//! The command line: `orders` serves; its other commands are for operators.
//!
//! All but `ready` use Postgres, the message queue and Redis directly and no running instance, so they work while the service is down. Each reads
//! only the settings that it needs. What they may do follows from the invariants of [`engine::publisher`]. Only the holder of the
//! lease moves the cursor: so a drain waits for the publisher, or becomes one by acquiring the lease. A replay sends copies and
//! does not move the cursor. A release and a discard are rows that the publisher reads. A rebuild of a read model touches no event.
//!
//! The answer goes to standard output, as a table or, with `--json`, as one JSON document; logs, progress and questions go to
//! standard error.

mod check;
mod database;
mod drain;
mod events;
mod migrate;
mod outbox;
mod publish;
mod ready;
mod rebuild;
mod status;
mod token;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use kit::cli::or_serve;
use operations::cli::{Quarantine, Replay};

use self::outbox::OrderService;
use crate::config::{Config, Logging};

/// What every command takes.
type OutputArgs = kit::cli::OutputArgs<Logging>;

#[derive(Parser)]
#[command(name = "orders", version, about = "An order service that outlives its message broker.", after_help = kit::cli::after_help("orders"), override_usage = "orders [COMMAND]")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
#[expect(clippy::large_enum_variant, reason = "there is one in the process")]
pub enum Command {
    /// Run the service (the default)
    #[command(version)]
    Serve(Box<Config>),
    #[command(flatten)]
    Operate(Operation),
}

/// What an operator does beside a running service, or without one.
#[derive(Subcommand)]
pub enum Operation {
    /// Make or upgrade the tables, and grant to the roles that use them
    ///
    /// Run as the role that owns the tables, or is to own them. Each migration is one transaction, told on standard error. Instances of
    /// the version before may run meanwhile. With nothing to do it changes nothing.
    Migrate(migrate::Migrate),
    /// See what awaits publication, or wait until nothing does
    #[command(subcommand)]
    Outbox(Outbox),
    /// Show an order's history, and which of its events are published
    Events(events::Events),
    /// Publish events once more; the consumers absorb them
    ///
    /// Sends what is published already, from one position of the journal to another, in order. The copies carry the event ids they
    /// always had, by which consumers recognise them. Neither the cursor nor the lease is touched: the service goes on meanwhile. A
    /// copy of an older version may therefore come after a newer version of the same order. What awaits publication or is
    /// quarantined is left out: that is the publisher's, in its order. So is what an operator gave up.
    Replay(Replay<OrderService>),
    /// Derive a read model anew from the journal
    #[command(subcommand)]
    Rebuild(rebuild::Rebuild),
    /// Handle orders one of whose events the message queue refuses
    #[command(subcommand, alias = "dead-letters")]
    Quarantine(Quarantine<OrderService>),
    /// Make a bearer token for development
    ///
    /// Signed by HS256 with the secret that the service checks tokens with. Where tokens are signed by other keys, their issuer makes them.
    Token(token::Token),
    /// Check settings, servers, schema and topic
    ///
    /// Reads the environment that the service would be started with. One line a check: OK, WARN (works, but see the advice) or FAIL.
    /// The exit code is 1 if anything fails.
    Check(check::Check),
    /// Ask the service on this machine whether it takes commands
    ///
    /// As at GET /readyz: Postgres takes writes. The exit code is 0 if so, and 1 otherwise: a health check for containers.
    Ready(ready::Ready),
}

#[derive(Subcommand)]
#[expect(clippy::large_enum_variant, reason = "there is one in the process")]
pub enum Outbox {
    /// Show what waits, since when, who publishes, and when an outage's next retry is due
    ///
    /// Asks Postgres, and Redis for the retry. A retry that runs from memory, because Redis was away, is known to its instance
    /// alone: see GET /api/outbox.
    Status(status::Status),
    /// Wait until everything is published that the journal holds now
    ///
    /// While an instance of the service runs, it does the work: its retry is brought forward, once, and the cursor is watched. If none
    /// runs and nobody holds the lease, this command publishes, as an instance of the service would, until the outbox is empty.
    /// Quarantined events are not waited for.
    Drain(drain::Drain),
}

/// What the process was asked to do. Ends the process on `--help` and on wrong usage.
pub fn parse() -> Command {
    Cli::parse_from(or_serve(std::env::args_os().collect())).command
}

impl Operation {
    /// An error says what failed; an exit code other than 0 comes with an answer that says it.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let OutputArgs { logging, .. } = self.output();
        kit::telemetry::start_logs_aside(&logging.log_filter, logging.log_format)?;
        match self {
            Self::Migrate(migrate) => migrate.run().await,
            Self::Outbox(Outbox::Status(status)) => status.run().await,
            Self::Outbox(Outbox::Drain(drain)) => drain.run().await,
            Self::Events(events) => events.run().await,
            Self::Replay(replay) => replay.run().await,
            Self::Rebuild(rebuild) => rebuild.run().await,
            Self::Quarantine(quarantine) => quarantine.run().await,
            Self::Token(token) => token.run(),
            Self::Check(check) => check.run().await,
            Self::Ready(ready) => ready.run().await.map(|()| ExitCode::SUCCESS),
        }
    }

    fn output(&self) -> &OutputArgs {
        match self {
            Self::Migrate(migrate) => &migrate.output,
            Self::Outbox(Outbox::Status(status)) => &status.output,
            Self::Outbox(Outbox::Drain(drain)) => &drain.output,
            Self::Events(events) => &events.output,
            Self::Replay(replay) => &replay.output,
            Self::Rebuild(rebuild) => rebuild.output(),
            Self::Quarantine(quarantine) => quarantine.output(),
            Self::Token(token) => &token.output,
            Self::Check(check) => &check.output,
            Self::Ready(ready) => &ready.output,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use clap::CommandFactory;

    use super::*;

    fn parsed(arguments: &[&str]) -> Command {
        let arguments = std::iter::once("orders").chain(arguments.iter().copied()).map(OsString::from);
        Cli::try_parse_from(or_serve(arguments.collect())).unwrap().command
    }

    #[test]
    fn the_commands_are_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn without_a_command_it_serves() {
        for arguments in [&[][..], &["--http-addr", "127.0.0.1:0"], &["serve"], &["serve", "--arbiters=2"]] {
            assert!(matches!(parsed(arguments), Command::Serve(_)), "{arguments:?}");
        }
        let Command::Serve(config) = parsed(&["--arbiters", "7"]) else { panic!("it serves") };
        assert_eq!(config.arbiters, 7);
        assert!(matches!(parsed(&["outbox", "status"]), Command::Operate(_)));
    }

    #[test]
    fn help_is_for_the_whole_unless_a_command_asks() {
        let help = |arguments: &[&str]| {
            let arguments = std::iter::once("orders").chain(arguments.iter().copied()).map(OsString::from);
            match Cli::try_parse_from(or_serve(arguments.collect())) {
                Ok(_) => panic!("no help"),
                Err(help) => help.to_string(),
            }
        };
        let whole = help(&["--help"]);
        assert!(whole.contains("An order service that outlives its message broker."), "{whole}");
        assert!(whole.contains("quarantine") && whole.contains("Exit codes"), "{whole}");
        let serve = help(&["serve", "--help"]);
        assert!(serve.starts_with("Run the service (the default)") && serve.contains("JOURNAL_"), "{serve}");
        let events = help(&["events", "--help"]);
        assert!(events.starts_with("Show an order's history"), "{events}");
        assert!(events.contains("DATABASE_URL") && !events.contains("KAFKA_BROKERS"), "{events}");
    }
}
