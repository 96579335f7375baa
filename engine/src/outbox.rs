//! The transactional outbox: a journal of events, and their publication. [`Engine`](crate::Engine) adds aggregates to it. A service whose
//! state is not the engine's appends in transactions of its own instead ([`Appender`]).

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Addr, Context, Handler};
use actix_rt::ArbiterHandle;
use anyhow::Context as _;
use kit::backoff::Backoff;
use kit::postgres::{Database, Pool, Purpose};
use kit::supervision::{Child, Guardian};
use tokio::runtime::Handle;

use crate::fallback::Fallback;
use crate::journal::{Appender, Committed, Follower, JournalState, Reader};
use crate::metric;
use crate::names::Names;
use crate::publisher::lease::LeaseSettings;
use crate::publisher::outbox::OutboxReader;
use crate::publisher::{OutageLog, Publication, PublisherDependencies, PublisherSettings};
use crate::transport::Transport;

/// How an instance publishes.
#[derive(Clone)]
pub struct PublicationSettings {
    pub transport: Arc<dyn Transport>,
    /// Where the retry of an outage waits.
    pub fallback: Fallback,
    pub backoff: Backoff,
    /// A frozen publisher loses the lease after this long.
    pub lease_timeout: Duration,
    /// Most events held in memory, and with the broker's client, at a time.
    pub window: usize,
}

impl PublicationSettings {
    /// For a publisher whose sessions are called `sessions`.
    pub fn publisher(&self, database: &Database, sessions: &str, names: Names) -> PublisherSettings {
        let timeout = self.lease_timeout;
        let connector = database.connector(sessions, Purpose::Lease { frozen_after: timeout });
        PublisherSettings {
            transport: Arc::clone(&self.transport),
            lease: LeaseSettings { names, connector, timeout },
            listen: database.connector(sessions, Purpose::Requests),
            backoff: self.backoff,
            window: self.window,
        }
    }
}

/// How an outbox is set up.
#[derive(Clone)]
pub struct OutboxSettings {
    pub names: Names,
    pub database: Database,
    /// The name of the service's database sessions: by it others see that an instance is there.
    pub sessions: String,
    /// Connections for reads; the lease and the listener have one each besides.
    pub connections_max: u32,
    pub publication: PublicationSettings,
}

/// One instance's part of the outbox. Cheap to clone.
#[derive(Clone)]
pub struct Outbox {
    pub reader: Reader,
    pub numbers: OutboxReader,
    pub outages: OutageLog,
    pub publication: Publication,
    settings: OutboxSettings,
    state: Arc<JournalState>,
    pool: Pool,
}

impl Outbox {
    /// Nothing runs yet, and nothing is asked of the database. To be called on the runtime that everything runs on which must not block
    /// an arbiter. What is measured goes to the recorder of metrics that the process has by then; in one process that is one outbox.
    pub fn new(settings: OutboxSettings, guardian: &Addr<Guardian>) -> Self {
        metric::describe_outbox(settings.names.name());
        let connector = settings.database.connector(&settings.sessions, Purpose::Requests);
        let pool = Pool::new(connector, settings.connections_max, Handle::current());
        let reader = Reader::new(pool.clone(), settings.names.clone());
        Self {
            numbers: OutboxReader::new(reader.clone()),
            reader,
            outages: OutageLog::default(),
            publication: Publication::new(guardian),
            settings,
            state: Arc::default(),
            pool,
        }
    }

    /// Starts the publisher in the first of `arbiters`, and the worker of its retries in the second. Needs migrated tables; the broker
    /// and Redis may be down. Once.
    ///
    /// # Errors
    /// When the guardian is gone.
    pub async fn start(&self, arbiters: [ArbiterHandle; 2]) -> anyhow::Result<()> {
        let OutboxSettings { names, database, sessions, publication, .. } = &self.settings;
        let dependencies = PublisherDependencies {
            reader: self.reader.clone(),
            outbox: self.numbers.clone(),
            outages: self.outages.clone(),
            journal: Arc::clone(&self.state),
            fallback: publication.fallback.clone(),
            runtime: Handle::current(),
        };
        let publisher = publication.publisher(database, sessions, names.clone());
        self.publication.start(publisher, dependencies, arbiters).await.context("the guardian is gone")
    }

    /// Appends in transactions of the service's own.
    pub fn appender(&self) -> Appender {
        let publisher = follower(&self.publication.publisher);
        Appender::new(self.settings.names.clone(), Arc::clone(&self.state), vec![publisher])
    }

    /// What the journal and the publisher share.
    pub(crate) fn state(&self) -> Arc<JournalState> {
        Arc::clone(&self.state)
    }

    /// When nothing is appended any more: flushes the deliveries in flight, gives the lease up, closes the pool. Each within `grace`.
    pub async fn stop(&self, grace: Duration) {
        self.publication.stop(grace).await;
        // A database that hangs must not hold the process.
        let _ = tokio::time::timeout(grace, self.pool.close()).await;
    }
}

/// A follower of the journal that is told without waiting: one that is behind reads the table.
pub fn follower<T>(child: &Child<T>) -> Follower
where
    T: Actor<Context = Context<T>> + Handler<Committed>,
{
    let child = child.clone();
    Box::new(move |committed| {
        child.tell(committed);
    })
}
