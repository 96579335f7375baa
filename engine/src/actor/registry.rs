//! Finds or starts the actor of an aggregate. Sharded by id, one shard per arbiter: a command crosses threads once.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use actix::prelude::*;
use kit::supervision::{Child, Crash, Lifeline};
use lru::LruCache;

use super::aggregate::{ActorDependencies, AggregateActor, CommandResult, Passivate, TimedPerform};
use crate::aggregate::{Aggregate, AggregateId};
use crate::command::{CommandError, Perform};
use crate::metric;

/// How often idle aggregates are looked for, and the shard's numbers are shown anew.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy)]
pub struct RegistryLimits {
    /// Most live aggregate actors in this shard; beyond it the least recently used is passivated.
    pub live_max: NonZeroUsize,
    /// An aggregate that has had no command for this long is passivated.
    pub idle_max: Duration,
}

/// Every aggregate of this instance, whichever shard it lives in.
#[derive(Clone)]
pub struct Aggregates<A: Aggregate> {
    shards: Arc<[Child<Registry<A>>]>,
}

impl<A: Aggregate> Aggregates<A> {
    pub fn new(shards: Vec<Child<Registry<A>>>) -> Self {
        Self { shards: shards.into() }
    }

    /// Carries the command out, or says why not.
    ///
    /// # Errors
    /// See [`CommandError`]: whether anything may have been written, and whether to try again.
    pub async fn perform(&self, perform: Perform<A>) -> CommandResult<A> {
        match self.shard_of(perform.aggregate_id) {
            Some(shard) => shard
                .ask(perform)
                .await
                .unwrap_or_else(|gone| Err(CommandError::Broken(format!("the aggregate registry: {gone}")))),
            None => Err(CommandError::Broken("no aggregate registry is running".into())),
        }
    }

    /// Makes a live aggregate's actor panic; false when the aggregate has none.
    pub async fn crash(&self, aggregate_id: AggregateId) -> bool {
        match self.shard_of(aggregate_id) {
            Some(shard) => shard.ask(CrashAggregate(aggregate_id)).await.unwrap_or(false),
            None => false,
        }
    }

    fn shard_of(&self, aggregate_id: AggregateId) -> Option<&Child<Registry<A>>> {
        let mut hasher = DefaultHasher::new();
        aggregate_id.hash(&mut hasher);
        let shards = u64::try_from(self.shards.len()).ok()?;
        let shard = hasher.finish().checked_rem(shards)?;
        self.shards.get(usize::try_from(shard).ok()?)
    }
}

struct Live<A: Aggregate> {
    address: Addr<AggregateActor<A>>,
    /// Tells this actor from a later one of the same aggregate.
    activation: u64,
    last_used: Instant,
}

pub struct Registry<A: Aggregate> {
    shard: usize,
    limits: RegistryLimits,
    dependencies: ActorDependencies,
    lifeline: Lifeline,
    live: LruCache<AggregateId, Live<A>>,
    activated: u64,
    passivated: u64,
    crashed: u64,
}

impl<A: Aggregate> Registry<A> {
    pub fn new(
        shard: usize,
        limits: RegistryLimits,
        dependencies: ActorDependencies,
        lifeline: Lifeline,
    ) -> Self {
        let live = LruCache::unbounded();
        let dependencies = ActorDependencies { conflicts: Arc::default(), ..dependencies };
        Self { shard, limits, dependencies, lifeline, live, activated: 0, passivated: 0, crashed: 0 }
    }

    /// The aggregate's actor, started if there is none.
    fn actor(&mut self, aggregate_id: AggregateId) -> (Addr<AggregateActor<A>>, u64) {
        if let Some(live) = self.live.get_mut(&aggregate_id) {
            live.last_used = Instant::now();
            return (live.address.clone(), live.activation);
        }
        self.activated += 1;
        metric::activated();
        let address = AggregateActor::new(self.dependencies.clone()).start();
        let live = Live { address: address.clone(), activation: self.activated, last_used: Instant::now() };
        self.live.put(aggregate_id, live);
        while self.live.len() > self.limits.live_max.get() {
            self.passivate_oldest();
        }
        (address, self.activated)
    }

    fn passivate_oldest(&mut self) {
        if let Some((_, live)) = self.live.pop_lru() {
            // Behind the commands already in its mailbox; later ones go to a new actor.
            live.address.do_send(Passivate);
            self.passivated += 1;
            metric::passivated();
        }
    }

    fn sweep(&mut self) {
        while self.live.peek_lru().is_some_and(|(_, live)| live.last_used.elapsed() > self.limits.idle_max) {
            self.passivate_oldest();
        }
        let vitals = self.lifeline.vitals();
        vitals.detail("live", self.live.len());
        vitals.detail("activated", self.activated);
        vitals.detail("passivated", self.passivated);
        vitals.detail("crashed", self.crashed);
        vitals.detail("conflicts", self.dependencies.conflicts.load(Ordering::Relaxed));
        metric::live_actors(self.shard, self.live.len());
    }

    /// Removes an actor that was found dead, unless a new one has taken its place.
    fn remove_dead(&mut self, aggregate_id: AggregateId, activation: u64) {
        if self.live.peek(&aggregate_id).is_some_and(|live| live.activation == activation) {
            self.live.pop(&aggregate_id);
            self.crashed += 1;
            self.lifeline.vitals().failed(format!("the actor of {} {aggregate_id} panicked", A::NAME.one));
        }
    }
}

impl<A: Aggregate> Actor for Registry<A> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(1024);
        self.sweep();
        ctx.run_interval(SWEEP_INTERVAL, |registry, _| registry.sweep());
    }
}

impl<A: Aggregate> Handler<Perform<A>> for Registry<A> {
    type Result = ResponseActFuture<Self, CommandResult<A>>;

    fn handle(&mut self, perform: Perform<A>, _: &mut Self::Context) -> Self::Result {
        let handling = self.lifeline.handling();
        let aggregate_id = perform.aggregate_id;
        let (address, activation) = self.actor(aggregate_id);
        let deadline = Instant::now() + self.dependencies.timeout;
        let begun = Arc::new(AtomicBool::new(false));
        let first =
            address.send(TimedPerform { perform: perform.clone(), deadline, begun: Arc::clone(&begun) });
        let answered = first.into_actor(self).then(move |answer, registry, _| {
            let died = match answer {
                Ok(answer) => return ready(answer),
                Err(_) => CommandError::Broken("the aggregate's actor panicked".into()),
            };
            registry.remove_dead(aggregate_id, activation);
            // The command in hand may have been written, so it fails. One that was still queued behind it was not even
            // begun: it goes to the aggregate's next actor.
            if begun.load(Ordering::Acquire) {
                return ready(Err(died));
            }
            let (address, _) = registry.actor(aggregate_id);
            let again = address.send(TimedPerform { perform, deadline, begun });
            Box::pin(again.into_actor(registry).map(|answer, _, _| answer.unwrap_or(Err(died))))
        });
        Box::pin(answered.map(move |answer, _, _| {
            drop(handling);
            answer
        }))
    }
}

fn ready<A: Aggregate>(answer: CommandResult<A>) -> ResponseActFuture<Registry<A>, CommandResult<A>> {
    Box::pin(actix::fut::ready(answer))
}

/// Makes the actor of this aggregate panic, if it is live.
#[derive(Message)]
#[rtype(result = "bool")]
pub struct CrashAggregate(pub AggregateId);

impl<A: Aggregate> Handler<CrashAggregate> for Registry<A> {
    type Result = bool;

    fn handle(&mut self, CrashAggregate(aggregate_id): CrashAggregate, _: &mut Self::Context) -> bool {
        let _handling = self.lifeline.handling();
        self.live.peek(&aggregate_id).is_some_and(|live| live.address.try_send(Crash).is_ok())
    }
}

impl<A: Aggregate> Handler<Crash> for Registry<A> {
    type Result = ();

    fn handle(&mut self, crash: Crash, _: &mut Self::Context) {
        crash.now()
    }
}
