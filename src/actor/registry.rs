//! Finds or starts the actor of an order. Sharded by id, one shard per arbiter: a command crosses threads once.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use actix::prelude::*;
use kit::supervision::{Child, Crash, Lifeline};
use lru::LruCache;

use super::order::{Begin, OrderActor, OrderDependencies, Outcome, Passivate, Perform};
use crate::error::CommandError;
use crate::order::OrderId;
use crate::telemetry::metric;

/// How often idle orders are looked for, and the shard's numbers are shown anew.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy)]
pub struct RegistryLimits {
    /// Most live order actors in this shard; beyond it the least recently used is passivated.
    pub live_max: NonZeroUsize,
    /// An order that has had no command for this long is passivated.
    pub idle_max: Duration,
}

/// Every order of this instance, whichever shard it lives in.
#[derive(Clone)]
pub struct Orders {
    shards: Arc<[Child<Registry>]>,
}

impl Orders {
    pub fn new(shards: Vec<Child<Registry>>) -> Self {
        Self { shards: shards.into() }
    }

    pub async fn perform(&self, perform: Perform) -> Result<Outcome, CommandError> {
        match self.shard_of(perform.order_id) {
            Some(shard) => shard
                .ask(perform)
                .await
                .unwrap_or_else(|gone| Err(CommandError::Broken(format!("the order registry: {gone}")))),
            None => Err(CommandError::Broken("no order registry is running".into())),
        }
    }

    /// Makes a live order's actor panic; false when the order has none.
    pub async fn crash(&self, order_id: OrderId) -> bool {
        match self.shard_of(order_id) {
            Some(shard) => shard.ask(CrashOrder(order_id)).await.unwrap_or(false),
            None => false,
        }
    }

    fn shard_of(&self, order_id: OrderId) -> Option<&Child<Registry>> {
        let mut hasher = DefaultHasher::new();
        order_id.hash(&mut hasher);
        let shards = u64::try_from(self.shards.len()).ok()?;
        let shard = hasher.finish().checked_rem(shards)?;
        self.shards.get(usize::try_from(shard).ok()?)
    }
}

struct Live {
    address: Addr<OrderActor>,
    /// Tells this actor from a later one of the same order.
    activation: u64,
    last_used: Instant,
}

pub struct Registry {
    shard: usize,
    limits: RegistryLimits,
    dependencies: OrderDependencies,
    lifeline: Lifeline,
    live: LruCache<OrderId, Live>,
    activated: u64,
    passivated: u64,
    crashed: u64,
}

impl Registry {
    pub fn new(
        shard: usize,
        limits: RegistryLimits,
        dependencies: OrderDependencies,
        lifeline: Lifeline,
    ) -> Self {
        let live = LruCache::unbounded();
        let dependencies = OrderDependencies { conflicts: Arc::default(), ..dependencies };
        Self { shard, limits, dependencies, lifeline, live, activated: 0, passivated: 0, crashed: 0 }
    }

    /// The order's actor, started if there is none.
    fn actor(&mut self, order_id: OrderId) -> (Addr<OrderActor>, u64) {
        if let Some(live) = self.live.get_mut(&order_id) {
            live.last_used = Instant::now();
            return (live.address.clone(), live.activation);
        }
        self.activated += 1;
        metric::activated();
        let address = OrderActor::new(self.dependencies.clone()).start();
        let live = Live { address: address.clone(), activation: self.activated, last_used: Instant::now() };
        self.live.put(order_id, live);
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
        metric::live_orders(self.shard, self.live.len());
    }

    /// Removes an actor that was found dead, unless a new one has taken its place.
    fn bury(&mut self, order_id: OrderId, activation: u64) {
        if self.live.peek(&order_id).is_some_and(|live| live.activation == activation) {
            self.live.pop(&order_id);
            self.crashed += 1;
            self.lifeline.vitals().failed(format!("the actor of order {order_id} panicked"));
        }
    }
}

impl Actor for Registry {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(1024);
        self.sweep();
        ctx.run_interval(SWEEP_INTERVAL, |registry, _| registry.sweep());
    }
}

impl Handler<Perform> for Registry {
    type Result = ResponseActFuture<Self, Result<Outcome, CommandError>>;

    fn handle(&mut self, perform: Perform, _: &mut Self::Context) -> Self::Result {
        let handling = self.lifeline.handling();
        let order_id = perform.order_id;
        let (address, activation) = self.actor(order_id);
        let deadline = Instant::now() + self.dependencies.timeout;
        let begun = Arc::new(AtomicBool::new(false));
        let first = address.send(Begin { perform: perform.clone(), deadline, begun: Arc::clone(&begun) });
        let answered = first.into_actor(self).then(move |answer, registry, _| {
            let died = match answer {
                Ok(result) => return ready(result),
                Err(_) => CommandError::Broken("the order's actor panicked".into()),
            };
            registry.bury(order_id, activation);
            // The command in hand may have been written, so it fails. One that was still queued behind it was not even
            // begun: it goes to the order's next actor.
            if begun.load(Ordering::Acquire) {
                return ready(Err(died));
            }
            let (address, _) = registry.actor(order_id);
            let again = address.send(Begin { perform, deadline, begun });
            Box::pin(again.into_actor(registry).map(|answer, _, _| answer.unwrap_or(Err(died))))
        });
        Box::pin(answered.map(move |answer, _, _| {
            drop(handling);
            answer
        }))
    }
}

fn ready(
    result: Result<Outcome, CommandError>,
) -> ResponseActFuture<Registry, Result<Outcome, CommandError>> {
    Box::pin(actix::fut::ready(result))
}

/// Makes the actor of this order panic, if it is live.
#[derive(Message)]
#[rtype(result = "bool")]
pub struct CrashOrder(pub OrderId);

impl Handler<CrashOrder> for Registry {
    type Result = bool;

    fn handle(&mut self, CrashOrder(order_id): CrashOrder, _: &mut Self::Context) -> bool {
        let _handling = self.lifeline.handling();
        self.live.peek(&order_id).is_some_and(|live| live.address.try_send(Crash).is_ok())
    }
}

impl Handler<Crash> for Registry {
    type Result = ();

    fn handle(&mut self, crash: Crash, _: &mut Self::Context) {
        crash.now()
    }
}
