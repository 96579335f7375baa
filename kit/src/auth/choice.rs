//! Whether callers have to say who they are, and by which tokens: what the settings come to.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::ValueEnum;
use reqwest::Url;

use super::token::Rules;
use crate::tls::is_loopback;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AuthMode {
    /// Everybody may do everything.
    Off,
    /// Callers send a JSON Web Token.
    Jwt,
}

/// A value that is never shown.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl FromStr for Secret {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// As the settings give it.
#[derive(Debug, Clone)]
pub struct Given {
    pub mode: Option<AuthMode>,
    pub off_everywhere: bool,
    pub jwks: Option<String>,
    pub jwks_ca_file: Option<PathBuf>,
    pub secret: Option<Secret>,
    pub secret_file: Option<PathBuf>,
    pub issuer: Option<String>,
    pub audience: Option<String>,
    pub leeway: Duration,
    pub roles_claim: String,
    pub customer_claim: String,
}

/// What it comes to.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "there is one in the process")]
pub enum Choice {
    Off,
    Jwt(JwtSettings),
}

#[derive(Debug, Clone)]
pub struct JwtSettings {
    pub keys: KeySource,
    pub rules: Rules,
}

/// Where the keys are that tokens are checked with.
#[derive(Debug, Clone)]
pub enum KeySource {
    JwksFile(PathBuf),
    JwksUrl(JwksUrl),
    Secret(Secret),
    SecretFile(PathBuf),
}

/// Where a key set is fetched.
#[derive(Debug, Clone)]
pub struct JwksUrl {
    pub url: Url,
    /// The authority that its certificate is of; `None`: one that the system trusts.
    pub ca_file: Option<PathBuf>,
    /// The setting that names it.
    pub ca_setting: String,
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::JwksFile(path) | Self::SecretFile(path) => write!(f, "{}", path.display()),
            // Without a password that it may have.
            Self::JwksUrl(JwksUrl { url, .. }) => {
                write!(f, "{}{}", url.origin().ascii_serialization(), url.path())
            }
            Self::Secret(_) => f.write_str("a secret of the settings"),
        }
    }
}

impl Choice {
    /// `setting` is what the names of the settings begin with, such as `ORDERS_AUTH`; `addresses` are where the service listens.
    ///
    /// # Errors
    /// When nothing was chosen, or half of it, or something that exposes the service.
    pub fn of(given: &Given, setting: &str, addresses: &[SocketAddr]) -> anyhow::Result<Self> {
        match given.mode {
            None => bail!(
                "{setting} is not set. Choose: {setting}=jwt, and callers send a bearer token (see docs/security.md), or {setting}=off, \
                 and everybody who reaches {} may do everything",
                listed(addresses)
            ),
            Some(AuthMode::Off) => {
                let open: Vec<SocketAddr> =
                    addresses.iter().copied().filter(|address| !address.ip().is_loopback()).collect();
                ensure!(
                    open.is_empty() || given.off_everywhere,
                    "{setting}=off would let everybody who reaches {} do everything. Listen on a loopback address, set \
                     {setting}=jwt, or say it twice: {setting}_OFF_EVERYWHERE=true",
                    listed(&open)
                );
                Ok(Self::Off)
            }
            Some(AuthMode::Jwt) => JwtSettings::of(given, setting).map(Self::Jwt),
        }
    }
}

/// In prose.
pub fn listed(addresses: &[SocketAddr]) -> String {
    let addresses: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
    addresses.join(" or ")
}

impl JwtSettings {
    /// # Errors
    /// When something is missing, or given twice.
    pub fn of(given: &Given, setting: &str) -> anyhow::Result<Self> {
        let needed = |value: &Option<String>, name: &str| {
            value.clone().with_context(|| format!("{setting}=jwt needs {setting}_{name}"))
        };
        let keys = match (&given.jwks, &given.secret, &given.secret_file) {
            (Some(place), None, None) => jwks(place, given.jwks_ca_file.as_ref(), setting)
                .with_context(|| format!("{setting}_JWKS"))?,
            (None, Some(secret), None) => KeySource::Secret(secret.clone()),
            (None, None, Some(path)) => KeySource::SecretFile(path.clone()),
            _ => bail!(
                "{setting}=jwt needs one of {setting}_JWKS, {setting}_HS256_SECRET_FILE and {setting}_HS256_SECRET, and only one"
            ),
        };
        let rules = Rules {
            issuer: needed(&given.issuer, "ISSUER")?,
            audience: needed(&given.audience, "AUDIENCE")?,
            leeway: given.leeway,
            roles_claim: given.roles_claim.clone(),
            customer_claim: given.customer_claim.clone(),
        };
        Ok(Self { keys, rules })
    }
}

/// A path, unless it is a URL. Whoever can change the keys on their way can sign tokens.
fn jwks(place: &str, ca_file: Option<&PathBuf>, setting: &str) -> anyhow::Result<KeySource> {
    let ca_setting = format!("{setting}_JWKS_CA_FILE");
    ensure!(
        ca_file.is_none() || place.starts_with("https://"),
        "{ca_setting} is for a key set that is fetched by https"
    );
    if !place.contains("://") {
        return Ok(KeySource::JwksFile(place.into()));
    }
    let url = Url::parse(place)?;
    match url.scheme() {
        "http" if !is_loopback(&url) => bail!(
            "by http keys are fetched from a loopback address alone, since on the way they could be exchanged: give a URL that begins \
             with https://"
        ),
        "http" | "https" => Ok(KeySource::JwksUrl(JwksUrl { url, ca_file: ca_file.cloned(), ca_setting })),
        other => bail!("{other} is not known; give a path, or a URL that begins with https://"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(mode: Option<AuthMode>) -> Given {
        Given {
            mode,
            off_everywhere: false,
            jwks: Some("/keys.json".to_owned()),
            jwks_ca_file: None,
            secret: None,
            secret_file: None,
            issuer: Some("issuer".to_owned()),
            audience: Some("orders".to_owned()),
            leeway: Duration::ZERO,
            roles_claim: "roles".to_owned(),
            customer_claim: "sub".to_owned(),
        }
    }

    fn chosen(given: &Given, address: &str) -> Result<Choice, String> {
        let addresses: Vec<SocketAddr> = address.split(' ').map(|address| address.parse().unwrap()).collect();
        Choice::of(given, "X_AUTH", &addresses).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn nothing_is_chosen_by_itself() {
        let error = chosen(&given(None), "127.0.0.1:1").unwrap_err();
        assert!(error.contains("X_AUTH=jwt") && error.contains("X_AUTH=off"), "{error}");
    }

    #[test]
    fn off_is_for_loopback_unless_it_is_said_twice() {
        let off = given(Some(AuthMode::Off));
        for loopback in ["127.0.0.1:1", "127.8.9.1:1", "[::1]:1"] {
            assert!(matches!(chosen(&off, loopback), Ok(Choice::Off)), "{loopback}");
        }
        // Of two addresses each counts.
        for open in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "127.0.0.1:1 10.0.0.1:1", "10.0.0.1:1 127.0.0.1:1"]
        {
            let error = chosen(&off, open).unwrap_err();
            assert!(error.contains("X_AUTH_OFF_EVERYWHERE=true") && !error.contains("127.0.0.1"), "{error}");
            let twice = Given { off_everywhere: true, ..off.clone() };
            assert!(matches!(chosen(&twice, open), Ok(Choice::Off)), "{open}");
        }
    }

    #[test]
    fn jwt_needs_keys_of_one_kind_issuer_and_audience() {
        let jwt = given(Some(AuthMode::Jwt));
        let secret = Some(Secret("s".repeat(32)));
        assert!(chosen(&jwt, "0.0.0.0:1").is_ok());
        assert!(chosen(&Given { jwks: None, secret: secret.clone(), ..jwt.clone() }, "0.0.0.0:1").is_ok());
        for (incomplete, names) in [
            (Given { jwks: None, ..jwt.clone() }, "X_AUTH_JWKS"),
            (Given { secret, ..jwt.clone() }, "only one"),
            (Given { issuer: None, ..jwt.clone() }, "X_AUTH_ISSUER"),
            (Given { audience: None, ..jwt.clone() }, "X_AUTH_AUDIENCE"),
            (Given { jwks_ca_file: Some("/ca.pem".into()), ..jwt.clone() }, "X_AUTH_JWKS_CA_FILE"),
            (Given { jwks: Some("http://issuer.example/jwks".to_owned()), ..jwt.clone() }, "loopback"),
            (Given { jwks: Some("ftp://localhost/jwks".to_owned()), ..jwt.clone() }, "ftp"),
        ] {
            let error = chosen(&incomplete, "127.0.0.1:1").unwrap_err();
            assert!(error.contains(names), "{error}");
        }
    }

    #[test]
    fn keys_come_from_a_path_a_loopback_address_or_by_https() {
        let jwks = |place: &str| jwks(place, None, "X_AUTH");
        for url in
            ["http://localhost:8080/jwks", "http://127.0.0.1/jwks", "http://[::1]:1/jwks", "https://x/jwks"]
        {
            assert!(matches!(jwks(url), Ok(KeySource::JwksUrl(_))), "{url}");
        }
        assert!(matches!(jwks("keys/jwks.json"), Ok(KeySource::JwksFile(_))));
    }

    #[test]
    fn a_secret_is_not_shown() {
        let source = KeySource::Secret("hush-hush".parse().unwrap());
        assert!(!format!("{source:?} {source}").contains("hush"));
        let source = jwks("http://kim:hush@localhost:8080/jwks?hush", None, "X_AUTH").unwrap();
        assert_eq!(source.to_string(), "http://localhost:8080/jwks");
        let jwks = Some("http://kim:hush@issuer.example/jwks".to_owned());
        let error = chosen(&Given { jwks, ..given(Some(AuthMode::Jwt)) }, "127.0.0.1:1").unwrap_err();
        assert!(error.contains("X_AUTH_JWKS") && !error.contains("hush"), "{error}");
    }
}
