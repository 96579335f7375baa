//! An instance of a service, and its links.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;

use super::super::plan::{Peer, Target};
use super::brokers::Brokers;
use super::readings::PARTITIONS;
use crate::local::Mq;
use crate::local::roles::as_role;
use crate::secured::Secured;
use crate::servers::port::Port;
use crate::servers::process::Life;
use crate::servers::{Link, Postgres, Redis, Service, ServiceSettings};

/// What every instance is told of.
pub(super) struct Servers<'a> {
    pub(super) postgres: &'a Postgres,
    pub(super) redis: &'a Redis,
    pub(super) secured: Option<&'a Secured>,
}

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
        servers: &Servers<'_>,
        life: Life,
    ) -> Result<Self> {
        let settings = service_settings(target, mq, &links, servers)?;
        let operators = servers.secured.map(|_| Port::free()).transpose()?;
        Ok(Self { service: Service::new(directory, settings, Port::free()?, operators, life)?, links })
    }
}

/// The database's address by way of a link.
pub(super) fn relayed(postgres: &Postgres, port: u16) -> String {
    postgres.url().replace(&format!(":{}/", postgres.port()), &format!(":{port}/"))
}

/// The database's address for a service: as a role that may do what the service does and nothing else, if the run is secured.
pub(super) fn as_service(url: &str, service: &str, secured: Option<&Secured>) -> String {
    secured.map_or_else(|| url.to_owned(), |_| as_role(url, &format!("{service}_service")))
}

fn service_settings(
    target: Target,
    mq: Mq,
    links: &BTreeMap<Peer, Vec<Link>>,
    servers: &Servers<'_>,
) -> Result<ServiceSettings> {
    let links = |peer| links.get(&peer).map(Vec::as_slice).unwrap_or_default();
    let port = |peer| links(peer).first().map(Link::port).unwrap_or_default();
    let (mut settings, name, prefix) = match target {
        Target::Bonus(_) => {
            (ServiceSettings::bonus()?.with("BONUS_INSTANCE_ID", target.to_string()), "bonus", "BONUS")
        }
        _ => (ServiceSettings::orders()?, "orders", "ORDERS"),
    };
    settings.name = target.to_string();
    if let Some(secured) = servers.secured {
        settings = secured.service(settings, prefix);
    }
    for (variable, value) in servers.redis.variables(prefix) {
        let (direct, link) = (servers.redis.port(), port(Peer::Redis));
        settings = settings
            .with(&variable, value.replace(&format!("127.0.0.1:{direct}"), &format!("127.0.0.1:{link}")));
    }
    if mq == Mq::Kafka {
        for (variable, value) in Brokers::settings_by(links(Peer::Kafka), servers.secured, prefix)? {
            settings = settings.with(&variable, value);
        }
    }
    let database = relayed(servers.postgres, port(Peer::Postgres));
    Ok(settings
        .with("ORDERS_MQ", mq.name())
        .with("BONUS_MQ", mq.name())
        .with("ORDERS_TOPIC_PARTITIONS", PARTITIONS.to_string())
        .with("BONUS_EVENTS_TOPIC_PARTITIONS", PARTITIONS.to_string())
        .with("DATABASE_URL", as_service(&database, name, servers.secured))
        .with("LOG_FORMAT", "pretty"))
}
