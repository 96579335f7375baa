//! Whether the link to the brokers is encrypted, and who this service is to them: what the settings come to.
//!
//! Certificates are always verified, and the broker's host is always looked for in its certificate: no setting switches that off.

use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use rustls::ClientConfig;

use super::login::{Credentials, Login};
use super::protocol::{SaslMechanism, SecurityProtocol};
use crate::auth::Secret;
use crate::files::PasswordFile;
use crate::tls;
use crate::tls::pem::{self, Identity};

/// As the settings give it.
#[derive(Debug, Clone)]
pub struct Given {
    pub protocol: SecurityProtocol,
    pub ca_file: Option<PathBuf>,
    pub cert_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
    pub mechanism: Option<SaslMechanism>,
    pub user: Option<String>,
    pub password: Option<Secret>,
    pub password_file: Option<PasswordFile>,
    pub plain_without_tls: bool,
}

/// The settings, without contradictions. Files are read again for each new client, so they may be replaced.
#[derive(Debug, Clone)]
pub struct Security {
    /// What the settings' names begin with, `ORDERS_KAFKA`.
    pub(super) prefix: &'static str,
    pub(super) protocol: SecurityProtocol,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) certificate: Option<ClientCertificate>,
    pub(super) login: Option<Login>,
}

#[derive(Debug, Clone)]
pub(super) struct ClientCertificate {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

impl Security {
    /// Neither TLS nor a login. `prefix`: what the names of the settings begin with, such as `ORDERS_KAFKA`.
    pub fn plaintext(prefix: &'static str) -> Self {
        let protocol = SecurityProtocol::Plaintext;
        Self { prefix, protocol, ca_file: None, certificate: None, login: None }
    }

    /// # Errors
    /// When settings contradict each other, or a file cannot be used.
    pub fn of(given: Given, prefix: &'static str) -> anyhow::Result<Self> {
        let Given { protocol, ca_file, cert_file, key_file, mechanism, user, .. } = given;
        let name = protocol.name();
        let set = [
            ("CA_FILE", ca_file.is_some(), protocol.has_tls(), "TLS"),
            ("CERT_FILE", cert_file.is_some(), protocol.has_tls(), "TLS"),
            ("KEY_FILE", key_file.is_some(), protocol.has_tls(), "TLS"),
            ("SASL_MECHANISM", mechanism.is_some(), protocol.has_login(), "a login"),
            ("USER", user.is_some(), protocol.has_login(), "a login"),
            ("PASSWORD", given.password.is_some(), protocol.has_login(), "a login"),
            ("PASSWORD_FILE", given.password_file.is_some(), protocol.has_login(), "a login"),
        ];
        for (setting, is_set, has_use, what) in set {
            ensure!(
                !is_set || has_use,
                "{prefix}_{setting} is set, and {prefix}_SECURITY_PROTOCOL={name} is without {what}: unset it, or set a protocol with {what}"
            );
        }
        let certificate = match (cert_file, key_file) {
            (Some(certificate), Some(key)) => Some(ClientCertificate { certificate, key }),
            (None, None) => None,
            _ => bail!("{prefix}_CERT_FILE and {prefix}_KEY_FILE belong together: set both, or neither"),
        };
        let login = match protocol.has_login() {
            true => Some(Login::of(mechanism, user, given.password, given.password_file, prefix)?),
            false => None,
        };
        let sends_password = login.as_ref().is_some_and(|login| login.mechanism == SaslMechanism::Plain);
        ensure!(
            !sends_password || protocol.has_tls() || given.plain_without_tls,
            "{prefix}_SASL_MECHANISM=plain sends the password itself, and {prefix}_SECURITY_PROTOCOL={name} does not encrypt it: set \
             sasl_ssl or a mechanism of SCRAM, or {prefix}_PLAIN_WITHOUT_TLS=true"
        );
        let security = Self { prefix, protocol, ca_file, certificate, login };
        security.client_config()?;
        security.credentials()?;
        Ok(security)
    }

    /// For connections of rustls; `None` without TLS. Reads the files.
    pub(super) fn client_config(&self) -> anyhow::Result<Option<ClientConfig>> {
        if !self.protocol.has_tls() {
            return Ok(None);
        }
        let setting = |name: &str| format!("{}_{name}", self.prefix);
        let roots = pem::roots(self.ca_file.as_deref()).with_context(|| setting("CA_FILE"))?;
        tls::install_provider();
        let config = ClientConfig::builder().with_root_certificates(roots);
        let Some(ClientCertificate { certificate, key }) = &self.certificate else {
            return Ok(Some(config.with_no_client_auth()));
        };
        let settings = || format!("{} and {}", setting("CERT_FILE"), setting("KEY_FILE"));
        let Identity { chain, key, .. } = pem::identity(certificate, key).with_context(settings)?;
        Ok(Some(config.with_client_auth_cert(chain, key).with_context(settings)?))
    }

    /// `None` without a login. Reads the password's file.
    pub(super) fn credentials(&self) -> anyhow::Result<Option<Credentials>> {
        self.login.as_ref().map(|login| login.credentials(self.prefix)).transpose()
    }

    /// For librdkafka. Reads the password's file; librdkafka reads the others, as the client is made.
    #[cfg(feature = "kafka")]
    pub(super) fn configure(&self, config: &mut rdkafka::ClientConfig) -> anyhow::Result<()> {
        let path = |file: &std::path::Path| file.to_string_lossy().into_owned();
        config.set("security.protocol", self.protocol.name());
        if self.protocol.has_tls() {
            // Its defaults, said all the same: nothing may take them away.
            config
                .set("enable.ssl.certificate.verification", "true")
                .set("ssl.endpoint.identification.algorithm", "https");
        }
        if let Some(file) = &self.ca_file {
            config.set("ssl.ca.location", path(file));
        }
        if let Some(ClientCertificate { certificate, key }) = &self.certificate {
            config.set("ssl.certificate.location", path(certificate)).set("ssl.key.location", path(key));
        }
        if let Some(Credentials { mechanism, user, password }) = self.credentials()? {
            config.set("sasl.mechanism", mechanism.name());
            config.set("sasl.username", user).set("sasl.password", password);
        }
        Ok(())
    }

    /// How brokers are told who this is, and which of their certificates are believed.
    pub(super) fn describe(&self, tls_version: Option<&str>) -> String {
        let encrypted = match (tls_version, &self.ca_file) {
            (None, _) => "not encrypted".to_owned(),
            (Some(version), Some(file)) => format!("{version}, verified by {}", file.display()),
            (Some(version), None) => format!("{version}, verified by this machine's authorities"),
        };
        let who = match (&self.login, &self.certificate) {
            (Some(Login { mechanism, user, .. }), _) => format!("as {user} by {}", mechanism.name()),
            (None, Some(ClientCertificate { certificate, .. })) => {
                format!("as the certificate {} says", certificate.display())
            }
            (None, None) => "as nobody in particular".to_owned(),
        };
        format!("{encrypted}, {who}")
    }
}

#[cfg(test)]
mod tests {
    use stack::certificates::{Authority, Validity};

    use super::*;

    fn given(protocol: SecurityProtocol) -> Given {
        Given {
            protocol,
            ca_file: None,
            cert_file: None,
            key_file: None,
            mechanism: None,
            user: None,
            password: None,
            password_file: None,
            plain_without_tls: false,
        }
    }

    fn login(protocol: SecurityProtocol, mechanism: SaslMechanism) -> Given {
        let (user, password) = (Some("kim".to_owned()), "hush".parse().ok());
        Given { mechanism: Some(mechanism), user, password, ..given(protocol) }
    }

    fn refused(given: Given) -> String {
        format!("{:#}", Security::of(given, "ORDERS_KAFKA").unwrap_err())
    }

    #[test]
    fn settings_that_contradict_each_other_are_refused_by_their_names() {
        use SaslMechanism::{Plain, ScramSha256};
        use SecurityProtocol::{Plaintext, SaslPlaintext, SaslSsl, Ssl};
        let file = || Some(PathBuf::from("/nowhere.pem"));
        for (wrong, words) in [
            (Given { ca_file: file(), ..given(Plaintext) }, "KAFKA_CA_FILE is set"),
            (Given { cert_file: file(), ..given(SaslPlaintext) }, "KAFKA_CERT_FILE is set"),
            (Given { mechanism: Some(Plain), ..given(Ssl) }, "KAFKA_SASL_MECHANISM is set"),
            (Given { user: Some("kim".to_owned()), ..given(Plaintext) }, "KAFKA_USER is set"),
            (
                Given { password_file: file().map(PasswordFile::from), ..given(Ssl) },
                "KAFKA_PASSWORD_FILE is set",
            ),
            (Given { cert_file: file(), ..given(Ssl) }, "belong together"),
            (Given { key_file: file(), ..given(Ssl) }, "belong together"),
            (given(SaslSsl), "KAFKA_SASL_MECHANISM is missing"),
            (Given { user: None, ..login(SaslSsl, ScramSha256) }, "KAFKA_USER is missing"),
            (Given { password: None, ..login(SaslSsl, ScramSha256) }, "KAFKA_PASSWORD_FILE is missing"),
            (
                Given { password_file: file().map(PasswordFile::from), ..login(SaslSsl, ScramSha256) },
                "both set",
            ),
            (login(SaslPlaintext, Plain), "ORDERS_KAFKA_PLAIN_WITHOUT_TLS"),
            (
                Given { ca_file: file(), ..given(Ssl) },
                "ORDERS_KAFKA_CA_FILE: /nowhere.pem cannot be read: No such file",
            ),
            (Given { password: "".parse().ok(), ..login(SaslSsl, ScramSha256) }, "has no password"),
        ] {
            let refusal = refused(wrong);
            assert!(refusal.contains(words) && !refusal.contains("hush"), "{refusal}");
        }
    }

    #[test]
    fn settings_that_agree_are_taken_and_say_who_this_is() {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::new(directory.path()).unwrap();
        let (kim, other) =
            (authority.client("kim", Validity::Valid), authority.client("other", Validity::Valid));
        let (kim, other) = (kim.unwrap(), other.unwrap());
        let ca_file = Some(authority.file().to_owned());
        let (cert_file, key_file) = (Some(kim.certificate), Some(kim.key));
        let with_certificate = Given { ca_file, cert_file, key_file, ..given(SecurityProtocol::Ssl) };
        let taken = Security::of(with_certificate.clone(), "ORDERS_KAFKA").unwrap();
        assert!(taken.describe(Some("TLS 1.3")).ends_with("kim.pem says"));
        let mixed = Given { key_file: Some(other.key), ..with_certificate };
        assert!(refused(mixed).contains("does not belong to the first certificate"));

        let without_tls = login(SecurityProtocol::SaslPlaintext, SaslMechanism::Plain);
        let allowed = Given { plain_without_tls: true, ..without_tls };
        let taken = Security::of(allowed, "ORDERS_KAFKA").unwrap();
        assert_eq!(taken.describe(None), "not encrypted, as kim by PLAIN");
        assert!(!format!("{taken:?}").contains("hush"));
    }

    #[test]
    fn a_password_s_file_is_read_without_its_line_break_each_time() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("password");
        let protocol = SecurityProtocol::SaslPlaintext;
        let given = Given {
            password: None,
            password_file: Some(file.clone().into()),
            ..login(protocol, SaslMechanism::ScramSha512)
        };
        assert!(refused(given.clone()).contains("ORDERS_KAFKA_PASSWORD_FILE: "));
        std::fs::write(&file, "first\n").unwrap();
        let security = Security::of(given, "ORDERS_KAFKA").unwrap();
        std::fs::write(&file, "second\r\n").unwrap();
        assert_eq!(security.credentials().unwrap().unwrap().password, "second");
    }
}
