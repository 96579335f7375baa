//! What the lanes and the keeper of one transport share.

use std::sync::atomic::{AtomicU64, Ordering};

use super::gate::{Gate, Tenure};
use super::settings::StreamSettings;
use super::unconfirmed::Unconfirmed;

pub(super) struct Shared {
    pub(super) settings: StreamSettings,
    pub(super) gate: Gate,
    pub(super) unconfirmed: Unconfirmed,
    /// How often the keeper's connection has failed.
    failed_connections: AtomicU64,
}

impl Shared {
    pub(super) fn new(settings: StreamSettings) -> Self {
        Self::behind(Gate::default(), settings)
    }

    /// For copies: the gate is open, and stays so.
    pub(super) fn open(tenure: Tenure, settings: StreamSettings) -> Self {
        Self::behind(Gate::opened(tenure), settings)
    }

    fn behind(gate: Gate, settings: StreamSettings) -> Self {
        Self { settings, gate, unconfirmed: Unconfirmed::default(), failed_connections: AtomicU64::default() }
    }

    /// The keeper's connection does not answer, or was closed. It is used twice a second, so after a failover by address it is the first to
    /// know that those from before are silent. A lane's would wait for the delivery timeout.
    pub(super) fn connection_failed(&self) {
        self.failed_connections.fetch_add(1, Ordering::AcqRel);
    }

    /// A connection that was made while this was another number is not to be used any more.
    pub(super) fn failed_connections(&self) -> u64 {
        self.failed_connections.load(Ordering::Acquire)
    }
}
