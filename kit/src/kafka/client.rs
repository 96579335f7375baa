//! The settings of every Kafka client, of each service.

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};

/// The settings of a client that continues after every outage. `client_id` names it in the broker's logs and quotas.
pub fn client_config(brokers: &str, client_id: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers)
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
    config
}
