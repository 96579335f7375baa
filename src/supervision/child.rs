//! A supervised actor's name: callers keep it, whatever address stands behind it at the moment.

use std::sync::Arc;
use std::time::Instant;

use actix::dev::ToEnvelope;
use actix::prelude::*;
use arc_swap::ArcSwapOption;

use super::guardian::{Down, Guardian};
use super::vitals::Vitals;
use crate::telemetry;

/// The actor died before it answered, or is being restarted. Nothing is known about what it had done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the actor stopped before it answered")]
pub struct Gone;

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
    pub fn named(name: impl Into<String>, parent: &'static str) -> Self {
        Self { address: Arc::default(), vitals: Arc::new(Vitals::new(name.into(), parent)) }
    }

    pub fn vitals(&self) -> &Arc<Vitals> {
        &self.vitals
    }

    pub(super) fn moved_to(&self, address: Addr<A>) {
        self.address.store(Some(Arc::new(address)));
    }

    /// Sends and waits for the answer. Waits while the mailbox is full.
    pub async fn ask<M>(&self, message: M) -> Result<M::Result, Gone>
    where
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        let address = self.address.load_full().ok_or(Gone)?;
        self.vitals.entered();
        address.send(message).await.map_err(|_| Gone)
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

/// Held by a supervised actor for as long as it lives. Dropping it, by stop or by panic, tells the Guardian.
pub struct Lifeline {
    pub(super) guardian: Addr<Guardian>,
    pub(super) child: usize,
    pub(super) epoch: u64,
    pub(super) vitals: Arc<Vitals>,
}

impl Lifeline {
    /// To be called at the start of every handler, and kept until the message is answered.
    pub fn handling(&self) -> Handling {
        self.vitals.begun();
        Handling { vitals: Arc::clone(&self.vitals), begun: Instant::now() }
    }

    pub fn vitals(&self) -> &Arc<Vitals> {
        &self.vitals
    }
}

/// A message in hand: counts how long it takes.
pub struct Handling {
    vitals: Arc<Vitals>,
    begun: Instant,
}

impl Drop for Handling {
    fn drop(&mut self) {
        self.vitals.answered(self.begun.elapsed());
    }
}

impl Drop for Lifeline {
    fn drop(&mut self) {
        // `stopped()` and destructors run during unwinding: only facts are passed on here, nothing that could panic.
        let cause = std::thread::panicking().then(telemetry::last_panic);
        self.guardian.do_send(Down { child: self.child, epoch: self.epoch, cause });
    }
}

/// Makes the actor panic: the fault that supervision exists for, on demand. Sent only where faults are enabled.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "()")]
pub struct Crash;

impl Crash {
    #[expect(clippy::panic, reason = "the purpose of this message")]
    pub fn now(self) {
        panic!("crashed on request");
    }
}
