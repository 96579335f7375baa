//! Tells log, health and metrics whether the message queue can be reached.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use tracing::{info, warn};

use crate::config::Mq;
use crate::health::{HealthBoard, MqState};
use crate::link::{Change, Link};
use crate::telemetry::metric;

pub(super) struct ConnectionReport {
    mq: Mq,
    health: HealthBoard,
    link: Mutex<Link>,
    closing: AtomicBool,
}

impl ConnectionReport {
    pub(super) fn new(mq: Mq, health: HealthBoard) -> Self {
        Self { mq, health, link: Mutex::new(Link::new(Instant::now())), closing: AtomicBool::new(false) }
    }

    pub(super) fn health(&self) -> &HealthBoard {
        &self.health
    }

    /// From here on this process closes the connections: a lost one is not logged.
    pub(super) fn closing(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    pub(super) fn connected(&self) {
        let change = self.link(|link| link.up(Instant::now()));
        let Some(change) = change else { return };
        metric::mq_up(self.mq, true);
        self.health.update(|health| health.connection = MqState::Connected);
        let name = self.mq.name();
        match change {
            Change::Back { after } => info!(outage_seconds = after.as_secs_f64(), "{name} is back"),
            _ => info!("{name} is connected"),
        }
    }

    pub(super) fn unreachable(&self, reason: &str) {
        if self.closing.load(Ordering::Relaxed) {
            return;
        }
        let name = self.mq.name();
        match self.link(|link| link.down(Instant::now())) {
            Some(Change::Still { since }) => {
                warn!(reason, outage_seconds = since.as_secs(), "{name} is still unreachable");
            }
            Some(_) => {
                metric::mq_up(self.mq, false);
                self.health.update(|health| health.connection = MqState::Unreachable);
                warn!(reason, "{name} is unreachable; nothing is lost, crediting goes on when it is back");
            }
            None => {}
        }
    }

    /// What the lock guards is whole after every statement, so a panic elsewhere leaves nothing half done.
    fn link<T>(&self, change: impl FnOnce(&mut Link) -> T) -> T {
        change(&mut self.link.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
