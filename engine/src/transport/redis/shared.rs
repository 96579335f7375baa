//! What the lanes and the keeper of one transport share.

use redis::{Client, RedisResult};

use super::gate::{Gate, Tenure};
use super::settings::StreamSettings;
use super::unconfirmed::Unconfirmed;

pub(super) struct Shared {
    pub(super) settings: StreamSettings,
    pub(super) client: Client,
    pub(super) gate: Gate,
    pub(super) unconfirmed: Unconfirmed,
}

impl Shared {
    pub(super) fn new(settings: StreamSettings) -> RedisResult<Self> {
        Self::behind(Gate::default(), settings)
    }

    /// For copies: the gate is open, and stays so.
    pub(super) fn open(tenure: Tenure, settings: StreamSettings) -> RedisResult<Self> {
        Self::behind(Gate::opened(tenure), settings)
    }

    fn behind(gate: Gate, settings: StreamSettings) -> RedisResult<Self> {
        let client = Client::open(settings.redis_url.as_str())?;
        Ok(Self { settings, client, gate, unconfirmed: Unconfirmed::default() })
    }
}
