//! What a listener asks of its clients (TLS, certificates, logins), and what a client needs to be let in.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rdkafka::ClientConfig;

use crate::certificates::Identity;

/// How clients log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    Plain,
    ScramSha256,
    ScramSha512,
}

impl Mechanism {
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }

    fn module(self) -> &'static str {
        match self {
            Self::Plain => "org.apache.kafka.common.security.plain.PlainLoginModule",
            Self::ScramSha256 | Self::ScramSha512 => {
                "org.apache.kafka.common.security.scram.ScramLoginModule"
            }
        }
    }
}

/// Name and password, of letters, digits and dashes.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub password: String,
}

impl User {
    pub fn new(name: &str, password: &str) -> Self {
        Self { name: name.to_owned(), password: password.to_owned() }
    }
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// What a listener asks of its clients. By default nothing.
#[derive(Debug, Clone, Default)]
pub struct ListenerSecurity {
    /// TLS with this certificate. Its files are read at each start of the broker: put others in their place, and start it again. `None`: no TLS.
    pub certificate: Option<Identity>,
    /// Clients need a certificate of this authority (the certificate's file). `None`: they are not asked for one.
    pub client_authority: Option<PathBuf>,
    /// Clients must log in by one of these. Empty: they need not.
    pub mechanisms: Vec<Mechanism>,
}

impl ListenerSecurity {
    /// As Kafka calls it.
    pub fn protocol(&self) -> &'static str {
        protocol(self.certificate.is_some(), !self.mechanisms.is_empty())
    }

    /// The lines of `server.properties` for the listener of this name. `trust`: an authority that the broker itself trusts, as a client of this listener.
    pub(super) fn lines(&self, listener: &str, home: &Path, trust: Option<&Path>, users: &[User]) -> String {
        let prefix = format!("listener.name.{}.", listener.to_lowercase());
        let mut lines = String::new();
        let mut line = |name: &str, value: &str| lines.push_str(&format!("{prefix}{name}={value}\n"));
        if self.certificate.is_some() {
            line("ssl.keystore.type", "PEM");
            line("ssl.keystore.location", &keystore(home, listener).to_string_lossy());
            line("ssl.client.auth", if self.client_authority.is_some() { "required" } else { "none" });
            if let Some(authority) = self.client_authority.as_deref().or(trust) {
                line("ssl.truststore.type", "PEM");
                line("ssl.truststore.location", &authority.to_string_lossy());
            }
        }
        if !self.mechanisms.is_empty() {
            let names: Vec<&str> = self.mechanisms.iter().map(|mechanism| mechanism.name()).collect();
            line("sasl.enabled.mechanisms", &names.join(","));
            // By the first of these the broker logs in where it is a client itself.
            let own = users.first();
            let own = own.map(|user| format!(" username=\"{}\" password=\"{}\"", user.name, user.password));
            let own = own.unwrap_or_default();
            let known: String =
                users.iter().map(|user| format!(" user_{}=\"{}\"", user.name, user.password)).collect();
            for mechanism in &self.mechanisms {
                let known = if *mechanism == Mechanism::Plain { known.as_str() } else { "" };
                let name = format!("{}.sasl.jaas.config", mechanism.name().to_lowercase());
                line(&name, &format!("{} required{own}{known};", mechanism.module()));
            }
        }
        lines
    }

    /// Writes what the broker reads at its start: key and certificate in one file.
    pub(super) fn prepare(&self, listener: &str, home: &Path) -> Result<()> {
        let Some(Identity { certificate, key }) = &self.certificate else { return Ok(()) };
        let read = |file: &Path| {
            fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))
        };
        fs::write(keystore(home, listener), read(key)? + &read(certificate)?)?;
        Ok(())
    }
}

fn keystore(home: &Path, listener: &str) -> PathBuf {
    home.join(format!("{}.pem", listener.to_lowercase()))
}

/// What a client needs to be let in. By default nothing.
#[derive(Debug, Clone, Default)]
pub struct ClientSecurity {
    /// TLS, trusting this authority (its certificate's file). `None`: no TLS.
    pub authority: Option<PathBuf>,
    pub certificate: Option<Identity>,
    pub login: Option<(Mechanism, User)>,
}

impl ClientSecurity {
    pub fn protocol(&self) -> &'static str {
        protocol(self.authority.is_some(), self.login.is_some())
    }

    pub fn is_plain(&self) -> bool {
        self.authority.is_none() && self.login.is_none()
    }

    /// For librdkafka.
    pub fn configure(&self, settings: &mut ClientConfig) {
        settings.set("security.protocol", self.protocol().to_lowercase());
        if let Some(authority) = &self.authority {
            settings.set("ssl.ca.location", authority.to_string_lossy());
        }
        if let Some(Identity { certificate, key }) = &self.certificate {
            settings.set("ssl.certificate.location", certificate.to_string_lossy());
            settings.set("ssl.key.location", key.to_string_lossy());
        }
        if let Some((mechanism, User { name, password })) = &self.login {
            settings.set("sasl.mechanism", mechanism.name());
            settings.set("sasl.username", name).set("sasl.password", password);
        }
    }

    /// For a service whose settings begin with this, `ORDERS` or `BONUS`.
    pub fn environment(&self, prefix: &str) -> Vec<(String, String)> {
        if self.is_plain() {
            return Vec::new();
        }
        let mut variables = vec![("SECURITY_PROTOCOL", self.protocol().to_lowercase())];
        let file = |file: &Path| file.to_string_lossy().into_owned();
        variables.extend(self.authority.as_deref().map(|authority| ("CA_FILE", file(authority))));
        if let Some(Identity { certificate, key }) = &self.certificate {
            variables.extend([("CERT_FILE", file(certificate)), ("KEY_FILE", file(key))]);
        }
        if let Some((mechanism, User { name, password })) = &self.login {
            variables.push(("SASL_MECHANISM", mechanism.name().to_lowercase()));
            variables.extend([("USER", name.clone()), ("PASSWORD", password.clone())]);
        }
        variables.into_iter().map(|(name, value)| (format!("{prefix}_KAFKA_{name}"), value)).collect()
    }
}

fn protocol(tls: bool, login: bool) -> &'static str {
    match (tls, login) {
        (false, false) => "PLAINTEXT",
        (true, false) => "SSL",
        (false, true) => "SASL_PLAINTEXT",
        (true, true) => "SASL_SSL",
    }
}

/// A broker's, or of all brokers of a cluster.
#[derive(Debug, Clone, Default)]
pub struct Security {
    /// Of the main listener, which the brokers themselves use as well: so without certificates of clients.
    pub listener: ListenerSecurity,
    /// How this tool's clients get in there.
    pub client: ClientSecurity,
    /// Who may log in, at every listener that asks for it. The brokers themselves are the first.
    pub users: Vec<User>,
}

impl Security {
    /// Lines of `server.properties` for what brokers are to each other.
    pub(super) fn between_brokers(&self) -> String {
        match self.listener.mechanisms.first() {
            Some(mechanism) => format!("sasl.mechanism.inter.broker.protocol={}\n", mechanism.name()),
            None => String::new(),
        }
    }

    /// Arguments for the formatting of a new broker: passwords by SCRAM are in its metadata.
    pub(super) fn credentials(&self) -> Vec<String> {
        let scram = [Mechanism::ScramSha256, Mechanism::ScramSha512];
        let of = |user: &User| {
            let User { name, password } = user.clone();
            scram.map(|mechanism| format!("{}=[name={name},password={password}]", mechanism.name()))
        };
        self.users.iter().flat_map(of).flat_map(|user| ["--add-scram".to_owned(), user]).collect()
    }
}

/// Where brokers are, and what lets a client in.
#[derive(Debug, Clone)]
pub struct Access {
    /// The bootstrap servers.
    pub brokers: String,
    pub security: ClientSecurity,
}

impl Access {
    pub fn plain(brokers: impl Into<String>) -> Self {
        Self { brokers: brokers.into(), security: ClientSecurity::default() }
    }

    /// For a client of librdkafka.
    pub fn client(&self) -> ClientConfig {
        let mut settings = ClientConfig::new();
        settings.set("bootstrap.servers", &self.brokers);
        self.security.configure(&mut settings);
        settings
    }

    /// For a service whose settings begin with this, `ORDERS` or `BONUS`.
    pub fn environment(&self, prefix: &str) -> Vec<(String, String)> {
        let mut variables = vec![("KAFKA_BROKERS".to_owned(), self.brokers.clone())];
        variables.extend(self.security.environment(prefix));
        variables
    }
}
