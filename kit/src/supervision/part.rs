//! What is supervised: an actor, or a task.

use std::sync::Arc;

use actix::prelude::*;
use actix_rt::ArbiterHandle;

use super::child::{Child, Crash, Lifeline};
use super::vitals::Vitals;

/// How the Guardian starts a part, any number of times, and what it does when the part has ended.
pub(super) trait Part: Send {
    fn start(&self, lifeline: Lifeline);
    /// False if it is down, or cannot be crashed.
    fn crash(&self) -> bool;
    fn ended(&self);
}

/// Puts a new part under supervision and starts it.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Supervise {
    pub(super) vitals: Arc<Vitals>,
    pub(super) part: Box<dyn Part>,
}

impl Supervise {
    /// An actor. `make` builds it for every start. It runs in `arbiter`, which outlives its actors.
    pub fn new<A, F>(child: &Child<A>, arbiter: ArbiterHandle, make: F) -> Self
    where
        A: Actor<Context = Context<A>> + Handler<Crash>,
        F: Fn(Lifeline) -> A + Clone + Send + 'static,
    {
        let part = ActorPart { child: child.clone(), arbiter, make };
        Self { vitals: Arc::clone(child.vitals()), part: Box::new(part) }
    }

    /// A task that runs for as long as the service does. `run` builds it for every start, with the lifeline inside. It runs on the
    /// Guardian's thread.
    pub fn task<F, T>(vitals: &Arc<Vitals>, run: F) -> Self
    where
        F: Fn(Lifeline) -> T + Send + 'static,
        T: Future<Output = ()> + 'static,
    {
        Self { vitals: Arc::clone(vitals), part: Box::new(TaskPart(run)) }
    }
}

struct ActorPart<A: Actor, F> {
    child: Child<A>,
    arbiter: ArbiterHandle,
    make: F,
}

impl<A, F> Part for ActorPart<A, F>
where
    A: Actor<Context = Context<A>> + Handler<Crash>,
    F: Fn(Lifeline) -> A + Clone + Send + 'static,
{
    fn start(&self, lifeline: Lifeline) {
        let make = self.make.clone();
        self.child.moved_to(A::start_in_arbiter(&self.arbiter, move |_| make(lifeline)));
    }

    fn crash(&self) -> bool {
        self.child.tell(Crash)
    }

    /// Drops its address too: an actor lives for as long as it can be addressed, even if its lifeline ended elsewhere.
    fn ended(&self) {
        self.child.moved_away();
    }
}

struct TaskPart<F>(F);

impl<F, T> Part for TaskPart<F>
where
    F: Fn(Lifeline) -> T + Send + 'static,
    T: Future<Output = ()> + 'static,
{
    fn start(&self, lifeline: Lifeline) {
        actix_rt::spawn((self.0)(lifeline));
    }

    fn crash(&self) -> bool {
        false
    }

    fn ended(&self) {}
}
