//! Asks the brokers which topic is behind a name.

use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::metadata::{RESPONSE_BYTES_MAX, TopicIdentity, TopicResponse, decode_response, encode_request};

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
    /// A server is there: a broker that is stopping, or one that does not know this request.
    #[error("{broker}: {reason}; is it older than Kafka 3.1, or does it want TLS or a login?")]
    NotUnderstood { broker: String, reason: String },
}

/// Which topic has the name `topic`. Never creates one. Asks one broker after the other, each for an equal share of what is left of
/// `patience`. The first answer counts.
///
/// One connection for each request: none can go stale, and it costs a broker no more than a health check.
pub async fn topic_identity(
    brokers: &str,
    topic: &str,
    patience: Duration,
) -> Result<TopicIdentity, TopicError> {
    let until = Instant::now() + patience;
    let addresses: Vec<String> =
        brokers.split(',').map(address).filter(|address| !address.is_empty()).collect();
    let mut last = TopicError::NoAnswer { broker: brokers.to_owned(), reason: "no address".to_owned() };
    for (done, broker) in addresses.iter().enumerate() {
        let left = u32::try_from(addresses.len() - done).unwrap_or(u32::MAX);
        let share = until.saturating_duration_since(Instant::now()) / left;
        let no_answer = |reason| TopicError::NoAnswer { broker: broker.clone(), reason };
        let not_understood = |reason| TopicError::NotUnderstood { broker: broker.clone(), reason };
        match timeout(share, connect_and_ask(broker, topic)).await {
            Ok(Ok(TopicResponse::Topic(identity))) => return Ok(identity),
            Ok(Ok(TopicResponse::Error(UNKNOWN_TOPIC))) => return Err(TopicError::Missing),
            Ok(Ok(TopicResponse::Error(NOT_AUTHORISED))) => return Err(TopicError::NotAuthorised),
            Ok(Ok(TopicResponse::Error(code))) => last = TopicError::Refused(code),
            Ok(Err(error)) if error.kind() == ErrorKind::InvalidData => {
                last = not_understood(error.to_string())
            }
            // A broker closes the connection after a request that it does not understand.
            Ok(Err(error))
                if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) =>
            {
                last = not_understood("the connection was closed without an answer".to_owned());
            }
            Ok(Err(error)) => last = no_answer(error.to_string()),
            Err(_) => last = no_answer(format!("no answer within {share:?}")),
        }
    }
    Err(last)
}

/// `host:port` of an entry such as librdkafka takes: a protocol before it and a missing port are allowed.
fn address(entry: &str) -> String {
    let entry = entry.trim();
    let address = entry.split_once("://").map_or(entry, |(_, address)| address);
    let has_port = address.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if address.is_empty() || has_port { address.to_owned() } else { format!("{address}:{DEFAULT_PORT}") }
}

async fn connect_and_ask(broker: &str, topic: &str) -> io::Result<TopicResponse> {
    ask(&mut TcpStream::connect(broker).await?, topic).await
}

/// Over any connection: plain, TLS, or one that has logged in.
async fn ask<S>(stream: &mut S, topic: &str) -> io::Result<TopicResponse>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.write_all(&encode_request(CLIENT_ID, topic)).await?;
    let length = usize::try_from(stream.read_u32().await?).unwrap_or(usize::MAX);
    if length > RESPONSE_BYTES_MAX {
        return Err(unreadable(&format!("{length} bytes are more than one topic takes")));
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await?;
    decode_response(&bytes, topic).map_err(unreadable)
}

fn unreadable(wrong: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("its answer cannot be read: {wrong}"))
}

#[cfg(test)]
mod tests {
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
        let error = topic_identity(&brokers, "orders.events", patience).await.unwrap_err();
        // The last one was asked, so the silent one before it did not take all the time.
        assert!(error.to_string().starts_with(&format!("{closing}: ")), "{error}");
        assert!(begun.elapsed() < patience * 10, "{:?}", begun.elapsed());
    }
}
