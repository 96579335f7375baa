//! Why there is no link to a broker that answers, and which setting to change.

use super::handshake::TlsFailure;
use super::protocol::SaslMechanism;
use super::security::Security;

/// A broker is there, and it does not come to a connection that both sides accept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LinkFailure {
    Tls(TlsFailure),
    /// With the broker's words, if it has some.
    LoginRefused(String),
    Mechanism {
        wanted: SaslMechanism,
        offered: Vec<String>,
    },
    /// This listener asks for no login.
    NoLoginThere,
    /// The server takes the login, and does not know the password itself.
    NotGenuine,
    /// The files that a setting names cannot be used.
    Settings(String),
}

/// In words, for the log, the breaker's cause and `check`: which link, why, and what to set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Kafka at {broker}: {reason}; {advice}")]
pub struct LinkError {
    pub broker: String,
    pub reason: String,
    pub advice: String,
}

impl LinkFailure {
    pub(super) fn at(self, broker: &str, security: &Security) -> LinkError {
        let (reason, advice) = self.explained(security);
        LinkError { broker: broker.to_owned(), reason, advice }
    }

    fn explained(self, security: &Security) -> (String, String) {
        let setting = |name: &str| format!("{}_{name}", security.prefix);
        match self {
            Self::Tls(failure) => (failure.to_string(), advice(&failure, &setting)),
            Self::LoginRefused(words) => {
                let user = security.login.as_ref().map(|login| login.user.as_str()).unwrap_or_default();
                let words = if words.is_empty() { words } else { format!(" ({words})") };
                let advice = format!("check {} and {}", setting("USER"), setting("PASSWORD_FILE"));
                (format!("the login of {user} is refused{words}"), advice)
            }
            Self::Mechanism { wanted, offered } => {
                let reason =
                    format!("it takes no login by {}, only by {}", wanted.name(), offered.join(", "));
                (reason, format!("set {} to one of them", setting("SASL_MECHANISM")))
            }
            Self::NoLoginThere => {
                let advice = format!("check KAFKA_BROKERS, or set {}", setting("SECURITY_PROTOCOL"));
                ("this listener takes no login".to_owned(), advice)
            }
            Self::NotGenuine => {
                let advice = "check KAFKA_BROKERS: this may be another server".to_owned();
                ("it does not know the password that it checks".to_owned(), advice)
            }
            Self::Settings(reason) => (reason, "mend the file, or the setting".to_owned()),
        }
    }
}

fn advice(failure: &TlsFailure, setting: &dyn Fn(&str) -> String) -> String {
    match failure {
        TlsFailure::UnknownAuthority => {
            format!("set {} to the certificate of the broker's authority", setting("CA_FILE"))
        }
        TlsFailure::Expired => "renew the broker's certificate".to_owned(),
        TlsFailure::NotYetValid => "set the clocks right".to_owned(),
        TlsFailure::AnotherHost(_) => {
            "set KAFKA_BROKERS and the broker's advertised.listeners to a name that it has, or give it a certificate with this one"
                .to_owned()
        }
        TlsFailure::NoTls => {
            format!("check the port in KAFKA_BROKERS, or set {}", setting("SECURITY_PROTOCOL"))
        }
        TlsFailure::CertificateWanted => format!("set {} and {}", setting("CERT_FILE"), setting("KEY_FILE")),
        TlsFailure::CertificateRefused(_) => {
            format!("set {} to one of the authority that the broker trusts", setting("CERT_FILE"))
        }
        TlsFailure::Other(_) => {
            format!("check {} and the broker's ssl settings", setting("SECURITY_PROTOCOL"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_link_the_reason_and_the_setting() {
        let security = Security::plaintext("BONUS_KAFKA");
        let offered = vec!["PLAIN".to_owned()];
        for (failure, words) in [
            (LinkFailure::Tls(TlsFailure::UnknownAuthority), ["not trusted", "BONUS_KAFKA_CA_FILE"]),
            (LinkFailure::Tls(TlsFailure::Expired), ["has expired", "renew"]),
            (
                LinkFailure::Tls(TlsFailure::AnotherHost("a.example".to_owned())),
                ["a.example", "KAFKA_BROKERS"],
            ),
            (LinkFailure::Tls(TlsFailure::NoTls), ["no TLS", "BONUS_KAFKA_SECURITY_PROTOCOL"]),
            (LinkFailure::Tls(TlsFailure::CertificateWanted), ["asked for", "BONUS_KAFKA_CERT_FILE"]),
            (LinkFailure::LoginRefused("no".to_owned()), ["(no)", "BONUS_KAFKA_PASSWORD_FILE"]),
            (
                LinkFailure::Mechanism { wanted: SaslMechanism::ScramSha256, offered },
                ["only by PLAIN", "BONUS_KAFKA_SASL_MECHANISM"],
            ),
            (LinkFailure::NoLoginThere, ["no login", "BONUS_KAFKA_SECURITY_PROTOCOL"]),
            (LinkFailure::NotGenuine, ["does not know", "another server"]),
        ] {
            let said = failure.at("kafka-1:9093", &security).to_string();
            assert!(said.starts_with("Kafka at kafka-1:9093: "), "{said}");
            assert!(words.iter().all(|word| said.contains(word)), "{said}");
        }
    }
}
