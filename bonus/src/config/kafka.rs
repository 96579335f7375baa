//! Settings of how the link to Kafka is secured.

kit::kafka_settings!(KafkaSecurity, "BONUS");
