//! The command line: `bonus` serves; its other commands are for operators.
//!
//! All but `ready` talk to Postgres and the message queue themselves, so they work whether the service runs or not. The answer goes to
//! standard output, as a table or, with `--json`, as one JSON document; logs go to standard error.

mod check;
mod dead_letters;
mod letters;
mod migrate;
mod outbox;
mod ready;
mod rebuild;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use kit::cli::or_serve;
use operations::cli::{Quarantine, Replay};

use self::outbox::BonusService;
use crate::config::{Config, Logging};

/// What every command takes.
type OutputArgs = kit::cli::OutputArgs<Logging>;

#[derive(Parser)]
#[command(name = "bonus", version, about = "Loyalty points, credited exactly once from the order events.", after_help = kit::cli::after_help("bonus"), override_usage = "bonus [COMMAND]")]
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
    /// Make or upgrade the schema, and grant to the roles that use it
    ///
    /// Run as the role that owns the schema, or is to own it. Each migration is one transaction, told on standard error. Instances of the
    /// version before may run meanwhile. With nothing to do it changes nothing.
    Migrate(migrate::Migrate),
    /// Check settings, Postgres, privileges, topics, the consumer group and the retry's Redis
    ///
    /// One line each: OK, WARN or FAIL, and what to do. Changes nothing.
    Check(check::Check),
    /// Ask the service on this machine whether it works
    ///
    /// As at GET /readyz: Postgres answers and the consumer runs. The exit code is 0 if so, and 1 otherwise: a health check for
    /// containers.
    Ready(ready::Ready),
    /// Make every account what its ledger rows come to, and say which were not; by another policy too
    ///
    /// Step by step, while crediting goes on. If it is interrupted, what is done is done, and the same command does the rest.
    Rebuild(rebuild::RebuildArgs),
    /// Handle messages that could not be read
    #[command(subcommand)]
    DeadLetters(dead_letters::DeadLetters),
    /// Handle customers one of whose events the message queue refuses
    #[command(subcommand)]
    Quarantine(Quarantine<BonusService>),
    /// Publish once more what customers have gained and lost; consumers absorb it
    ///
    /// Sends what is published already, from one position of the journal to another, in order. The copies carry the event ids they
    /// always had, by which consumers recognise them. Neither the cursor nor the lease is touched: the service goes on meanwhile. What
    /// awaits publication or is quarantined is left out, and so is what an operator gave up.
    Replay(Replay<BonusService>),
}

/// What the process was asked to do. Ends the process on `--help` and on wrong usage.
pub fn parse() -> Command {
    Cli::parse_from(or_serve(std::env::args_os().collect())).command
}

impl Operation {
    /// An error says what failed; an exit code other than 0 comes with an answer that says it.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let OutputArgs { logging, .. } = self.output();
        kit::telemetry::start_logs_aside(&logging.rust_log, logging.log_format)?;
        match self {
            Self::Migrate(migrate) => migrate.run().await.map(|()| ExitCode::SUCCESS),
            Self::Check(check) => check.run().await,
            Self::Ready(ready) => ready.run().await.map(|()| ExitCode::SUCCESS),
            Self::Rebuild(rebuild) => rebuild.run().await.map(|()| ExitCode::SUCCESS),
            Self::DeadLetters(dead_letters) => dead_letters.run().await.map(|()| ExitCode::SUCCESS),
            Self::Quarantine(quarantine) => quarantine.run().await,
            Self::Replay(replay) => replay.run().await,
        }
    }

    fn output(&self) -> &OutputArgs {
        match self {
            Self::Migrate(migrate) => &migrate.output,
            Self::Check(check) => &check.output,
            Self::Ready(ready) => &ready.output,
            Self::Rebuild(rebuild) => &rebuild.output,
            Self::DeadLetters(dead_letters) => dead_letters.output(),
            Self::Quarantine(quarantine) => quarantine.output(),
            Self::Replay(replay) => &replay.output,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use clap::CommandFactory;

    use super::*;

    fn parsed(arguments: &[&str]) -> Result<Command, clap::Error> {
        let arguments = std::iter::once("bonus").chain(arguments.iter().copied()).map(OsString::from);
        Cli::try_parse_from(or_serve(arguments.collect())).map(|cli| cli.command)
    }

    #[test]
    fn the_commands_are_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn without_a_command_it_serves() {
        for arguments in [&[][..], &["--http-addr", "127.0.0.1:0"], &["serve"], &["serve", "--group-id=g"]] {
            assert!(matches!(parsed(arguments), Ok(Command::Serve(_))), "{arguments:?}");
        }
        assert!(matches!(parsed(&["rebuild", "--json"]), Ok(Command::Operate(_))));
    }

    #[test]
    fn a_command_reads_only_what_it_needs() {
        let help =
            |arguments: &[&str]| parsed(arguments).err().map(|help| help.to_string()).unwrap_or_default();
        assert!(help(&["--help"]).contains("Exit codes"));
        assert!(help(&["serve", "--help"]).contains("BONUS_GROUP_ID"));
        let rebuild = help(&["rebuild", "--help"]);
        assert!(rebuild.starts_with("Make every account what its ledger rows come to"), "{rebuild}");
        assert!(rebuild.contains("BONUS_DB_SCHEMA") && !rebuild.contains("KAFKA_BROKERS"), "{rebuild}");
    }
}
