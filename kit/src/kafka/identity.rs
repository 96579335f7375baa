//! Asks the brokers which topic is behind a name, and what the link to them is like.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::cluster::Cluster;
use super::connection::{ConnectError, Connection, Remembered, connect, failure_of};
use super::frame::{exchange, unreadable};
use super::link::LinkError;
use super::metadata::{RESPONSE_BYTES_MAX, TopicIdentity, TopicResponse, decode_response, encode_request};
use crate::tls;

const CLIENT_ID: &str = "topic-watch";
const DEFAULT_PORT: u16 = 9092;
/// Kafka's codes for a missing topic, and for one that may not be described.
const UNKNOWN_TOPIC: i16 = 3;
const NOT_AUTHORISED: i16 = 29;

#[derive(Debug, thiserror::Error)]
pub enum TopicError {
    #[error("there is no such topic")]
    Missing,
    #[error("not authorised: grant DESCRIBE on the topic to this user")]
    NotAuthorised,
    /// By Kafka's error code.
    #[error("the broker answers with error {0}")]
    Refused(i16),
    /// No broker is there, or it does not answer.
    #[error("{broker}: {reason}")]
    NoAnswer { broker: String, reason: String },
    /// A server is there, and both sides do not agree on certificates or the login.
    #[error(transparent)]
    Link(LinkError),
    /// A server is there: a broker that is stopping, or one that does not know this request.
    #[error(
        "{broker}: {reason}; is it older than Kafka 3.1, or does it want TLS, a certificate or a login ({setting})?"
    )]
    NotUnderstood { broker: String, reason: String, setting: String },
}

/// What a link is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkReport {
    /// Whether it is encrypted, what it is verified by, and who this is to the brokers.
    pub description: String,
    /// It leaves this machine, and is not encrypted.
    pub is_exposed: bool,
}

impl Cluster {
    /// Which topic has the name `topic`. Never creates one. Asks one broker after the other, each for an equal share of what is left of
    /// `patience`. The first answer counts.
    ///
    /// One connection for each request: none can go stale, and it costs a broker no more than a health check.
    pub async fn topic_identity(&self, topic: &str, patience: Duration) -> Result<TopicIdentity, TopicError> {
        let found = self.first_answer(topic, patience).await;
        let (_, response) = self.noted(found)?;
        match response {
            TopicResponse::Topic(identity) => Ok(identity),
            TopicResponse::Error(UNKNOWN_TOPIC) => Err(TopicError::Missing),
            TopicResponse::Error(NOT_AUTHORISED) => Err(TopicError::NotAuthorised),
            TopicResponse::Error(code) => Err(TopicError::Refused(code)),
        }
    }

    /// What the link is like. Asks for `topic` as well: only then both sides have agreed.
    pub async fn link(&self, topic: &str, patience: Duration) -> Result<LinkReport, TopicError> {
        let found = self.first_answer(topic, patience).await;
        let (tls_version, _) = self.noted(found)?;
        let is_local = |entry: &str| is_loopback(&address(entry));
        Ok(LinkReport {
            description: self.security.describe(tls_version),
            is_exposed: tls_version.is_none() && !self.brokers.split(',').all(is_local),
        })
    }

    /// The whole name of a setting of the link.
    pub fn setting(&self, name: &str) -> String {
        format!("{}_{name}", self.security.prefix)
    }

    /// Keeps what is known of the link for whoever asks for the cause of a failure.
    fn noted<T>(&self, found: Result<T, TopicError>) -> Result<T, TopicError> {
        let is_there =
            |error: &TopicError| matches!(error, TopicError::Link(_) | TopicError::NotUnderstood { .. });
        self.set_problem(found.as_ref().err().filter(|error| is_there(error)).map(ToString::to_string));
        found
    }

    async fn first_answer(
        &self,
        topic: &str,
        patience: Duration,
    ) -> Result<(Option<&'static str>, TopicResponse), TopicError> {
        let until = Instant::now() + patience;
        let addresses: Vec<String> =
            self.brokers.split(',').map(address).filter(|address| !address.is_empty()).collect();
        let mut last = TopicError::NoAnswer { broker: self.brokers.clone(), reason: "no address".to_owned() };
        for (done, broker) in addresses.iter().enumerate() {
            let left = u32::try_from(addresses.len() - done).unwrap_or(u32::MAX);
            let share = until.saturating_duration_since(Instant::now()) / left;
            let mut remembered = self.remembered();
            match timeout(share, self.ask(broker, topic, &mut remembered)).await {
                // One broker may be behind the others.
                Ok(Ok((_, TopicResponse::Error(code))))
                    if ![UNKNOWN_TOPIC, NOT_AUTHORISED].contains(&code) =>
                {
                    last = TopicError::Refused(code);
                }
                Ok(Ok(answer)) => {
                    self.remember(remembered);
                    return Ok(answer);
                }
                Ok(Err(error)) => {
                    // The files may be others by the next time.
                    self.remember(Remembered::default());
                    last = self.meaning(broker, error);
                }
                Err(_) => {
                    let reason = format!("no answer within {share:?}");
                    last = TopicError::NoAnswer { broker: broker.clone(), reason };
                }
            }
        }
        Err(last)
    }

    fn meaning(&self, broker: &str, error: ConnectError) -> TopicError {
        let error = match error {
            ConnectError::Link(failure) => return TopicError::Link(failure.at(broker, &self.security)),
            ConnectError::Io(error) => error,
        };
        let (broker, mut reason) = (broker.to_owned(), error.to_string());
        match error.kind() {
            // A broker closes the connection after a request that it does not understand.
            ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset => {
                reason = "the connection was closed without an answer".to_owned();
            }
            ErrorKind::InvalidData => {}
            _ => return TopicError::NoAnswer { broker, reason },
        }
        let setting = format!("{}, {}", self.setting("SECURITY_PROTOCOL"), self.setting("CERT_FILE"));
        TopicError::NotUnderstood { broker, reason, setting }
    }

    async fn ask(
        &self,
        broker: &str,
        topic: &str,
        remembered: &mut Remembered,
    ) -> Result<(Option<&'static str>, TopicResponse), ConnectError> {
        let Connection { mut stream, tls_version } =
            connect(broker, CLIENT_ID, &self.security, remembered).await?;
        let request = encode_request(CLIENT_ID, topic);
        let response = exchange(&mut stream, request, RESPONSE_BYTES_MAX).await;
        let response = response.map_err(|error| failure_of(ConnectError::Io(error), &self.security))?;
        let decoded = decode_response(&response, topic).map_err(unreadable);
        Ok((tls_version, decoded.map_err(ConnectError::Io)?))
    }
}

/// `host:port` of an entry such as librdkafka takes: a protocol before it and a missing port are allowed.
fn address(entry: &str) -> String {
    let entry = entry.trim();
    let address = entry.split_once("://").map_or(entry, |(_, address)| address);
    let has_port = address.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if address.is_empty() || has_port { address.to_owned() } else { format!("{address}:{DEFAULT_PORT}") }
}

fn is_loopback(address: &str) -> bool {
    tls::is_loopback_host(address.rsplit_once(':').map_or(address, |(host, _)| host))
}

#[cfg(test)]
mod tests {
    use super::super::security::Security;
    use super::*;

    #[test]
    fn an_entry_becomes_an_address() {
        for (entry, expected) in [
            ("kafka-1:9093", "kafka-1:9093"),
            (" kafka-1 ", "kafka-1:9092"),
            ("PLAINTEXT://kafka-1:9093", "kafka-1:9093"),
            ("[::1]:9093", "[::1]:9093"),
            ("[fe80::1a]", "[fe80::1a]:9092"),
            ("", ""),
        ] {
            assert_eq!(address(entry), expected);
        }
    }

    /// A listener that hangs up at once, or never says anything.
    async fn no_broker(hangs_up: bool) -> (String, tokio::task::JoinHandle<()>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let accepting = tokio::spawn(async move {
            let mut kept = Vec::new();
            while let Ok((connection, _)) = listener.accept().await {
                if !hangs_up {
                    kept.push(connection);
                }
            }
        });
        (address, accepting)
    }

    #[tokio::test]
    async fn who_does_not_answer_costs_its_share_of_the_time_only() {
        let ((silent, _silent), (closing, _closing)) = (no_broker(false).await, no_broker(true).await);
        let (begun, patience) = (Instant::now(), Duration::from_millis(300));
        let brokers = format!("127.0.0.1:1,{silent},{closing}");
        let cluster = Cluster::new(brokers, Security::plaintext("ORDERS_KAFKA"));
        let error = cluster.topic_identity("orders.events", patience).await.unwrap_err();
        // The last one was asked, so the silent one before it did not take all the time.
        assert!(error.to_string().starts_with(&format!("{closing}: ")), "{error}");
        assert!(begun.elapsed() < patience * 10, "{:?}", begun.elapsed());
    }
}
