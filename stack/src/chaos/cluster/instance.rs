//! An instance of a service, and its links.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;

use super::super::plan::{Peer, Target};
use super::brokers::Brokers;
use super::readings::PARTITIONS;
use crate::local::Mq;
use crate::servers::port::Port;
use crate::servers::process::Life;
use crate::servers::{Link, Postgres, Service, ServiceSettings};

/// A service and what connects it to the servers: several links to Kafka, one to each broker.
pub(super) struct Instance {
    pub(super) service: Service,
    pub(super) links: BTreeMap<Peer, Vec<Link>>,
}

impl Instance {
    /// Starts nothing.
    pub(super) fn new(
        directory: &Path,
        target: Target,
        mq: Mq,
        links: BTreeMap<Peer, Vec<Link>>,
        postgres: &Postgres,
        life: Life,
    ) -> Result<Self> {
        let settings = service_settings(target, mq, &links, postgres)?;
        Ok(Self { service: Service::new(directory, settings, Port::free()?, life)?, links })
    }
}

/// The database's address by way of a link.
pub(super) fn relayed(postgres: &Postgres, port: u16) -> String {
    postgres.url().replace(&format!(":{}/", postgres.port()), &format!(":{port}/"))
}

fn service_settings(
    target: Target,
    mq: Mq,
    links: &BTreeMap<Peer, Vec<Link>>,
    postgres: &Postgres,
) -> Result<ServiceSettings> {
    let links = |peer| links.get(&peer).map(Vec::as_slice).unwrap_or_default();
    let port = |peer| links(peer).first().map(Link::port).unwrap_or_default();
    let mut settings = match target {
        Target::Bonus(_) => ServiceSettings::bonus()?.with("BONUS_INSTANCE_ID", target.to_string()),
        _ => ServiceSettings::orders()?,
    };
    settings.name = target.to_string();
    if mq == Mq::Kafka {
        settings = settings.with("KAFKA_BROKERS", Brokers::bootstrap(links(Peer::Kafka)));
    }
    Ok(settings
        .with("ORDERS_MQ", mq.name())
        .with("BONUS_MQ", mq.name())
        .with("ORDERS_TOPIC_PARTITIONS", PARTITIONS.to_string())
        .with("BONUS_EVENTS_TOPIC_PARTITIONS", PARTITIONS.to_string())
        .with("DATABASE_URL", relayed(postgres, port(Peer::Postgres)))
        .with("REDIS_URL", format!("redis://127.0.0.1:{}", port(Peer::Redis)))
        .with("LOG_FORMAT", "pretty"))
}
