//! Processes as the kernel lists them, and signals to a whole tree of them.

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, SysconfVar, sysconf};
use serde::{Deserialize, Serialize};

/// How long a killed process may take to disappear. It is the kernel's work; only an overloaded machine needs more than milliseconds.
const GONE_PATIENCE: Duration = Duration::from_secs(10);
/// How long a tree may take to stand still: a process that waits for its disk does so when the disk has answered.
const FREEZE_PATIENCE: Duration = Duration::from_secs(10);

/// A process, told apart from any later one that was given the same pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub pid: i32,
    /// Clock ticks between the machine's start and the process's.
    started_ticks: u64,
}

/// The few fields of `/proc/<pid>/stat` that matter here.
struct Stat {
    state: char,
    parent: i32,
    group: i32,
    /// Processor time, that of ended children included.
    used_ticks: u64,
    started_ticks: u64,
}

impl Stat {
    /// A zombie is only a record that waits for its parent, or for init, to be read.
    fn is_dead(&self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }
}

fn stat(pid: i32) -> Option<Stat> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may itself hold spaces and parentheses.
    let fields: Vec<&str> = line.rsplit_once(')')?.1.split_whitespace().collect();
    Some(Stat {
        state: fields.first()?.chars().next()?,
        parent: fields.get(1)?.parse().ok()?,
        group: fields.get(2)?.parse().ok()?,
        used_ticks: fields.get(11..15)?.iter().filter_map(|ticks| ticks.parse::<u64>().ok()).sum(),
        started_ticks: fields.get(19)?.parse().ok()?,
    })
}

fn ticks(count: u64) -> Duration {
    let a_second = sysconf(SysconfVar::CLK_TCK).ok().flatten().and_then(|ticks| u32::try_from(ticks).ok());
    Duration::from_secs(count) / a_second.unwrap_or(100)
}

/// How long the machine's processors have worked, and how long they have been there, all of them added up.
pub(crate) fn processors() -> (Duration, Duration) {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    // The time of guests, which follows, is within the user's.
    let kinds: Vec<u64> = text
        .lines()
        .find_map(|line| line.strip_prefix("cpu "))
        .map(|line| line.split_whitespace().take(8).filter_map(|ticks| ticks.parse().ok()).collect())
        .unwrap_or_default();
    let all: u64 = kinds.iter().sum();
    let idle: u64 = kinds.iter().skip(3).take(2).sum();
    (ticks(all - idle), ticks(all))
}

fn pids() -> impl Iterator<Item = i32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

impl Identity {
    pub fn of(pid: i32) -> Option<Self> {
        stat(pid).map(|stat| Self { pid, started_ticks: stat.started_ticks })
    }

    fn stat(self) -> Option<Stat> {
        stat(self.pid).filter(|stat| stat.started_ticks == self.started_ticks && !stat.is_dead())
    }

    pub fn is_alive(self) -> bool {
        self.stat().is_some()
    }

    pub fn is_frozen(self) -> bool {
        self.stat().is_some_and(|stat| stat.state == 'T')
    }

    /// Processor time so far, that of ended children included.
    pub(crate) fn processor_time(self) -> Duration {
        self.stat().map_or(Duration::ZERO, |stat| ticks(stat.used_ticks))
    }

    /// False if there was nobody to signal.
    pub fn signal(self, signal: Signal) -> bool {
        self.is_alive() && kill(Pid::from_raw(self.pid), signal).is_ok()
    }

    /// This process, its descendants, and whoever is in its process group. Postgres's backends are in sessions of
    /// their own, so that the group alone would miss them; they are children all the same.
    pub fn tree(self) -> Vec<Self> {
        if !self.is_alive() {
            return Vec::new();
        }
        let all: Vec<(i32, Stat)> = pids().filter_map(|pid| Some((pid, stat(pid)?))).collect();
        let mut tree = vec![self];
        let mut looked_at = 0;
        while let Some(parent) = tree.get(looked_at).copied() {
            looked_at += 1;
            for (pid, stat) in &all {
                let related = stat.parent == parent.pid || stat.group == self.pid;
                if related && !stat.is_dead() && !tree.iter().any(|known| known.pid == *pid) {
                    tree.push(Self { pid: *pid, started_ticks: stat.started_ticks });
                }
            }
        }
        tree
    }

    /// Stops the whole tree. False if there was nobody to stop.
    pub fn freeze_tree(self) -> bool {
        // Parents first, and again until nobody new appears: what a running process forks meanwhile is found in the next round.
        let deadline = Instant::now() + FREEZE_PATIENCE;
        loop {
            let running: Vec<Self> = self.tree().into_iter().filter(|process| !process.is_frozen()).collect();
            if running.is_empty() || Instant::now() > deadline {
                return self.is_frozen();
            }
            for process in running {
                process.signal(Signal::SIGSTOP);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub fn thaw_tree(self) {
        for process in self.tree() {
            process.signal(Signal::SIGCONT);
        }
    }

    /// Kills the whole tree at once and waits until it is gone. False if something would not go.
    pub fn kill_tree(self) -> bool {
        // Frozen first: a parent that is still running would replace its children, or tidy up after them.
        self.freeze_tree();
        let tree = self.tree();
        for process in &tree {
            process.signal(Signal::SIGKILL);
        }
        wait_gone(&tree, GONE_PATIENCE)
    }
}

/// Whether no process of this pid runs, though the kernel may still list it.
pub(crate) fn is_dead(pid: i32) -> bool {
    stat(pid).is_none_or(|stat| stat.is_dead())
}

/// Whether all of them are gone within `patience`.
pub fn wait_gone(processes: &[Identity], patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    while processes.iter().any(|process| process.is_alive()) {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    true
}

/// Processes of these programs that work in `directory` or below it: what an earlier run left behind unrecorded.
pub fn working_in(directory: &std::path::Path, programs: &[&str]) -> Vec<Identity> {
    let works_there = |pid: &i32| {
        fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(directory))
            && fs::read_to_string(format!("/proc/{pid}/comm"))
                .is_ok_and(|name| programs.contains(&name.trim_end()))
    };
    pids().filter(works_there).filter_map(Identity::of).filter(|process| process.is_alive()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reused_pid_is_somebody_else() {
        let me = Identity::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(me.is_alive());
        let earlier = Identity { started_ticks: me.started_ticks - 1, ..me };
        assert!(!earlier.is_alive());
        assert!(!earlier.signal(Signal::SIGKILL));
        assert!(earlier.kill_tree());
    }

    #[test]
    fn processor_time_is_counted() {
        let me = Identity::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        let ((used, _), mine) = (processors(), me.processor_time());
        let begun = Instant::now();
        while me.processor_time() < mine + Duration::from_millis(100) {
            assert!(begun.elapsed() < Duration::from_secs(60), "no time passes");
        }
        assert!(processors().0 > used);
        assert!(processors().0 < processors().1);
    }

    #[test]
    fn a_tree_is_frozen_thawed_and_killed_with_its_children() {
        use std::os::unix::process::CommandExt;
        let mut shell = std::process::Command::new("sh")
            .args(["-c", "sleep 60 & setsid sleep 60 & wait"])
            .process_group(0)
            .spawn()
            .unwrap();
        let root = Identity::of(i32::try_from(shell.id()).unwrap()).unwrap();
        while root.tree().len() < 3 {
            std::thread::sleep(Duration::from_millis(5));
        }
        let tree = root.tree();
        assert!(root.freeze_tree());
        assert!(tree.iter().all(|process| process.is_frozen()));
        root.thaw_tree();
        assert!(tree.iter().all(|process| process.is_alive() && !process.is_frozen()));
        assert!(root.kill_tree());
        assert!(tree.iter().all(|process| !process.is_alive()));
        shell.wait().unwrap();
    }
}
