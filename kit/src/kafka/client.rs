//! What every client of Kafka is set to, whichever service it belongs to.

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};

/// The settings of a client that goes on through every outage. `client_id` names it in the broker's logs and quotas.
pub fn client_config(brokers: &str, client_id: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers)
        .set("client.id", client_id)
        // A topic is made by the service that owns it, with the settings it promises. librdkafka's producers would otherwise ask for a
        // missing topic in a way that makes the broker create it, with the broker's settings.
        .set("allow.auto.create.topics", "false")
        // Seen to bring the first delivery within half a second of the broker's return; the defaults take up to ten.
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "500")
        .set("retry.backoff.ms", "50")
        .set("retry.backoff.max.ms", "500")
        // A broker that accepts connections and never answers is given up after this.
        .set("socket.timeout.ms", "5000")
        .set("socket.keepalive.enable", "true")
        .set("log.connection.close", "false")
        .set_log_level(RDKafkaLogLevel::Warning);
    config
}
