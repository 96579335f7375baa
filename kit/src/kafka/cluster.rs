//! The brokers, and how a client gets to them: the one place that clients of Kafka are made from.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[cfg(feature = "kafka")]
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
#[cfg(feature = "kafka")]
use rdkafka::error::{KafkaError, KafkaResult};

use super::connection::Remembered;
use super::security::Security;

/// Cheap to clone; clones share what is known about the link.
#[derive(Clone)]
pub struct Cluster {
    /// The bootstrap servers, `host:port`, divided by commas.
    pub brokers: String,
    pub(super) security: Security,
    known: Arc<Mutex<Known>>,
}

#[derive(Default)]
struct Known {
    remembered: Remembered,
    problem: Option<String>,
}

impl Cluster {
    pub fn new(brokers: impl Into<String>, security: Security) -> Self {
        Self { brokers: brokers.into(), security, known: Arc::default() }
    }

    /// Why the last look at a topic did not come to a link that both sides accept, though a server is there. `None`: it did, or no server is there.
    pub fn problem(&self) -> Option<String> {
        self.known().problem.clone()
    }

    pub(super) fn set_problem(&self, problem: Option<String>) {
        self.known().problem = problem;
    }

    pub(super) fn remembered(&self) -> Remembered {
        self.known().remembered.clone()
    }

    pub(super) fn remember(&self, remembered: Remembered) {
        self.known().remembered = remembered;
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The settings of a client that continues after every outage. `client_id` names it in the broker's logs and quotas.
    ///
    /// # Errors
    /// When the password's file cannot be read.
    #[cfg(feature = "kafka")]
    pub fn client(&self, client_id: &str) -> KafkaResult<ClientConfig> {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", client_id)
            // A topic is created by the service that owns it, with its settings. Otherwise librdkafka's producers would make the broker
            // create a missing topic, with the broker's settings.
            .set("allow.auto.create.topics", "false")
            // With these the first delivery was seen within half a second after the broker's return; with the defaults it takes up to
            // ten.
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "500")
            .set("retry.backoff.ms", "50")
            .set("retry.backoff.max.ms", "500")
            // A broker that accepts connections and never answers is given up after this.
            .set("socket.timeout.ms", "5000")
            .set("socket.keepalive.enable", "true")
            .set("log.connection.close", "false")
            .set_log_level(RDKafkaLogLevel::Warning);
        self.security.configure(&mut config).map_err(|error| {
            KafkaError::ClientCreation(format!("the link to Kafka cannot be secured: {error:#}"))
        })?;
        Ok(config)
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("brokers", &self.brokers).field("security", &self.security).finish()
    }
}

#[cfg(test)]
#[cfg(feature = "kafka")]
mod tests {
    use super::super::protocol::{SaslMechanism, SecurityProtocol};
    use super::super::security::Given;
    use super::*;

    #[test]
    fn librdkafka_is_told_all_of_it_and_looks_for_the_host_in_the_certificate() {
        let directory = tempfile::tempdir().unwrap();
        let authority = stack::certificates::Authority::new(directory.path()).unwrap();
        let kim = authority.client("kim", stack::certificates::Validity::Valid).unwrap();
        let given = Given {
            protocol: SecurityProtocol::SaslSsl,
            ca_file: Some(authority.file().to_owned()),
            cert_file: Some(kim.certificate),
            key_file: Some(kim.key),
            mechanism: Some(SaslMechanism::ScramSha512),
            user: Some("kim".to_owned()),
            password: "hush".parse().ok(),
            password_file: None,
            plain_without_tls: false,
        };
        let cluster = Cluster::new("kafka-1:9093", Security::of(given, "ORDERS_KAFKA").unwrap());
        assert!(!format!("{cluster:?}").contains("hush"));
        let client = cluster.client("orders").unwrap();
        for (name, value) in [
            ("security.protocol", "sasl_ssl"),
            ("ssl.endpoint.identification.algorithm", "https"),
            ("enable.ssl.certificate.verification", "true"),
            ("sasl.mechanism", "SCRAM-SHA-512"),
            ("sasl.username", "kim"),
            ("sasl.password", "hush"),
        ] {
            assert_eq!(client.get(name), Some(value), "{name}");
        }
        let (ca, key) = (client.get("ssl.ca.location"), client.get("ssl.key.location"));
        assert!(ca.is_some_and(|file| file.ends_with("authority.pem")), "{ca:?}");
        assert!(key.is_some_and(|file| file.ends_with("kim.key")), "{key:?}");
        client.create::<rdkafka::consumer::BaseConsumer>().unwrap();
    }
}
