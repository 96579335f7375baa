//! Several brokers that hold each partition together, each a process that can be killed, frozen and restarted by itself.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use super::apache::{Apache, Door, Node};
use super::files::{self, KafkaFiles};
use super::{Access, Admin, Bootstrap, Kafka, ListenerSecurity, Security};
use crate::servers::link::Link;
use crate::servers::port::Port;
use crate::servers::process::Life;
use crate::servers::server::Server;

/// As many of the first brokers are controllers as well: any one of three may die. In a smaller cluster it is the first one alone,
/// since two controllers can do nothing without each other.
const CONTROLLERS: usize = 3;
/// Of each broker; three take as much memory as two single ones.
const HEAP_MIB: u16 = 320;

/// How a cluster is made.
#[derive(Debug, Clone)]
pub struct ClusterSettings {
    pub brokers: usize,
    /// Of topics that do not say otherwise.
    pub replication: usize,
    /// How many replicas must have a record before it counts as written (`acks=all`).
    pub min_in_sync: usize,
    /// Further lines of every broker's `server.properties`, `name=value`.
    pub lines: Vec<String>,
    /// What the main listeners ask of clients.
    pub security: Security,
    /// What those behind links ask of clients.
    pub doors: ListenerSecurity,
}

impl Default for ClusterSettings {
    /// Three brokers, three replicas, two of which must have a record: one broker may be away.
    fn default() -> Self {
        Self {
            brokers: 3,
            replication: 3,
            min_in_sync: 2,
            lines: Vec::new(),
            security: Security::default(),
            doors: ListenerSecurity::default(),
        }
    }
}

impl ClusterSettings {
    fn lines(&self) -> String {
        let (replication, min_in_sync) = (self.replication, self.min_in_sync);
        let own = format!(
            "default.replication.factor={replication}\n\
             min.insync.replicas={min_in_sync}\n\
             offsets.topic.replication.factor={replication}\n\
             transaction.state.log.replication.factor={replication}\n\
             transaction.state.log.min.isr={min_in_sync}\n\
             share.coordinator.state.topic.replication.factor={replication}\n\
             share.coordinator.state.topic.min.isr={min_in_sync}\n\
             replica.lag.time.max.ms=3000\n\
             controller.quorum.election.timeout.ms=500\n\
             controller.quorum.fetch.timeout.ms=1000\n\
             leader.imbalance.check.interval.seconds=5\n"
        );
        self.lines.iter().fold(own, |lines, line| lines + line + "\n")
    }
}

/// Brokers with the ids 1, 2, 3, … Ends with this value.
pub struct KafkaCluster {
    /// At least one.
    nodes: Vec<Kafka>,
}

impl KafkaCluster {
    /// On free ports, with the data of broker n in `directory/kafka-n`; waits, ten seconds perhaps, until all answer.
    pub fn start(directory: &Path, settings: &ClusterSettings) -> Result<Self> {
        let ports = (0..settings.brokers).map(|_| Port::free()).collect::<Result<Vec<_>>>()?;
        let doors = ports.iter().map(|_| Vec::new()).collect();
        let cluster = Self::new(directory, files::find()?, settings, ports, doors, Life::Owned)?;
        cluster.start_again()?;
        Ok(cluster)
    }

    /// The same, and besides the direct way `clients` ways over links: for each client one link to each broker. The client begins
    /// with [`bootstrap`] of its links and is led over them ever after. Needs a multi-threaded tokio runtime.
    pub async fn start_with_links(
        directory: &Path,
        settings: &ClusterSettings,
        clients: usize,
    ) -> Result<(Self, Vec<Vec<Link>>)> {
        let (cluster, links) = Self::behind(directory, settings, clients, Life::Owned).await?;
        tokio::task::block_in_place(|| cluster.start_again())?;
        Ok((cluster, links))
    }

    /// Starts nothing yet, except the links.
    pub(crate) async fn behind(
        directory: &Path,
        settings: &ClusterSettings,
        clients: usize,
        life: Life,
    ) -> Result<(Self, Vec<Vec<Link>>)> {
        let ports = (0..settings.brokers).map(|_| Port::free()).collect::<Result<Vec<_>>>()?;
        let mut doors: Vec<Vec<Door>> = ports.iter().map(|_| Vec::new()).collect();
        let mut links = Vec::new();
        for _ in 0..clients {
            let mut own = Vec::new();
            for doors in &mut doors {
                let door = Port::free()?;
                let link = Link::open(Port::free()?, door.number()).await?;
                let security = settings.doors.clone();
                doors.push(Door { port: door, advertised: link.port(), security });
                own.push(link);
            }
            links.push(own);
        }
        Ok((Self::new(directory, files::find()?, settings, ports, doors, life)?, links))
    }

    pub(crate) fn new(
        directory: &Path,
        files: KafkaFiles,
        settings: &ClusterSettings,
        ports: Vec<Port>,
        doors: Vec<Vec<Door>>,
        life: Life,
    ) -> Result<Self> {
        let controllers = if ports.len() < CONTROLLERS { 1 } else { CONTROLLERS };
        let controller_ports = (0..controllers).map(|_| Port::free()).collect::<Result<Vec<_>>>()?;
        Self::with_controllers(directory, files, settings, ports, controller_ports, doors, life)
    }

    /// The first nodes are the controllers, on these ports.
    pub(crate) fn with_controllers(
        directory: &Path,
        files: KafkaFiles,
        settings: &ClusterSettings,
        ports: Vec<Port>,
        controller_ports: Vec<Port>,
        doors: Vec<Vec<Door>>,
        life: Life,
    ) -> Result<Self> {
        fs::create_dir_all(directory)?;
        let directory = fs::canonicalize(directory)?;
        let voters: Vec<String> = (1..)
            .zip(&controller_ports)
            .map(|(id, port)| format!("{id}@127.0.0.1:{}", port.number()))
            .collect();
        let mut controller_ports = controller_ports.into_iter();
        let node = |((id, port), doors): ((i32, Port), Vec<Door>)| {
            let name = format!("kafka-{id}");
            let home = directory.join(&name);
            fs::create_dir_all(&home)?;
            let log = directory.join("logs").join(format!("{name}.log"));
            let bootstrap = Bootstrap::Fixed(format!("127.0.0.1:{}", port.number()));
            let node = Node {
                id,
                controller_port: controller_ports.next(),
                voters: voters.join(","),
                settings: settings.lines(),
                heap_mib: HEAP_MIB,
            };
            let (files, log_file, told) = (files.clone(), log.clone(), bootstrap.clone());
            let security = settings.security.clone();
            let (client, advertised) =
                (security.client.clone(), doors.iter().map(|door| door.advertised).collect());
            let recipe =
                Apache { name, files, home, log: log_file, port, node, bootstrap: told, doors, security };
            Ok(Kafka { server: Server::new(recipe, life, log), bootstrap, client, doors: advertised })
        };
        let nodes = (1..).zip(ports).zip(doors).map(node).collect::<Result<_>>()?;
        Ok(Self { nodes })
    }

    /// The broker with this id, from 1 on.
    pub fn broker(&self, id: usize) -> Result<&Kafka> {
        id.checked_sub(1)
            .and_then(|place| self.nodes.get(place))
            .with_context(|| format!("there is no broker {id}"))
    }

    /// All of them, by id.
    pub fn nodes(&self) -> &[Kafka] {
        &self.nodes
    }

    /// Each by itself.
    pub(crate) fn into_nodes(self) -> Vec<Kafka> {
        self.nodes
    }

    /// The bootstrap servers: all of them.
    pub fn brokers(&self) -> String {
        self.nodes.iter().map(Kafka::brokers).collect::<Vec<_>>().join(",")
    }

    /// Where all of them are, and how this tool's clients get in.
    pub fn access(&self) -> Access {
        let security = self.nodes.first().map(|node| node.client.clone()).unwrap_or_default();
        Access { brokers: self.brokers(), security }
    }

    /// What operators do to it.
    pub fn admin(&self) -> Result<Admin> {
        Admin::new(&self.access())
    }

    /// Starts those that do not run, at once, and waits until each answers.
    pub fn start_again(&self) -> Result<Duration> {
        let begun = Instant::now();
        std::thread::scope(|scope| {
            let starting: Vec<_> = self.nodes.iter().map(|node| scope.spawn(|| node.launch())).collect();
            starting.into_iter().try_for_each(|thread| {
                thread.join().unwrap_or_else(|_| Err(anyhow!("starting a broker panicked")))
            })
        })?;
        // Only when all have begun: a controller answers nobody before most of its peers are there.
        for node in &self.nodes {
            node.wait_ready()?;
        }
        Ok(begun.elapsed())
    }

    /// Stops one after the other in order and starts it again, as an upgrade does: the next one only when this one's replicas have caught up.
    pub fn roll(&self, patience: Duration) -> Result<()> {
        for node in &self.nodes {
            node.stop()?;
            node.start_again()?;
            self.admin()?.wait_in_sync(patience)?;
        }
        Ok(())
    }
}

/// The bootstrap servers of a client that goes over these links.
pub fn bootstrap(links: &[Link]) -> String {
    links.iter().map(|link| format!("127.0.0.1:{}", link.port())).collect::<Vec<_>>().join(",")
}
