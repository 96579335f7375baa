//! What it costs to be secured: rows 1 and 2 on servers and a service with all that `SECURE=1` gives (TLS on every link, logins, a token
//! with each request and an allowance for each caller), beside the plain ones of the same run.

use std::time::Duration;

use anyhow::Result;

use super::door::Door;
use super::http::{Answers, Workload, closed};
use super::{Bench, warm_up};
use crate::secured::Secured;
use crate::servers::{Kafka, ServiceSettings};
use crate::site::Site;

/// Requests a second that one caller may send: each is counted, and none refused.
const ALLOWANCE: &str = "1000000";

pub(super) struct SecuredSite {
    pub(super) site: Site,
    door: Door,
}

impl SecuredSite {
    /// Warmed up.
    pub(super) async fn start(bench: &Bench, row: u8) -> Result<Self> {
        let directory = bench.directory(row).join("secured");
        std::fs::create_dir_all(&directory)?;
        let secured = Secured::at(&directory)?;
        let security = secured.brokers()?;
        let settings = ServiceSettings::orders()?.with("ORDERS_RATE_LIMIT_PER_SECOND", ALLOWANCE);
        let site = tokio::task::block_in_place(|| {
            let kafka = Kafka::start_secured_for_long(&directory, security)?;
            Site::start_secured(kafka, &directory, &settings, &secured)
        })?;
        let door = Door::secured(site.host(0)?, &secured)?;
        warm_up(&site, door.clone()).await?;
        Ok(Self { site, door })
    }

    pub(super) async fn closed<W: Workload>(
        &self,
        connections: usize,
        lasts: Duration,
        workload: impl Fn(usize) -> W,
    ) -> Result<Answers> {
        closed(self.door.clone(), connections, lasts, workload).await
    }
}
