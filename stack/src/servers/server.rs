//! What every server can do: start, wait until it answers, die, stand still, stop, start again where it was.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use nix::sys::signal::Signal;

use super::identity::{Identity, wait_gone};
use super::process::{Launch, Life, Process};

/// Between two questions whether a server is ready.
const PROBE_PAUSE: Duration = Duration::from_millis(50);
/// How much of a dead server's log its error message quotes.
const LOG_LINES_QUOTED: usize = 12;

/// What is particular about a server.
pub(crate) trait Recipe: Send + Sync {
    fn name(&self) -> &str;

    /// Makes what the server needs on disk. Done before every start, so it leaves alone what is there.
    fn prepare(&self) -> Result<()>;

    fn launch(&self) -> Result<Launch>;

    /// Uses the server once, as its clients do. Returns within about two seconds.
    fn probe(&self) -> Result<()>;

    /// Asks for an orderly end.
    fn stop_signal(&self) -> Signal {
        Signal::SIGTERM
    }

    /// How long an orderly end may take.
    fn stop_patience(&self) -> Duration {
        Duration::from_secs(20)
    }

    /// Asks for a quick end that still leaves nothing behind outside its directory. `None`: killing it does.
    fn drop_signal(&self) -> Option<Signal> {
        None
    }

    fn ready_patience(&self) -> Duration {
        Duration::from_secs(60)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    Down,
    Frozen,
    /// Alive; whether it answers is another question.
    Running,
}

/// A server on the loopback interface. Always on the same port with the same data, however often it dies.
///
/// All calls block, for milliseconds except where it says otherwise, and work on any thread, inside a tokio or actix
/// runtime too; where something else must go on on that thread meanwhile, call them through `spawn_blocking`
/// (a server is `Send + Sync`, so an `Arc` of it will do).
pub struct Server {
    recipe: Box<dyn Recipe>,
    life: Life,
    process: Mutex<Option<Process>>,
    log: PathBuf,
}

impl Server {
    pub(crate) fn new(recipe: impl Recipe + 'static, life: Life, log: PathBuf) -> Self {
        Self { recipe: Box::new(recipe), life, process: Mutex::new(None), log }
    }

    fn process(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over the process of an earlier run.
    pub(crate) fn attach(&self, identity: Identity) {
        *self.process() = Some(Process::attach(identity));
    }

    pub fn name(&self) -> &str {
        self.recipe.name()
    }

    /// Where it logs, over all its lives.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Its process, if there is one.
    pub fn identity(&self) -> Option<Identity> {
        self.process().as_mut().and_then(|process| process.is_alive().then_some(process.identity))
    }

    pub fn condition(&self) -> Condition {
        match self.identity() {
            None => Condition::Down,
            Some(identity) if identity.is_frozen() => Condition::Frozen,
            Some(_) => Condition::Running,
        }
    }

    /// Starts the process and returns at once; nothing happens if it runs. Follow with [`Self::wait_ready`].
    pub fn launch(&self) -> Result<()> {
        if self.identity().is_some() {
            return Ok(());
        }
        self.recipe.prepare().with_context(|| format!("{} cannot be prepared", self.name()))?;
        let launch = self.recipe.launch()?;
        *self.process() = Some(Process::start(&launch, self.life)?);
        Ok(())
    }

    /// Waits, seconds perhaps, until the server really answers, and says how long that took.
    pub fn wait_ready(&self) -> Result<Duration> {
        let start = Instant::now();
        loop {
            let probe = self.recipe.probe();
            // Even if somebody answers: that may be another server, which has the port that ours did not get.
            if self.identity().is_none() {
                bail!("{} ended instead of getting ready.\n{}", self.name(), self.last_words());
            }
            let Err(error) = probe else { return Ok(start.elapsed()) };
            if start.elapsed() > self.recipe.ready_patience() {
                let waited = start.elapsed().as_secs();
                return Err(error.context(format!(
                    "{} is not ready after {waited} s.\n{}",
                    self.name(),
                    self.last_words()
                )));
            }
            std::thread::sleep(PROBE_PAUSE);
        }
    }

    /// Starts the server again on its port with its data, and waits, seconds perhaps, until it answers.
    pub fn start_again(&self) -> Result<Duration> {
        self.launch()?;
        self.wait_ready()
    }

    /// Whether it answers right now.
    pub fn probe(&self) -> Result<()> {
        self.recipe.probe()
    }

    /// SIGKILL to the server and all its children. It is gone when this returns; fine if it was not there.
    pub fn kill(&self) -> Result<()> {
        match self.identity() {
            Some(identity) if !identity.kill_tree() => Err(anyhow!("{} would not die", self.name())),
            _ => Ok(()),
        }
    }

    /// SIGSTOP to the server and all its children: connections stay open, nothing answers.
    pub fn freeze(&self) -> Result<()> {
        let identity = self.identity().with_context(|| format!("{} is not running", self.name()))?;
        if identity.freeze_tree() { Ok(()) } else { Err(anyhow!("{} would not freeze", self.name())) }
    }

    /// SIGCONT to the server and all its children.
    pub fn thaw(&self) -> Result<()> {
        self.identity().with_context(|| format!("{} is not running", self.name()))?.thaw_tree();
        Ok(())
    }

    /// Stops the server in order, which may take seconds, or by force if it does not stop. Fine if it was not there.
    pub fn stop(&self) -> Result<()> {
        self.end(self.recipe.stop_signal(), self.recipe.stop_patience())
    }

    fn end(&self, signal: Signal, patience: Duration) -> Result<()> {
        let Some(identity) = self.identity() else { return Ok(()) };
        let tree = identity.tree();
        // Before the thaw, so that a frozen server finds the signal waiting.
        identity.signal(signal);
        identity.thaw_tree();
        let deadline = Instant::now() + patience;
        while self.identity().is_some() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.kill()?;
        if wait_gone(&tree, patience) { Ok(()) } else { Err(anyhow!("children of {} live on", self.name())) }
    }

    /// The end of its log, for an error message.
    fn last_words(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let last = lines.get(lines.len().saturating_sub(LOG_LINES_QUOTED)..).unwrap_or_default();
        format!("The end of {}:\n  {}", self.log.display(), last.join("\n  "))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.life == Life::Left {
            return;
        }
        let ended = match self.recipe.drop_signal() {
            Some(signal) => self.end(signal, Duration::from_secs(3)),
            None => self.kill(),
        };
        if let Err(error) = ended {
            eprintln!("{error}");
        }
    }
}
