//! `stack exec`: a command with private servers, of which nothing remains afterwards.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use nix::sys::signal::Signal;

use crate::say;
use crate::servers::identity::{Identity, wait_gone};
use crate::servers::kafka::Distribution;
use crate::servers::port::Port;
use crate::servers::process::{Life, remove_at_the_end, setpriv, spawn_recorded};
use crate::servers::{Kafka, Postgres, Redis};

/// How long the command may take to end on a signal before it is killed.
const COMMAND_PATIENCE: Duration = Duration::from_secs(5);
const PREFIX: &str = "orders-stack-exec-";

static COMMAND: Mutex<Option<Identity>> = Mutex::new(None);

/// Runs the command and returns its exit code.
pub fn exec(command: &[OsString]) -> Result<u8> {
    let directory = fresh_directory()?;
    let result = run(&directory, command);
    let _ = fs::remove_dir_all(&directory);
    result
}

fn run(directory: &Path, command: &[OsString]) -> Result<u8> {
    let (program, arguments) = command.split_first().context("no command given")?;
    let begin = Instant::now();
    let (distribution, reason) = Distribution::choose()?;
    if let Some(reason) = reason {
        say::error(format!("Apache Kafka cannot be had here: {reason}"));
    }
    let label = distribution.label();
    let (postgres, redis, kafka) = std::thread::scope(|scope| {
        let postgres = scope.spawn(|| Postgres::start(directory));
        let redis = scope.spawn(|| Redis::start(directory));
        let kafka = scope.spawn(|| {
            let kafka = Kafka::new(directory, distribution, Port::free()?, Port::free()?, Life::Owned)?;
            kafka.start_again()?;
            anyhow::Ok(kafka)
        });
        let lost = |_| anyhow!("starting a server panicked");
        let (postgres, redis, kafka) = (postgres.join(), redis.join(), kafka.join());
        anyhow::Ok((postgres.map_err(lost)??, redis.map_err(lost)??, kafka.map_err(lost)??))
    })?;
    // To standard error: standard output is the command's.
    let servers =
        format!("Postgres {}, Redis {}, {label} {}", postgres.port(), redis.port(), kafka.brokers());
    eprintln!("stack exec: private servers ready in {}: {servers}", say::seconds(begin.elapsed()));
    let mut running = match setpriv() {
        Some(setpriv) => {
            let mut running = Command::new(setpriv);
            running.args(["--pdeathsig", "KILL", "--"]).arg(program);
            running
        }
        None => Command::new(program),
    };
    running
        .args(arguments)
        .env("DATABASE_URL", postgres.url())
        .env("REDIS_URL", redis.url())
        .env("KAFKA_BROKERS", kafka.brokers());
    let mut child =
        spawn_recorded(&mut running).with_context(|| format!("cannot run {}", program.display()))?;
    let identity = i32::try_from(child.id()).ok().and_then(Identity::of);
    *COMMAND.lock().unwrap_or_else(PoisonError::into_inner) = identity;
    let status = child.wait()?;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    Ok(u8::try_from(code).unwrap_or(1))
}

/// Passes a signal on to the command, and gives it some time to end.
pub fn forward(signal: Signal) {
    let command = *COMMAND.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(command) = command {
        command.signal(signal);
        wait_gone(&[command], COMMAND_PATIENCE);
    }
}

fn fresh_directory() -> Result<PathBuf> {
    let parent = std::env::temp_dir();
    remove_abandoned(&parent);
    let me = Identity::of(i32::try_from(std::process::id())?).context("/proc is not readable")?;
    let directory =
        tempfile::Builder::new().prefix(&format!("{PREFIX}{}-", me.pid)).tempdir_in(parent)?.keep();
    remove_at_the_end(&directory);
    // The database's user must get through.
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o711))?;
    Ok(directory)
}

/// Directories of runs that were killed.
fn remove_abandoned(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split('-').next()?.parse().ok());
        if owner.is_some_and(|pid| Identity::of(pid).is_none()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
