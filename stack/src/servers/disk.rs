//! A disk that can be filled: a small `tmpfs` in place of one of a server's directories. It takes root.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};
use nix::sys::statvfs::statvfs;
use nix::unistd::geteuid;

use super::postgres::{data_home, unprivileged_user};
use super::process::{run, unmount, unmount_at_the_end};

const FILL_TRIES_MAX: usize = 20;

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
    /// [`Small::WriteAheadLog`](super::Small::WriteAheadLog).
    pub(crate) fn for_servers(directory: &Path, mebibytes: u32) -> Result<Self> {
        let home = data_home(directory, unprivileged_user()?)?.join("disk");
        fs::create_dir_all(&home)?;
        Self::mount(home, mebibytes, "mode=0755")
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.mount
    }

    /// Over an empty directory.
    pub(super) fn mount(mount: PathBuf, mebibytes: u32, options: &str) -> Result<Self> {
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
    pub(super) fn under(directory: &Path, mebibytes: u32, user: Option<(u32, u32)>) -> Result<Self> {
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
