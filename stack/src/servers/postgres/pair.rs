//! A primary and a streaming standby, which change places.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::site::Origin;
use super::{Postgres, STATEMENT_PATIENCE};
use crate::servers::encryption::Encryption;
use crate::servers::port::Port;
use crate::servers::process::Life;

/// How long a standby may take to stream, and a promotion to be over.
const FOLLOW_PATIENCE: Duration = Duration::from_secs(60);
/// `wal_log_hints`: without it the old primary cannot be rewound. `wal_keep_size`: what a standby may have missed meanwhile.
/// `wal_retrieve_retry_interval`: a standby whose primary is dead looks for it again, and for its own promotion, this often.
const SETTINGS: [&str; 3] = ["wal_log_hints=on", "wal_keep_size=512MB", "wal_retrieve_retry_interval=100ms"];

/// What a commit waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replication {
    /// Its own disk: a failover may lose what the standby had not received.
    Asynchronous,
    /// The standby's disk as well: a failover loses nothing that was acknowledged, and without a standby nothing is committed.
    Synchronous,
}

/// Two servers. One is the primary, the other its standby, or down. Ends with this value.
///
/// A failover is: something befalls [`Self::primary`] (kill, stop, freeze, a link abandoned), [`Self::promote`], and after it
/// [`Self::rejoin`]. The addresses stay with the servers: what leads clients to the new primary is a `Link` in front of both.
pub struct PostgresPair {
    servers: [Postgres; 2],
    primary: AtomicUsize,
    synchronous: AtomicBool,
}

impl PostgresPair {
    /// With their data in `directory/postgres` and `directory/postgres-2`; waits until the standby streams.
    pub fn start(directory: &Path, replication: Replication) -> Result<Self> {
        let pair = Self::new(directory, [Port::free()?, Port::free()?], None, Life::Owned)?;
        pair.primary().start_again()?;
        pair.standby().start_again()?;
        pair.replicate(replication)?;
        Ok(pair)
    }

    /// Starts nothing. The first one is the primary.
    pub(crate) fn new(
        directory: &Path,
        ports: [Port; 2],
        encryption: Option<Encryption>,
        life: Life,
    ) -> Result<Self> {
        let [first, second] = ports;
        let origin = Origin::CopyOf(first.number());
        let first =
            Postgres::named("postgres", directory, first, Origin::New, &SETTINGS, encryption.clone(), life)?;
        let second = Postgres::named("postgres-2", directory, second, origin, &SETTINGS, encryption, life)?;
        let (primary, synchronous) = (AtomicUsize::new(0), AtomicBool::new(false));
        Ok(Self { servers: [first, second], primary, synchronous })
    }

    /// The first or the second, whichever is the primary.
    pub(crate) fn at(&self, place: usize) -> &Postgres {
        let [first, second] = &self.servers;
        if place == 0 { first } else { second }
    }

    /// The one that takes writes.
    pub fn primary(&self) -> &Postgres {
        self.at(self.primary.load(Ordering::SeqCst))
    }

    /// The other one.
    pub fn standby(&self) -> &Postgres {
        self.at(1 - self.primary.load(Ordering::SeqCst))
    }

    /// Which of the two is the primary, 0 or 1; for those who keep a record of it.
    pub(crate) fn place_of_primary(&self) -> usize {
        self.primary.load(Ordering::SeqCst)
    }

    /// On record from an earlier run.
    pub(crate) fn recall(&self, place_of_primary: usize, replication: Replication) {
        self.primary.store(place_of_primary.min(1), Ordering::SeqCst);
        self.synchronous.store(replication == Replication::Synchronous, Ordering::SeqCst);
    }

    /// What commits wait for from now on. Waits until the standby streams, and is one that is waited for if that is wanted.
    pub fn replicate(&self, replication: Replication) -> Result<()> {
        let synchronous = replication == Replication::Synchronous;
        self.synchronous.store(synchronous, Ordering::SeqCst);
        let names = if synchronous { "*" } else { "" };
        let set = format!("ALTER SYSTEM SET synchronous_standby_names = '{names}'");
        self.primary().execute(&[&set, "SELECT pg_reload_conf()"])?;
        self.wait_streaming()
    }

    /// Waits until the standby has all that the primary has at this moment, and is as synchronous as it should be.
    pub fn wait_streaming(&self) -> Result<()> {
        let synchronous = self.synchronous.load(Ordering::SeqCst);
        let state = if synchronous { "sync" } else { "async" };
        let position: String = self.primary().one("SELECT pg_current_wal_flush_lsn()::text")?;
        let query = format!(
            "SELECT EXISTS (SELECT FROM pg_stat_replication
                             WHERE state = 'streaming' AND sync_state = '{state}' AND flush_lsn >= '{position}')"
        );
        self.primary().wait_until("the standby streams", &query, FOLLOW_PATIENCE).map(drop)
    }

    /// The standby receives nothing any more, as if the network between the two were cut; what it has it keeps. The way to a
    /// failover that loses commits: `disconnect`, commit on an asynchronous primary, kill it, [`Self::promote`].
    pub fn disconnect(&self) -> Result<()> {
        self.standby().execute(&["ALTER SYSTEM SET primary_conninfo = ''", "SELECT pg_reload_conf()"])?;
        let gone = "SELECT NOT EXISTS (SELECT FROM pg_stat_wal_receiver WHERE pid IS NOT NULL)";
        self.standby().wait_until("nothing is received", gone, STATEMENT_PATIENCE).map(drop)
    }

    /// The standby becomes the primary, whatever the other one does, and says how long that took. It commits without a standby
    /// until [`Self::rejoin`].
    pub fn promote(&self) -> Result<Duration> {
        let begun = Instant::now();
        let standby = self.standby();
        // First: the copy of the primary's settings would have its commits wait for a standby of its own, which there is not.
        standby.execute(&[
            "ALTER SYSTEM SET synchronous_standby_names = ''",
            "SELECT pg_reload_conf()",
            "SELECT pg_promote(true, 60)",
        ])?;
        standby.wait_until("it is the primary", "SELECT NOT pg_is_in_recovery()", FOLLOW_PATIENCE)?;
        self.primary.fetch_xor(1, Ordering::SeqCst);
        Ok(begun.elapsed())
    }

    /// The one that is not the primary is stopped, given what it lacks, rid of what only it has, and streams; commits wait for it if
    /// they did before. Takes seconds.
    pub fn rejoin(&self) -> Result<Duration> {
        let begun = Instant::now();
        let (primary, standby) = (self.primary(), self.standby());
        standby.kill()?;
        // The timeline of a promotion is in the control file, where `pg_rewind` looks, from the next checkpoint on.
        primary.execute(&["CHECKPOINT"])?;
        standby.site.follow(primary.port()).context("the old primary cannot become a standby")?;
        standby.start_again()?;
        let synchronous = self.synchronous.load(Ordering::SeqCst);
        self.replicate(if synchronous { Replication::Synchronous } else { Replication::Asynchronous })?;
        Ok(begun.elapsed())
    }
}
