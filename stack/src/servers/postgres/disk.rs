//! A disk that can be filled: a small `tmpfs` in place of one of the server's directories. It takes root.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use nix::sys::statvfs::statvfs;
use nix::unistd::geteuid;

use super::Postgres;
use super::place::{data_home, unprivileged_user};
use super::recipe::{Origin, PostgresRecipe};
use crate::servers::port::Port;
use crate::servers::process::{Life, unmount, unmount_at_the_end};
use crate::servers::server::Recipe;

const FILL_TRIES_MAX: usize = 20;

/// What is on the small disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Small {
    /// Tables and indexes: a statement that needs another page fails with 53100 (`disk_full`), and the server goes on.
    Tables,
    /// The write-ahead log: the server ends itself with a PANIC when it needs another segment, and again at each start.
    WriteAheadLog,
}

/// A mounted disk. Unmounted with this value; a process that is killed (SIGKILL) leaves it mounted.
pub struct SmallDisk {
    mount: PathBuf,
    mebibytes: u32,
}

impl SmallDisk {
    /// Why there can be none here. For tests: say it, and skip.
    pub fn unavailable() -> Option<&'static str> {
        (!geteuid().is_root()).then_some("only root may mount a small disk")
    }

    /// Nothing is free any more: the disk becomes as small as what is on it.
    pub fn fill(&self) -> Result<()> {
        // What is written between the look and the change makes the kernel refuse.
        for _ in 0..FILL_TRIES_MAX {
            let disk = statvfs(&self.mount)?;
            let used = (disk.blocks() - disk.blocks_free()) * disk.fragment_size();
            if self.resize(&used.to_string()).is_ok() {
                return Ok(());
            }
        }
        bail!("{} cannot be filled: it grows", self.mount.display())
    }

    /// It is as large again as it was.
    pub fn free(&self) -> Result<()> {
        self.resize(&format!("{}m", self.mebibytes))
    }

    fn resize(&self, size: &str) -> Result<()> {
        run(Command::new("mount").args(["-o", &format!("remount,size={size}")]).arg(&self.mount))
    }

    /// For all that servers will have in [`Self::directory`], data and logs: then what fills it ends them, see
    /// [`Small::WriteAheadLog`].
    pub(crate) fn for_servers(directory: &Path, mebibytes: u32) -> Result<Self> {
        let home = data_home(directory, unprivileged_user()?)?.join("disk");
        fs::create_dir_all(&home)?;
        Self::mount(home, mebibytes, "mode=0755")
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.mount
    }

    fn mount(mount: PathBuf, mebibytes: u32, options: &str) -> Result<Self> {
        let options = format!("size={mebibytes}m,{options}");
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&mount))?;
        unmount_at_the_end(&mount);
        Ok(Self { mount, mebibytes })
    }

    /// Whatever an earlier run has left mounted below `directory`.
    pub(crate) fn unmount_below(directory: &Path) {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let points = mounts.lines().filter_map(|line| line.split(' ').nth(1).map(Path::new));
        for point in points.filter(|point| point.starts_with(directory)) {
            unmount(point);
        }
    }

    /// In place of `directory`, with what is in there.
    fn under(directory: &Path, mebibytes: u32, user: Option<(u32, u32)>) -> Result<Self> {
        let former = directory.with_extension("former");
        fs::rename(directory, &former)?;
        fs::create_dir(directory)?;
        let (user, group) = user.unwrap_or_default();
        let options = format!("mode=0700,uid={user},gid={group}");
        let disk = Self::mount(directory.to_owned(), mebibytes, &options)?;
        run(Command::new("cp").arg("-a").arg(former.join(".")).arg(directory))?;
        fs::remove_dir_all(former)?;
        Ok(disk)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        unmount(&self.mount);
    }
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

impl Postgres {
    /// The same as [`Self::start`] with a part of it on a disk of its own, of as many mebibytes (64 at least; a new server takes 25
    /// for tables and 16 for its log). Ask [`SmallDisk::unavailable`] first.
    pub fn start_on_small_disk(directory: &Path, small: Small, mebibytes: u32) -> Result<(Self, SmallDisk)> {
        if let Some(reason) = SmallDisk::unavailable() {
            bail!(reason);
        }
        Self::on_small_disk(directory, Port::free()?, small, mebibytes, Life::Owned)
    }

    pub(crate) fn on_small_disk(
        directory: &Path,
        port: Port,
        small: Small,
        mebibytes: u32,
        life: Life,
    ) -> Result<(Self, SmallDisk)> {
        // The log would fill the disk by itself before it is recycled for the first time.
        let settings: &[&str] = match small {
            Small::Tables => &[],
            Small::WriteAheadLog => &["max_wal_size=32MB", "min_wal_size=32MB"],
        };
        let postgres = Self::named("postgres", directory, port, Origin::New, settings, life)?;
        PostgresRecipe(Arc::clone(&postgres.site)).prepare()?;
        let part = match small {
            Small::Tables => "base",
            Small::WriteAheadLog => "pg_wal",
        };
        let disk = SmallDisk::under(&postgres.site.data.join(part), mebibytes, postgres.site.user)?;
        postgres.start_again()?;
        Ok((postgres, disk))
    }
}
