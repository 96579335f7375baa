//! The command line of the development tool.

#[cfg(feature = "kafka")]
mod on_kafka;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use nix::sys::signal::Signal;
use stack::chaos::{Chaos, chaos};
use stack::demo::demo;
use stack::local::failover::postgres_failover;
use stack::local::logs::logs;
use stack::local::status::{Action, act, status};
use stack::local::up::up;
use stack::local::{Home, Part, down};
use stack::place;
use stack::say;
use stack::servers::{process, run_address};
use stack::story::{Addresses, story};

/// A local stack without Docker: Postgres, Redis, Apache Kafka and both services, all private to this repository.
///
/// With MQ=redis Redis Streams are the message queue, and there is no Kafka. With SECURE=1 every link is encrypted, and logins and tokens
/// are asked for.
/// Data, logs and Kafka's files are below `.stack/` (or STACK_HOME). KAFKA=embedded runs librdkafka's mock cluster
/// instead of Apache Kafka, KAFKA=apache insists on Apache Kafka; KAFKA_HOME names an installed one.
/// ORDERS_BIN and BONUS_BIN name other builds of the services.
#[derive(Parser)]
#[command(name = "stack", version)]
struct Arguments {
    /// Which stack: `up` (the default) is the usual one, `demo` the one of the demo, which KEEP=1 leaves running.
    #[arg(long = "stack", env = "STACK", value_name = "NAME", global = true)]
    name: Option<String>,

    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Start whatever does not run yet, wait until all is ready, print the addresses.
    ///
    /// MQ=redis makes it without Kafka, REPLICAS=1 gives Postgres a synchronous standby behind one address, BROKERS=3 makes three
    /// of Kafka's brokers. SECURE=1 encrypts every link, and asks for logins and tokens.
    Up,
    /// Kill the primary of Postgres, promote its standby behind the same address, and make a standby of the dead one.
    PostgresFailover,
    /// Show what runs where, and the outbox.
    Status,
    /// Show the ends of the logs.
    Logs {
        part: Option<Part>,
        /// Go on showing what is added, until Ctrl-C.
        #[arg(short, long)]
        follow: bool,
        /// Lines of each log to begin with.
        #[arg(short = 'n', long, default_value_t = 20)]
        lines: usize,
    },
    /// SIGKILL to a part and its children.
    Kill { part: Part },
    /// Start a part again, on its port with its data; thaw it if it is frozen.
    Start { part: Part },
    /// SIGSTOP to a part and its children: connections stay open, nothing answers.
    Freeze { part: Part },
    /// SIGCONT to a part and its children.
    Thaw { part: Part },
    /// Stop everything, in the order of flow.
    Down {
        /// Remove data and logs too.
        #[arg(long)]
        wipe: bool,
    },
    /// Play the story: Kafka dies, and nobody notices. On a stack of its own, on free ports; every step is checked.
    ///
    /// With MQ=redis it is Redis that dies.
    Demo {
        /// Where the findings go, as JSON; by default `reports/demo.json` in Cargo's output directory.
        #[arg(long, value_name = "FILE")]
        report: Option<PathBuf>,
        /// Leave the stack running at the end.
        #[arg(long, env = "KEEP", value_parser = clap::builder::FalseyValueParser::new(), num_args = 0..=1,
              default_missing_value = "1", default_value = "0", require_equals = true)]
        keep: bool,
    },
    /// Play the workflow of an order by curl, show every answer, and fail at the first that is not the expected one.
    ///
    /// On a stack of its own, on free ports, or on the services that ORDERS_URL and BONUS_URL name.
    Story {
        #[command(flatten)]
        addresses: Option<Addresses>,
    },
    /// Kill, freeze, cut off and restart everything at random under load, then check every promise.
    ///
    /// With MQ=redis Redis Streams are the message queue, and lose what they hold.
    Chaos {
        #[command(flatten)]
        settings: Chaos,
        /// Where the findings go, as JSON; by default `reports/chaos.json` in Cargo's output directory.
        #[arg(long, value_name = "FILE")]
        report: Option<PathBuf>,
    },
    #[cfg(feature = "kafka")]
    #[command(flatten)]
    OnKafka(on_kafka::Task),
    /// Be an address: relay this port to the one that a file holds.
    #[command(hide = true)]
    Address { port: u16, file: PathBuf },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.into()),
    };
    runtime.spawn(end_on_signal());
    match runtime.block_on(run(arguments)) {
        Ok(code) => ExitCode::from(code),
        Err(error) => failed(&error),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    say::error(format!("{error:#}"));
    ExitCode::FAILURE
}

async fn run(arguments: Arguments) -> Result<u8> {
    let usual = match arguments.command {
        Task::Demo { .. } => "demo",
        Task::Story { .. } => "story",
        Task::Chaos { .. } => "chaos",
        #[cfg(feature = "kafka")]
        Task::OnKafka(ref task) => task.stack(),
        _ => "up",
    };
    let name = arguments.name.filter(|name| !name.is_empty());
    let home = Home::named(name.as_deref().unwrap_or(usual))?;
    match arguments.command {
        Task::Up => up(home)?,
        Task::PostgresFailover => postgres_failover(home)?,
        Task::Status => status(&home)?,
        Task::Logs { part, follow, lines } => logs(&home, part, lines, follow)?,
        Task::Kill { part } => act(home, part, Action::Kill)?,
        Task::Start { part } => act(home, part, Action::Start)?,
        Task::Freeze { part } => act(home, part, Action::Freeze)?,
        Task::Thaw { part } => act(home, part, Action::Thaw)?,
        Task::Down { wipe } => {
            if home.directory.exists() {
                let _lock = home.lock()?;
                down(&home, |part, how| say::done(part, how))?;
            }
            if wipe {
                home.wipe()?;
            }
            say::line(format!("Nothing of the stack `{}` is running.", home.name));
        }
        Task::Demo { report, keep } => {
            let report = report.unwrap_or_else(|| place::target().join("reports/demo.json"));
            return Ok(u8::from(!demo(home, &report, keep).await));
        }
        Task::Story { addresses } => story(home, addresses)?,
        Task::Chaos { settings, report } => {
            let report = report.unwrap_or_else(|| place::target().join("reports/chaos.json"));
            return Ok(u8::from(!chaos(home, settings, &report).await));
        }
        #[cfg(feature = "kafka")]
        Task::OnKafka(task) => return task.run(home).await,
        Task::Address { port, file } => run_address(port, &file).await?,
    }
    Ok(0)
}

/// On Ctrl-C and its like: nothing that this run has started may remain.
async fn end_on_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate), Ok(mut hang_up)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()), signal(SignalKind::hangup()))
    else {
        return;
    };
    let signal = tokio::select! {
        _ = interrupt.recv() => Signal::SIGINT,
        _ = terminate.recv() => Signal::SIGTERM,
        _ = hang_up.recv() => Signal::SIGHUP,
    };
    #[cfg(feature = "kafka")]
    on_kafka::forward(signal);
    process::undo_everything();
    #[cfg(feature = "kafka")]
    on_kafka::remove_remains();
    std::process::exit(128 + signal as i32);
}
