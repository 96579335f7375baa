//! What operators do to a cluster: topics made, unmade and emptied, quotas, rights, and a look at who leads what.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::metadata::Metadata;
use rdkafka::{Offset, TopicPartitionList};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::protocol::understand;
pub use super::quota::QuotaOf;
use super::{Access, Mechanism, User, acl, quota, scram};
use crate::servers::ask;

/// How long the cluster may take for one thing.
const PATIENCE: Duration = Duration::from_secs(20);
const LOOK_PATIENCE: Duration = Duration::from_secs(2);
const LOOK_PAUSE: Duration = Duration::from_millis(50);
/// Longer is no answer to such a request.
const ANSWER_BYTES_MAX: i32 = 64 * 1024;

/// Where a new topic's partitions are.
#[derive(Debug, Clone, Copy)]
pub enum Layout<'a> {
    /// As many partitions, and as many replicas of each, wherever the cluster likes.
    Spread { partitions: i32, replication: i32 },
    /// Each partition's replicas, as ids of brokers; the first one leads if it can.
    /// `&[&[1], &[2]]`: the first partition on broker 1 only, the second on broker 2 only.
    Assigned(&'a [&'a [i32]]),
}

/// An operator's client. Everything blocks, and may be called on any thread.
pub struct Admin {
    access: Access,
    client: AdminClient<DefaultClientContext>,
    looking: BaseConsumer,
}

impl Admin {
    pub fn new(access: &Access) -> Result<Self> {
        let mut settings = access.client();
        settings
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "200")
            .set("log_level", "0")
            // A look at a topic is no wish for it.
            .set("allow.auto.create.topics", "false");
        Ok(Self { access: access.clone(), client: settings.create()?, looking: settings.create()? })
    }

    /// `settings`: such as `("retention.ms", "-1")`. Returns when each partition has a leader.
    pub fn create_topic(&self, name: &str, layout: Layout<'_>, settings: &[(&str, &str)]) -> Result<()> {
        let topic = match layout {
            Layout::Spread { partitions, replication } => {
                NewTopic::new(name, partitions, TopicReplication::Fixed(replication))
            }
            Layout::Assigned(replicas) => {
                let partitions = i32::try_from(replicas.len())?;
                NewTopic::new(name, partitions, TopicReplication::Variable(replicas))
            }
        };
        let topic = settings.iter().fold(topic, |topic, (setting, value)| topic.set(setting, value));
        let made = ask(PATIENCE, async { Ok(self.client.create_topics([&topic], &options()).await?) })?;
        done(made)?;
        self.wait(&format!("the topic {name} has leaders"), |metadata| {
            partitions(metadata, name).is_some_and(|leaders| leaders.iter().all(|leader| *leader >= 0))
        })
    }

    /// `replicas`: of each new partition, as in [`Layout::Assigned`]. Returns when each has a leader.
    pub fn add_partitions(&self, topic: &str, replicas: &[&[i32]]) -> Result<()> {
        let before = self.look(|metadata| partitions(metadata, topic))?.context("there is no such topic")?;
        let in_all = before.len() + replicas.len();
        let more = NewPartitions::new(topic, in_all).assign(replicas);
        done(ask(PATIENCE, async { Ok(self.client.create_partitions([&more], &options()).await?) })?)?;
        self.wait(&format!("the new partitions of {topic} have leaders"), |metadata| {
            partitions(metadata, topic).is_some_and(|leaders| {
                leaders.len() == in_all && leaders[before.len()..].iter().all(|leader| *leader >= 0)
            })
        })
    }

    /// Returns when it is not named any more.
    pub fn delete_topic(&self, name: &str) -> Result<()> {
        self.begin_deletion(name)?;
        self.wait(&format!("the topic {name} is gone"), |metadata| partitions(metadata, name).is_none())
    }

    /// Returns when the controller has agreed: somebody may make it anew before its absence can be seen.
    pub fn begin_deletion(&self, name: &str) -> Result<()> {
        done(ask(PATIENCE, async { Ok(self.client.delete_topics(&[name], &options()).await?) })?)
    }

    /// All records below these offsets are gone, as after their retention: `(partition, offset)`, [`Offset::End`] for all there are.
    pub fn delete_records(&self, topic: &str, before: &[(i32, Offset)]) -> Result<()> {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in before {
            list.add_partition_offset(topic, *partition, *offset)?;
        }
        let deleted = ask(PATIENCE, async { Ok(self.client.delete_records(&list, &options()).await?) })?;
        deleted.elements().iter().try_for_each(|element| Ok(element.error()?))
    }

    /// Replaces a topic's own settings by these.
    pub fn set_topic(&self, topic: &str, settings: &[(&str, &str)]) -> Result<()> {
        let change = AlterConfig::new(ResourceSpecifier::Topic(topic));
        let change = settings.iter().fold(change, |change, (setting, value)| change.set(setting, value));
        let set = ask(PATIENCE, async { Ok(self.client.alter_configs([&change], &options()).await?) })?;
        set.into_iter().try_for_each(|result| match result {
            Ok(_) => Ok(()),
            Err((_, code)) => Err(anyhow!("{topic}: {code}")),
        })
    }

    /// `name`: `producer_byte_rate` or `consumer_byte_rate`, bytes a second and broker, or `request_percentage`. `None` removes it.
    /// A broker lets through what the last ten seconds had left, and then mutes the connection until the rate is kept.
    pub fn set_quota(&self, of: QuotaOf<'_>, name: &str, value: Option<f64>) -> Result<()> {
        self.ask(&quota::request(of, name, value)?)
            .with_context(|| format!("the quota of {of:?} could not be set"))
    }

    /// Nobody may publish any more, nor get the id that an idempotent producer needs; everything else is allowed. Of brokers with
    /// [`AUTHORIZER`](super::AUTHORIZER).
    pub fn forbid_publishing(&self) -> Result<()> {
        acl::no_publishing()?
            .iter()
            .try_for_each(|request| self.ask(request))
            .context("publishing is not forbidden")
    }

    /// Undoes [`Self::forbid_publishing`].
    pub fn allow_everything(&self) -> Result<()> {
        self.ask(&acl::delete_all()?).context("rights were not given back")
    }

    /// From now on this is the user's password for logins by SCRAM.
    pub fn set_password(&self, mechanism: Mechanism, user: &User) -> Result<()> {
        let request = scram::request(mechanism, user)?;
        self.ask_for(&request, |answer| scram::understand(answer, user)).context("the password was not set")
    }

    fn ask(&self, request: &[u8]) -> Result<()> {
        self.ask_for(request, understand)
    }

    fn ask_for(&self, request: &[u8], understand: impl Fn(&[u8]) -> Result<()> + Send + Sync) -> Result<()> {
        ask(PATIENCE, async {
            let mut stream = self.connect().await?;
            stream.write_all(request).await?;
            let length = stream.read_i32().await?;
            if !(0..ANSWER_BYTES_MAX).contains(&length) {
                bail!("an answer of {length} bytes");
            }
            let mut answer = vec![0; usize::try_from(length)?];
            stream.read_exact(&mut answer).await?;
            understand(&answer)
        })
    }

    /// To whichever broker is there.
    async fn connect(&self) -> Result<TcpStream> {
        if !self.access.security.is_plain() {
            bail!("librdkafka has no call for this, and it is done over plain listeners only");
        }
        for broker in self.access.brokers.split(',') {
            if let Ok(stream) = TcpStream::connect(broker).await {
                return Ok(stream);
            }
        }
        bail!("no broker of {} accepts a connection", self.access.brokers)
    }

    /// The broker that leads a partition; `None` while it has no leader.
    pub fn leader(&self, topic: &str, partition: usize) -> Result<Option<i32>> {
        let leaders = self.look(|metadata| partitions(metadata, topic))?.context("there is no such topic")?;
        let leader = leaders.get(partition).context("there is no such partition")?;
        Ok((*leader >= 0).then_some(*leader))
    }

    /// Waits until every partition of every topic has a leader and all its replicas in sync.
    pub fn wait_in_sync(&self, patience: Duration) -> Result<()> {
        self.wait_for("every replica is in sync", patience, |metadata| {
            metadata.topics().iter().flat_map(|topic| topic.partitions()).all(|partition| {
                partition.leader() >= 0 && partition.isr().len() == partition.replicas().len()
            })
        })
    }

    fn look<T>(&self, see: impl Fn(&Metadata) -> T) -> Result<T> {
        Ok(see(&self.looking.fetch_metadata(None, LOOK_PATIENCE)?))
    }

    fn wait(&self, until: &str, holds: impl Fn(&Metadata) -> bool) -> Result<()> {
        self.wait_for(until, PATIENCE, holds)
    }

    fn wait_for(&self, until: &str, patience: Duration, holds: impl Fn(&Metadata) -> bool) -> Result<()> {
        let begun = Instant::now();
        loop {
            if self.look(&holds).unwrap_or_default() {
                return Ok(());
            }
            if begun.elapsed() > patience {
                bail!("waited {patience:?} until {until}");
            }
            std::thread::sleep(LOOK_PAUSE);
        }
    }
}

/// The leader of each partition, negative if there is none; `None` if there is no such topic.
fn partitions(metadata: &Metadata, name: &str) -> Option<Vec<i32>> {
    let topic = metadata.topics().iter().find(|topic| topic.name() == name && topic.error().is_none())?;
    Some(topic.partitions().iter().map(|partition| partition.leader()).collect())
}

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(PATIENCE))
}

fn done(results: Vec<Result<String, (String, RDKafkaErrorCode)>>) -> Result<()> {
    results.into_iter().try_for_each(|result| match result {
        Ok(_) => Ok(()),
        Err((topic, code)) => Err(anyhow!("topic {topic}: {code}")),
    })
}
