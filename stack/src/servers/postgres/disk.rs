//! A disk that can be filled: a small `tmpfs` in place of one of the server's directories. It takes root.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use nix::unistd::geteuid;

use super::Postgres;
use crate::servers::port::Port;
use crate::servers::process::Life;
use crate::servers::server::Recipe;

/// What is on the small disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Small {
    /// Tables and indexes: a statement that needs another page fails with 53100 (`disk_full`), and the server goes on.
    Tables,
    /// The write-ahead log: the server ends itself with a PANIC when it needs another segment, and again at each start.
    WriteAheadLog,
}

/// A mounted disk. Unmounted with this value; a process that is killed leaves it mounted.
pub struct SmallDisk {
    mount: PathBuf,
}

impl SmallDisk {
    /// Why there can be none here. For tests: say it, and skip.
    pub fn unavailable() -> Option<&'static str> {
        (!geteuid().is_root()).then_some("only root may mount a small disk")
    }

    /// Takes all that is free.
    pub fn fill(&self) -> Result<()> {
        let mut file = File::options().create(true).append(true).open(self.filler())?;
        let zeros = vec![0; 64 * 1024];
        let mut length = zeros.len();
        while length > 0 {
            match file.write(zeros.get(..length).unwrap_or_default()) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => length /= 2,
                Err(error) => return Err(error).context("the disk cannot be filled"),
            }
        }
        Ok(())
    }

    /// Gives back what [`Self::fill`] has taken.
    pub fn free(&self) -> Result<()> {
        match fs::remove_file(self.filler()) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    fn filler(&self) -> PathBuf {
        self.mount.join("filler")
    }

    /// In place of `directory`, with what is in there.
    fn under(directory: &Path, mebibytes: u32, user: Option<(u32, u32)>) -> Result<Self> {
        let former = directory.with_extension("former");
        fs::rename(directory, &former)?;
        fs::create_dir(directory)?;
        let (user, group) = user.unwrap_or_default();
        let options = format!("size={mebibytes}m,mode=0700,uid={user},gid={group}");
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(directory))?;
        let disk = Self { mount: directory.to_owned() };
        run(Command::new("cp").arg("-a").arg(former.join(".")).arg(directory))?;
        fs::remove_dir_all(former)?;
        Ok(disk)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the server may still be there, and it is gone with the last one who uses it.
        if let Err(error) = run(Command::new("umount").arg("-l").arg(&self.mount)) {
            eprintln!("{error:#}");
        }
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
        let postgres = Self::named("postgres", directory, port, super::recipe::Origin::New, settings, life)?;
        super::recipe::PostgresRecipe(std::sync::Arc::clone(&postgres.site)).prepare()?;
        let part = match small {
            Small::Tables => "base",
            Small::WriteAheadLog => "pg_wal",
        };
        let disk = SmallDisk::under(&postgres.site.data.join(part), mebibytes, postgres.site.user)?;
        postgres.start_again()?;
        Ok((postgres, disk))
    }
}
