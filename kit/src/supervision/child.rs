//! A supervised actor's name: callers keep it across restarts, which change the address.

use std::sync::Arc;
use std::time::Instant;

use actix::dev::ToEnvelope;
use actix::prelude::*;
use arc_swap::ArcSwapOption;

use super::vitals::Vitals;
use crate::telemetry;

/// The actor ended before it answered, or is being restarted. It is unknown what it had done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the actor stopped before it answered")]
pub struct ActorGone;

/// A supervised actor's name: it finds the address of the present one. Cheap to clone.
pub struct Child<A: Actor> {
    address: Arc<ArcSwapOption<Addr<A>>>,
    vitals: Arc<Vitals>,
}

impl<A: Actor> Clone for Child<A> {
    fn clone(&self) -> Self {
        Self { address: Arc::clone(&self.address), vitals: Arc::clone(&self.vitals) }
    }
}

impl<A: Actor> Child<A> {
    /// A name for an actor that [`Supervise`](super::Supervise) will start. `parent`: the name of the row above it in the tree.
    pub fn named(name: impl Into<String>, parent: &'static str) -> Self {
        Self { address: Arc::default(), vitals: Arc::new(Vitals::new(name.into(), parent)) }
    }

    /// What is known about the actor, over all its lives.
    pub fn vitals(&self) -> &Arc<Vitals> {
        &self.vitals
    }

    pub(super) fn moved_to(&self, address: Addr<A>) {
        self.address.store(Some(Arc::new(address)));
    }

    pub(super) fn moved_away(&self) {
        self.address.store(None);
    }

    /// Sends and waits for the answer. Waits while the mailbox is full.
    pub async fn ask<M>(&self, message: M) -> Result<M::Result, ActorGone>
    where
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        let address = self.address.load_full().ok_or(ActorGone)?;
        self.vitals.entered();
        address.send(message).await.map_err(|_| ActorGone)
    }

    /// Sends without waiting; false when the mailbox is full or the actor is down. For messages whose loss is harmless.
    pub fn tell<M>(&self, message: M) -> bool
    where
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        let Some(address) = self.address.load_full() else { return false };
        self.vitals.entered();
        let sent = address.try_send(message).is_ok();
        if !sent {
            self.vitals.left();
        }
        sent
    }
}

/// Held by a supervised part for as long as it lives. When it is dropped, by a stop or a panic, the Guardian is notified.
pub struct Lifeline {
    guardian: Recipient<ChildEnded>,
    child: usize,
    epoch: u64,
    vitals: Arc<Vitals>,
    cause: Option<String>,
}

impl Lifeline {
    pub(super) fn new(
        guardian: Recipient<ChildEnded>,
        child: usize,
        epoch: u64,
        vitals: &Arc<Vitals>,
    ) -> Self {
        Self { guardian, child, epoch, vitals: Arc::clone(vitals), cause: None }
    }

    /// To be called at the start of every handler, and kept until the message is answered.
    pub fn handling(&self) -> Handling {
        Handling::begin(&self.vitals)
    }

    /// What is known about the part, over all its lives.
    pub fn vitals(&self) -> &Arc<Vitals> {
        &self.vitals
    }

    /// Ends the part, with this cause.
    pub fn end(mut self, cause: impl Into<String>) {
        self.cause = Some(cause.into());
    }
}

/// A child has ended. `cause` is the panic's message, `None` for an orderly stop.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct ChildEnded {
    pub(super) child: usize,
    pub(super) epoch: u64,
    pub(super) cause: Option<String>,
}

/// Measures how long a message is handled.
pub struct Handling {
    vitals: Arc<Vitals>,
    begun: Instant,
}

impl Handling {
    /// For a part that handles messages while another one holds the lifeline.
    pub fn begin(vitals: &Arc<Vitals>) -> Self {
        vitals.begun();
        Self { vitals: Arc::clone(vitals), begun: Instant::now() }
    }
}

impl Drop for Handling {
    fn drop(&mut self) {
        self.vitals.answered(self.begun.elapsed());
    }
}

impl Drop for Lifeline {
    fn drop(&mut self) {
        // Runs during unwinding: nothing here may panic.
        let cause = self.cause.take().or_else(|| std::thread::panicking().then(telemetry::last_panic));
        self.guardian.do_send(ChildEnded { child: self.child, epoch: self.epoch, cause });
    }
}

/// Makes the actor panic, to test supervision. Sent only where faults are enabled.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "()")]
pub struct Crash;

impl Crash {
    /// For the handler of this message.
    #[expect(clippy::panic, reason = "the purpose of this message")]
    pub fn now(self) {
        panic!("crashed on request");
    }
}
