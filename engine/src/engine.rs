//! Everything that one instance of a service needs to take commands and to publish their events, started and stopped together.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use actix::{Actor, Addr, Arbiter, Context, Handler};
use actix_rt::ArbiterHandle;
use anyhow::Context as _;
use kit::postgres::{Database, Purpose};
use kit::supervision::{Child, Crash, Guardian, Lifeline, Supervise};

use crate::actor::{ActorDependencies, Aggregates, Registry, RegistryLimits};
use crate::aggregate::Aggregate;
use crate::journal::{Follower, Journal, JournalActor, JournalSettings, JournalState};
use crate::metric;
use crate::names::Names;
use crate::outbox::{Outbox, OutboxSettings, PublicationSettings, follower};

/// How an instance is set up. [`Settings::new`] has what is usual.
#[derive(Clone)]
pub struct Settings {
    pub database: Database,
    /// The name of the service's database sessions: by it others see that an instance is there.
    pub sessions: String,
    /// Connections for reads; the journal, the lease and the listener have one each besides.
    pub connections_max: u32,
    /// Most commands in the journal at a time, waiting or being written; one more is refused.
    pub journal_commands_max: usize,
    /// Most commands written by one transaction.
    pub batch_commands_max: usize,
    /// Threads on which aggregates live.
    pub shards: usize,
    /// Of each shard.
    pub limits: RegistryLimits,
    pub publication: PublicationSettings,
}

impl Settings {
    /// What is usual on two cores.
    pub fn new(database: Database, sessions: impl Into<String>, publication: PublicationSettings) -> Self {
        let live_max = NonZeroUsize::MIN.saturating_add(50_000);
        Self {
            database,
            sessions: sessions.into(),
            connections_max: 10,
            journal_commands_max: 4_096,
            batch_commands_max: 500,
            shards: 2,
            limits: RegistryLimits { live_max, idle_max: Duration::from_secs(300) },
            publication,
        }
    }

    fn outbox(&self, names: Names) -> OutboxSettings {
        OutboxSettings {
            names,
            database: self.database.clone(),
            sessions: self.sessions.clone(),
            connections_max: self.connections_max,
            publication: self.publication.clone(),
        }
    }
}

/// One instance of a service, as far as its aggregates go.
pub struct Engine<A: Aggregate> {
    /// Takes commands.
    pub aggregates: Aggregates<A>,
    pub journal: Journal,
    pub outbox: Outbox,
    background: ArbiterHandle,
    arbiters: Arbiters,
}

impl<A: Aggregate> Engine<A> {
    /// Starts every actor, under `guardian`. Needs migrated tables, and the runtime that everything runs on which must not block an
    /// arbiter. The broker and Redis may be down. `followers` are told of commits besides the publisher.
    /// What is measured goes to the recorder of metrics that the process has by then; in one process that is one kind of aggregate.
    ///
    /// # Errors
    /// When the guardian is gone.
    pub async fn start(
        settings: &Settings,
        guardian: &Addr<Guardian>,
        followers: Vec<Follower>,
    ) -> anyhow::Result<Self> {
        metric::describe_aggregates(A::NAME);
        let mut arbiters = Arbiters::default();
        let names = Names::of::<A>();
        let outbox = Outbox::new(settings.outbox(names.clone()), guardian);
        let background = arbiters.start();
        outbox.start([arbiters.start(), background.clone()]).await?;

        let state = outbox.state();
        let mut all = vec![follower(&outbox.publication.publisher)];
        all.extend(followers);
        let journal = journal(settings, names, guardian, arbiters.start(), Arc::clone(&state), all).await?;
        let dependencies = ActorDependencies {
            journal: Journal::new(journal, settings.journal_commands_max, state),
            reader: outbox.reader.clone(),
            timeout: settings.database.timeout(),
            conflicts: Arc::new(AtomicU64::default()),
        };
        let aggregates = registries(settings, guardian, &mut arbiters, &dependencies).await?;
        let journal = dependencies.journal;
        Ok(Self { aggregates, journal, outbox, background, arbiters })
    }

    /// Where an actor has a place that is in no hurry, such as a projector.
    pub fn background(&self) -> ArbiterHandle {
        self.background.clone()
    }

    /// When no command is in hand any more: flushes the deliveries in flight, gives the lease up, closes the pool. Each within `grace`.
    pub async fn stop(&self, grace: Duration) {
        self.outbox.stop(grace).await;
        for arbiter in &self.arbiters.0 {
            arbiter.stop();
        }
    }
}

async fn journal(
    settings: &Settings,
    names: Names,
    guardian: &Addr<Guardian>,
    arbiter: ArbiterHandle,
    state: Arc<JournalState>,
    followers: Vec<Follower>,
) -> anyhow::Result<Child<JournalActor>> {
    let journal: Child<JournalActor> = Child::named("journal", "guardian");
    let connector = settings.database.connector(&settings.sessions, Purpose::Requests);
    let settings = JournalSettings { names, connector, batch_commands_max: settings.batch_commands_max };
    let followers: Arc<[Follower]> = followers.into();
    supervise(guardian, &journal, arbiter, move |lifeline| {
        JournalActor::new(settings.clone(), Arc::clone(&state), Arc::clone(&followers), lifeline)
    })
    .await?;
    Ok(journal)
}

/// One registry an arbiter: its aggregates live on the same thread.
async fn registries<A: Aggregate>(
    settings: &Settings,
    guardian: &Addr<Guardian>,
    arbiters: &mut Arbiters,
    dependencies: &ActorDependencies,
) -> anyhow::Result<Aggregates<A>> {
    let limits = settings.limits;
    let mut shards = Vec::new();
    for shard in 0..settings.shards {
        let child: Child<Registry<A>> = Child::named(format!("registry-{shard}"), "guardian");
        let dependencies = dependencies.clone();
        supervise(guardian, &child, arbiters.start(), move |lifeline| {
            Registry::new(shard, limits, dependencies.clone(), lifeline)
        })
        .await?;
        shards.push(child);
    }
    Ok(Aggregates::new(shards))
}

/// Starts an actor under the guardian, which restarts it.
///
/// # Errors
/// When the guardian is gone.
pub async fn supervise<T, F>(
    guardian: &Addr<Guardian>,
    child: &Child<T>,
    arbiter: ArbiterHandle,
    make: F,
) -> anyhow::Result<()>
where
    T: Actor<Context = Context<T>> + Handler<Crash>,
    F: Fn(Lifeline) -> T + Clone + Send + 'static,
{
    guardian.send(Supervise::new(child, arbiter, make)).await.context("the guardian is gone")
}

#[derive(Default)]
struct Arbiters(Vec<Arbiter>);

impl Arbiters {
    fn start(&mut self) -> ArbiterHandle {
        let arbiter = Arbiter::new();
        let handle = arbiter.handle();
        self.0.push(arbiter);
        handle
    }
}
