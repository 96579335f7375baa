//! What an error of Kafka means, and what to do about it.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// The error in words, and what to do. `None` if the library's text is enough.
pub fn explain(code: RDKafkaErrorCode) -> Option<&'static str> {
    use RDKafkaErrorCode as Code;
    Some(match code {
        Code::TopicAuthorizationFailed => {
            "this user may not use the topic; grant it DESCRIBE, and WRITE to publish, READ to consume or CREATE to make it (kafka-acls)"
        }
        Code::ClusterAuthorizationFailed => {
            "this user may not do this on the cluster; grant it IDEMPOTENT_WRITE to publish, or CREATE to make topics (kafka-acls)"
        }
        Code::GroupAuthorizationFailed => {
            "this user may not use the consumer group; grant it READ on the group (kafka-acls)"
        }
        Code::Authentication
        | Code::SaslAuthenticationFailed
        | Code::UnsupportedSASLMechanism
        | Code::IllegalSASLState => {
            "the broker does not take this login; check …_KAFKA_USER, …_KAFKA_PASSWORD_FILE and …_KAFKA_SASL_MECHANISM"
        }
        Code::SSL => {
            "no TLS connection; check …_KAFKA_CA_FILE, …_KAFKA_CERT_FILE, and that this listener speaks TLS (…_KAFKA_SECURITY_PROTOCOL)"
        }
        Code::Resolve => {
            "a broker's host name is unknown here; check KAFKA_BROKERS and the brokers' advertised.listeners"
        }
        Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition => {
            "the topic is not there; the order service makes it, and the log says why if it cannot"
        }
        Code::InvalidTopic => "Kafka takes no topic of this name; check ORDERS_TOPIC",
        Code::NotEnoughReplicas | Code::NotEnoughReplicasAfterAppend | Code::ISRInsufficient => {
            "fewer replicas are in sync than min.insync.replicas wants; start the brokers that are down"
        }
        Code::LeaderNotAvailable | Code::NotLeaderForPartition | Code::ReplicaNotAvailable => {
            "a partition has no leader at the moment; if this lasts, start the brokers that hold it"
        }
        Code::KafkaStorageError | Code::LogDirNotFound => {
            "a broker cannot write to its disk; free or replace it, then start that broker again"
        }
        Code::MessageTimedOut | Code::TimedOutQueue | Code::RequestTimedOut | Code::OperationTimedOut => {
            "no acknowledgement in time: the broker is down or slow, or the partition has no leader or too few replicas in sync \
             (`orders check` says)"
        }
        Code::AllBrokersDown | Code::BrokerTransportFailure => {
            "no connection to the broker; start it, or check KAFKA_BROKERS and the network"
        }
        Code::InvalidReplicationFactor => {
            "the cluster has fewer brokers than the topic is to have replicas; start brokers, or lower ORDERS_TOPIC_REPLICATION"
        }
        Code::InvalidPartitions => {
            "the cluster does not take this number of partitions; change ORDERS_TOPIC_PARTITIONS"
        }
        Code::InvalidConfig => "the cluster does not take one of the topic's settings; check ORDERS_TOPIC_…",
        Code::PolicyViolation => "a policy of the cluster forbids it; ask whoever runs the cluster",
        Code::ThrottlingQuotaExceeded => "the cluster's quota for this is used up; it is tried again",
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidMessageSize => {
            "larger than the topic takes; raise its max.message.bytes"
        }
        Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch => {
            "the broker has fenced this producer; it is replaced"
        }
        _ => return None,
    })
}

/// Kafka's code, also of an admin operation, for which the library has a separate variant.
pub fn code(error: &KafkaError) -> Option<RDKafkaErrorCode> {
    match error {
        KafkaError::AdminOp(code) => Some(*code),
        other => other.rdkafka_error_code(),
    }
}

/// The library's text, and the explanation.
pub fn describe(error: &KafkaError) -> String {
    match code(error).and_then(explain) {
        Some(words) => format!("{error}: {words}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_comes_with_what_to_do() {
        for (code, words) in [
            (RDKafkaErrorCode::TopicAuthorizationFailed, "grant"),
            (RDKafkaErrorCode::InvalidTopic, "ORDERS_TOPIC"),
            (RDKafkaErrorCode::KafkaStorageError, "disk"),
            (RDKafkaErrorCode::NotEnoughReplicas, "min.insync.replicas"),
        ] {
            let text = describe(&KafkaError::MessageProduction(code));
            assert!(text.starts_with("Message production error") && text.contains(words), "{text}");
            let of_administration = describe(&KafkaError::AdminOp(code));
            assert!(of_administration.contains(words), "{of_administration}");
        }
    }

    #[test]
    fn an_error_that_needs_no_words_gets_none() {
        assert_eq!(explain(RDKafkaErrorCode::NoError), None);
    }
}
