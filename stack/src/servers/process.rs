//! One started program: who it is, how long it lives, what is undone when this process ends early.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, mpsc};

use anyhow::{Context, Result, bail};

use super::identity::Identity;

/// How long a program lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// At most as long as this process, however that ends.
    Owned,
    /// Until somebody stops it; this process may end before.
    Left,
}

/// What to start.
#[derive(Debug, Clone)]
pub struct Launch {
    pub program: PathBuf,
    pub arguments: Vec<String>,
    pub environment: Vec<(String, String)>,
    pub directory: PathBuf,
    /// Takes what the program prints; appended to.
    pub log: PathBuf,
    /// Whose rights it runs with, as user and group; our own if not given.
    pub user: Option<(u32, u32)>,
}

impl Launch {
    fn command(&self, life: Life) -> Result<Command> {
        let mut command = match (life, setpriv()) {
            (Life::Owned, Some(setpriv)) => {
                let mut command = Command::new(setpriv);
                command.args(["--pdeathsig", "KILL", "--"]).arg(&self.program);
                command
            }
            _ => Command::new(&self.program),
        };
        if let Some(parent) = self.log.parent() {
            fs::create_dir_all(parent)?;
        }
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .with_context(|| format!("cannot write {}", self.log.display()))?;
        command
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // A group of its own: Ctrl-C at the terminal is for us, and we stop things in their order.
            .process_group(0);
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        Ok(command)
    }
}

/// `setpriv` of util-linux, which has the kernel kill a program when we die. Without it only our own tidying up does.
pub(crate) fn setpriv() -> Option<&'static Path> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    FOUND.get_or_init(|| crate::place::on_path("setpriv")).as_deref()
}

pub(crate) struct Process {
    pub(crate) identity: Identity,
    /// Ours to reap; a process that an earlier run started is not.
    child: Option<Child>,
}

impl Process {
    pub(crate) fn start(launch: &Launch, life: Life) -> Result<Self> {
        let child = spawn(launch.command(life)?)
            .with_context(|| format!("cannot start {}", launch.program.display()))?;
        let pid = i32::try_from(child.id()).context("a pid beyond all bounds")?;
        let Some(identity) = Identity::of(pid) else { bail!("{} ended at once", launch.program.display()) };
        Ok(Self { identity, child: Some(child) })
    }

    pub(crate) fn attach(identity: Identity) -> Self {
        Self { identity, child: None }
    }

    pub(crate) fn is_alive(&mut self) -> bool {
        if let Some(child) = &mut self.child {
            let _ = child.try_wait();
        }
        self.identity.is_alive()
    }
}

/// What has to be undone if this process ends before its time.
#[derive(Default)]
struct Unfinished {
    ending: bool,
    processes: Vec<Identity>,
    mounts: Vec<PathBuf>,
    directories: Vec<PathBuf>,
}

fn unfinished() -> MutexGuard<'static, Unfinished> {
    static UNFINISHED: Mutex<Unfinished> = Mutex::new(Unfinished {
        ending: false,
        processes: Vec::new(),
        mounts: Vec::new(),
        directories: Vec::new(),
    });
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Kills everything that this process has started, removes its temporary directories, and refuses to start more. For
/// the way out on a signal, when nothing can be stopped in its order any more.
pub fn undo_everything() {
    let mut unfinished = unfinished();
    unfinished.ending = true;
    for process in unfinished.processes.drain(..) {
        process.kill_tree();
    }
    let (mounts, directories) =
        (std::mem::take(&mut unfinished.mounts), std::mem::take(&mut unfinished.directories));
    drop(unfinished);
    mounts.iter().for_each(|mount| unmount(mount));
    for directory in directories {
        let _ = fs::remove_dir_all(directory);
    }
}

pub(crate) fn unmount_at_the_end(mount: &Path) {
    unfinished().mounts.push(mount.to_owned());
}

/// Runs a command to its end. The error has what it said.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// Lazily: somebody may still be there, and it is gone with the last one who uses it.
pub(crate) fn unmount(mount: &Path) {
    unfinished().mounts.retain(|other| other != mount);
    match Command::new("umount").arg("-l").arg(mount).stderr(Stdio::null()).status() {
        Ok(status) if status.success() => {}
        _ => eprintln!("{} stays mounted", mount.display()),
    }
}

pub(crate) fn remove_at_the_end(directory: &Path) {
    unfinished().directories.push(directory.to_owned());
}

/// Starts a command from a thread that lives as long as this process: the kernel ties the death signal to the *thread*
/// that forked, and a test's or a pool's thread ends early.
fn spawn(command: Command) -> io::Result<Child> {
    type Order = (Command, mpsc::SyncSender<io::Result<Child>>);
    static SPAWNER: OnceLock<mpsc::Sender<Order>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (orders, inbox) = mpsc::channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, answer) in inbox {
                let _ = answer.send(spawn_recorded(&mut command));
            }
        });
        orders
    });
    let gone = || io::Error::other("the starting thread is gone");
    let (answer, answered) = mpsc::sync_channel(1);
    spawner.send((command, answer)).map_err(|_| gone())?;
    answered.recv().map_err(|_| gone())?
}

/// Under one lock with the record, so that no start can slip past [`undo_everything`].
pub(crate) fn spawn_recorded(command: &mut Command) -> io::Result<Child> {
    let mut unfinished = unfinished();
    if unfinished.ending {
        return Err(io::Error::other("the tool is ending"));
    }
    let child = command.spawn()?;
    unfinished.processes.retain(|process| process.is_alive());
    unfinished.processes.extend(i32::try_from(child.id()).ok().and_then(Identity::of));
    Ok(child)
}
