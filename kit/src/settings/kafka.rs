//! Settings of how the link to Kafka is secured. Each service has them under its own prefix.

/// Defines the settings as a group for clap: `kafka_settings!(KafkaSecurity, "ORDERS")`.
#[macro_export]
macro_rules! kafka_settings {
    ($name:ident, $prefix:literal) => {
        // How the link to Kafka is secured. (A doc comment here would end up in the help of whatever takes the group.)
        #[derive(Debug, Clone, ::clap::Args)]
        pub struct $name {
            /// Whether the link to Kafka is encrypted (ssl), has a login (sasl_plaintext), both (sasl_ssl) or neither (plaintext).
            #[arg(long, env = concat!($prefix, "_KAFKA_SECURITY_PROTOCOL"), default_value = "plaintext", value_enum, ignore_case = true)]
            pub kafka_security_protocol: $crate::kafka::SecurityProtocol,

            /// The authority of the brokers' certificates, as PEM. Unset: those that this machine trusts.
            #[arg(long, env = concat!($prefix, "_KAFKA_CA_FILE"))]
            pub kafka_ca_file: Option<::std::path::PathBuf>,

            /// This service's own certificate, as PEM, for brokers that ask for one.
            #[arg(long, env = concat!($prefix, "_KAFKA_CERT_FILE"))]
            pub kafka_cert_file: Option<::std::path::PathBuf>,

            /// The private key to it, as PEM, without a password.
            #[arg(long, env = concat!($prefix, "_KAFKA_KEY_FILE"))]
            pub kafka_key_file: Option<::std::path::PathBuf>,

            /// How this service logs in: scram-sha-256, scram-sha-512, or plain, which sends the password itself.
            #[arg(long, env = concat!($prefix, "_KAFKA_SASL_MECHANISM"), value_enum, ignore_case = true)]
            pub kafka_sasl_mechanism: Option<$crate::kafka::SaslMechanism>,

            /// The user that this service logs in as.
            #[arg(long, env = concat!($prefix, "_KAFKA_USER"), value_parser = $crate::settings::not_blank)]
            pub kafka_user: Option<String>,

            /// A file with the password. A line break at its end does not count. Read again for each new client.
            #[arg(long, env = concat!($prefix, "_KAFKA_PASSWORD_FILE"))]
            pub kafka_password_file: Option<$crate::files::PasswordFile>,

            /// The password itself.
            #[arg(long, env = concat!($prefix, "_KAFKA_PASSWORD"), hide_env_values = true)]
            pub kafka_password: Option<$crate::auth::Secret>,

            /// Allows a login by plain over a link that is not encrypted. Whoever sees the traffic then has the password.
            #[arg(long, env = concat!($prefix, "_KAFKA_PLAIN_WITHOUT_TLS"), default_value = "false", value_parser = ::clap::builder::BoolishValueParser::new(), action = ::clap::ArgAction::Set)]
            pub kafka_plain_without_tls: bool,
        }

        impl $name {
            /// How `brokers` are reached.
            ///
            /// # Errors
            /// When settings contradict each other, or a file cannot be used.
            pub fn cluster(&self, brokers: &str) -> ::anyhow::Result<$crate::kafka::Cluster> {
                let given = $crate::kafka::Given {
                    protocol: self.kafka_security_protocol,
                    ca_file: self.kafka_ca_file.clone(),
                    cert_file: self.kafka_cert_file.clone(),
                    key_file: self.kafka_key_file.clone(),
                    mechanism: self.kafka_sasl_mechanism,
                    user: self.kafka_user.clone(),
                    password: self.kafka_password.clone(),
                    password_file: self.kafka_password_file.clone(),
                    plain_without_tls: self.kafka_plain_without_tls,
                };
                let security = $crate::kafka::Security::of(given, concat!($prefix, "_KAFKA"))?;
                Ok($crate::kafka::Cluster::new(brokers, security))
            }
        }
    };
}
