//! Apache Kafka in KRaft mode, one node ([`Kafka`]) or several ([`KafkaCluster`]); or, where it cannot be had, librdkafka's mock
//! cluster as a stand-in. [`Admin`] does to either what operators do: topics, quotas, rights, offsets.

mod acl;
mod admin;
mod apache;
mod cluster;
mod embedded;
mod files;
mod protocol;
mod quota;
mod scram;
mod security;

use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rdkafka::consumer::{BaseConsumer, Consumer};

pub use self::acl::AUTHORIZER;
pub use self::admin::{Admin, Layout, QuotaOf};
pub use self::apache::Door;
use self::apache::{Apache, Node};
pub use self::cluster::{ClusterSettings, KafkaCluster, bootstrap};
use self::embedded::Embedded;
pub use self::embedded::run_embedded;
use self::files::{Archive, KafkaFiles, Manner};
pub use self::security::{Access, ClientSecurity, ListenerSecurity, Mechanism, Security, User};
use super::disk::SmallDisk;
use super::link::Link;
use super::port::Port;
use super::process::Life;
use super::server::Server;

const PROBE_PATIENCE: Duration = Duration::from_secs(1);

/// What runs under the name of Kafka.
#[derive(Debug, Clone)]
pub enum Distribution {
    Apache(KafkaFiles),
    /// The mock cluster in a process of this tool. Good for playing; nothing that is measured or proved on it counts.
    Embedded,
}

impl Distribution {
    /// As `KAFKA` says: `apache`, `embedded`, or unset for Apache Kafka if it can be had and else the stand-in; in that
    /// case the reason comes along.
    pub fn choose() -> Result<(Self, Option<String>)> {
        match std::env::var("KAFKA").unwrap_or_default().as_str() {
            "embedded" => Ok((Self::Embedded, None)),
            "apache" => Ok((Self::apache()?, None)),
            "" => Ok(match Self::apache() {
                Ok(apache) => (apache, None),
                Err(error) => (Self::Embedded, Some(format!("{error:#}"))),
            }),
            other => bail!("KAFKA={other} is neither `apache` nor `embedded`"),
        }
    }

    pub fn apache() -> Result<Self> {
        Ok(Self::Apache(files::find()?))
    }

    pub fn is_embedded(&self) -> bool {
        matches!(self, Self::Embedded)
    }

    /// For wherever results are shown.
    pub fn label(&self) -> String {
        match self {
            Self::Apache(files) => format!("Apache Kafka {}", files.version),
            Self::Embedded => "embedded stand-in (librdkafka's mock cluster, not Apache Kafka)".to_owned(),
        }
    }
}

pub struct Kafka {
    server: Server,
    bootstrap: Bootstrap,
    client: ClientSecurity,
    /// Where clients of each door begin.
    doors: Vec<u16>,
}

impl Kafka {
    /// Apache Kafka on a free port, with its data in `directory/kafka`; waits until it answers. Ends with this value.
    pub fn start(directory: &Path) -> Result<Self> {
        Self::start_in(directory, Manner::Plain, Security::default())
    }

    /// The same for a broker that runs for long: it is compiled as well as Java can.
    pub(crate) fn start_for_long(directory: &Path) -> Result<Self> {
        Self::start_in(directory, Manner::Compiled, Security::default())
    }

    /// The same, with what its one listener asks of clients.
    pub(crate) fn start_secured_for_long(directory: &Path, security: Security) -> Result<Self> {
        Self::start_in(directory, Manner::Compiled, security)
    }

    /// The same for a broker that gives way to the service.
    pub(crate) fn start_behind(directory: &Path) -> Result<Self> {
        Self::start_in(directory, Manner::Behind, Security::default())
    }

    /// The same as [`Self::start`] with its data on a disk of its own, of as many mebibytes; a new broker takes one of them. Ask
    /// [`SmallDisk::unavailable`] first. Within a second of a full disk the broker ends itself: it has no other one for its data.
    pub fn start_on_small_disk(directory: &Path, mebibytes: u32) -> Result<(Self, SmallDisk)> {
        if let Some(reason) = SmallDisk::unavailable() {
            bail!(reason);
        }
        let home = directory.join("kafka");
        fs::create_dir_all(&home)?;
        let disk = SmallDisk::mount(fs::canonicalize(home)?, mebibytes, "mode=0755")?;
        Ok((Self::start(directory)?, disk))
    }

    fn start_in(directory: &Path, manner: Manner, security: Security) -> Result<Self> {
        let apache = Distribution::Apache(KafkaFiles { manner, ..files::find()? });
        let (port, controller_port) = (Port::free()?, Port::free()?);
        let kafka =
            Self::behind(directory, apache, port, controller_port, Vec::new(), security, Life::Owned)?;
        kafka.start_again()?;
        Ok(kafka)
    }

    /// The same as [`Self::start`], and besides the direct way a link to it. Needs a tokio runtime.
    pub async fn start_with_link(directory: &Path) -> Result<(Self, Link)> {
        let door = Port::free()?;
        let link = Link::open(Port::free()?, door.number()).await?;
        let doors = vec![Door { port: door, advertised: link.port(), security: ListenerSecurity::default() }];
        let (port, controller_port) = (Port::free()?, Port::free()?);
        let apache = Distribution::apache()?;
        let security = Security::default();
        let kafka = Self::behind(directory, apache, port, controller_port, doors, security, Life::Owned)?;
        tokio::task::block_in_place(|| kafka.start_again())?;
        Ok((kafka, link))
    }

    /// The same as [`Self::start`], with these listeners besides the main one, and with what that one asks of its clients.
    pub fn start_with_doors(directory: &Path, doors: Vec<Door>, security: Security) -> Result<Self> {
        let (port, controller_port) = (Port::free()?, Port::free()?);
        let apache = Distribution::apache()?;
        let kafka = Self::behind(directory, apache, port, controller_port, doors, security, Life::Owned)?;
        kafka.start_again()?;
        Ok(kafka)
    }

    pub(crate) fn new(
        directory: &Path,
        distribution: Distribution,
        port: Port,
        controller_port: Port,
        life: Life,
    ) -> Result<Self> {
        let security = Security::default();
        Self::behind(directory, distribution, port, controller_port, Vec::new(), security, life)
    }

    /// With further listeners, and with what the main one asks of its clients. The stand-in has none of it.
    pub(crate) fn behind(
        directory: &Path,
        distribution: Distribution,
        port: Port,
        controller_port: Port,
        doors: Vec<Door>,
        security: Security,
        life: Life,
    ) -> Result<Self> {
        fs::create_dir_all(directory.join("kafka"))?;
        let directory = fs::canonicalize(directory)?;
        let (home, log) = (directory.join("kafka"), directory.join("logs/kafka.log"));
        let advertised = doors.iter().map(|door| door.advertised).collect();
        Ok(match distribution {
            Distribution::Apache(files) => {
                let client = security.client.clone();
                let bootstrap = Bootstrap::Fixed(format!("127.0.0.1:{}", port.number()));
                let recipe = Apache {
                    name: "kafka".to_owned(),
                    files,
                    home,
                    log: log.clone(),
                    port,
                    node: Node::alone(controller_port),
                    bootstrap: bootstrap.clone(),
                    doors,
                    security,
                };
                Self { server: Server::new(recipe, life, log), bootstrap, client, doors: advertised }
            }
            Distribution::Embedded => {
                if !(advertised.is_empty() && security.client.is_plain()) {
                    bail!("the embedded stand-in for Kafka has one plain listener: unset KAFKA=embedded");
                }
                let bootstrap = Bootstrap::Announced(home.join("embedded"));
                let recipe = Embedded { home, log: log.clone(), bootstrap: bootstrap.clone() };
                Self {
                    server: Server::new(recipe, life, log),
                    bootstrap,
                    client: security.client,
                    doors: advertised,
                }
            }
        })
    }

    /// The bootstrap servers, `host:port`.
    pub fn brokers(&self) -> String {
        self.bootstrap.servers().unwrap_or_else(|_| "127.0.0.1:9092".to_owned())
    }

    /// Where it is, and how this tool's clients get in.
    pub fn access(&self) -> Access {
        Access { brokers: self.brokers(), security: self.client.clone() }
    }

    /// The bootstrap servers of the door with this number, from 0 on.
    pub fn door(&self, number: usize) -> Result<String> {
        let port = self.doors.get(number).with_context(|| format!("there is no door {number}"))?;
        Ok(format!("127.0.0.1:{port}"))
    }

    /// What operators do to it.
    pub fn admin(&self) -> Result<Admin> {
        Admin::new(&self.access())
    }

    pub fn port(&self) -> u16 {
        self.brokers().rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or_default()
    }
}

impl Deref for Kafka {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

#[derive(Debug, Clone)]
enum Bootstrap {
    Fixed(String),
    /// The mock cluster takes a port of its own choice, and its process writes it here.
    Announced(PathBuf),
}

impl Bootstrap {
    fn servers(&self) -> Result<String> {
        match self {
            Self::Fixed(servers) => Ok(servers.clone()),
            Self::Announced(file) => {
                fs::read_to_string(file).context("the stand-in has not announced itself yet")
            }
        }
    }

    /// A broker lists itself once clients may use it.
    fn probe(&self, security: &ClientSecurity) -> Result<()> {
        let client: BaseConsumer = Access { brokers: self.servers()?, security: security.clone() }
            .client()
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "200")
            .set("log_level", "0")
            .create()?;
        // In a cluster others may know of it before it does, and still after its death: so it is asked itself, for itself.
        let servers = self.servers()?;
        let port: i32 = servers.rsplit(':').next().unwrap_or_default().parse()?;
        if !client.fetch_metadata(None, PROBE_PATIENCE)?.brokers().iter().any(|broker| broker.port() == port)
        {
            bail!("Kafka does not list the broker at {servers} yet");
        }
        Ok(())
    }
}

/// Fetches Apache Kafka if it is not here, and runs a broker once so that later ones start faster. Says what there is.
pub fn install() -> Result<String> {
    let mut files = files::find()?;
    let label = Distribution::Apache(files.clone()).label();
    let Archive::Use(archive) = files.archive.clone() else { return Ok(label) };
    if !archive.exists() {
        let draft = archive.with_extension("new");
        files.archive = Archive::Write(draft.clone());
        let directory = tempfile::tempdir()?;
        let (port, controller_port) = (Port::free()?, Port::free()?);
        let kafka =
            Kafka::new(directory.path(), Distribution::Apache(files), port, controller_port, Life::Owned)?;
        kafka.start_again()?;
        kafka.stop()?;
        // A Java that writes no archive is slower, nothing else.
        let _ = fs::rename(draft, archive);
    }
    Ok(label)
}
