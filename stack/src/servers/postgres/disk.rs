//! A server with a part of it on a disk that can be filled.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, bail};

use super::Postgres;
use super::recipe::PostgresRecipe;
use super::site::Origin;
use crate::servers::SmallDisk;
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
        let postgres = Self::named("postgres", directory, port, Origin::New, settings, None, life)?;
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
