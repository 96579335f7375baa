//! Postgres alone, or with a synchronous standby: what was acknowledged survives each of their failovers. On a disk that can be
//! filled, where that can be had.

use std::path::Path;

use anyhow::Result;

use super::super::plan::Stage;
use crate::servers::port::Port;
use crate::servers::process::Life;
use crate::servers::{Encryption, Postgres, PostgresPair, Replication, SmallDisk};

/// Of both servers' data and logs, which are in memory: half a million events take one of these.
const DISK_MEBIBYTES: u32 = 6 * 1024;

enum Servers {
    Single(Box<Postgres>),
    Pair(Box<PostgresPair>),
}

pub(super) struct Database {
    servers: Servers,
    /// After the servers, so that it is unmounted when they are gone.
    disk: Option<SmallDisk>,
}

impl Database {
    /// Starts nothing.
    pub(super) fn new(
        directory: &Path,
        stage: Stage,
        encryption: Option<Encryption>,
        life: Life,
    ) -> Result<Self> {
        let disk =
            if stage.small_disk { Some(SmallDisk::for_servers(directory, DISK_MEBIBYTES)?) } else { None };
        let home = disk.as_ref().map_or(directory, SmallDisk::directory);
        let servers = if stage.failovers {
            let ports = [Port::free()?, Port::free()?];
            Servers::Pair(Box::new(PostgresPair::new(home, ports, encryption, life)?))
        } else {
            Servers::Single(Box::new(Postgres::new(home, Port::free()?, encryption, life)?))
        };
        Ok(Self { servers, disk })
    }

    pub(super) fn primary(&self) -> &Postgres {
        match &self.servers {
            Servers::Single(postgres) => postgres,
            Servers::Pair(pair) => pair.primary(),
        }
    }

    pub(super) fn pair(&self) -> Option<&PostgresPair> {
        match &self.servers {
            Servers::Single(_) => None,
            Servers::Pair(pair) => Some(pair),
        }
    }

    /// Commits wait for the standby from now on.
    pub(super) fn replicate(&self) -> Result<()> {
        self.pair().map_or(Ok(()), |pair| pair.replicate(Replication::Synchronous))
    }

    pub(super) fn disk(&self) -> Option<&SmallDisk> {
        self.disk.as_ref()
    }
}
