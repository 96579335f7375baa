//! How a URL protects the link, and why it was not made.
//!
//! `sslmode` is what libpq makes of it, with these differences:
//! - Where there is none, another machine is `verify-full`, and this one `prefer`.
//! - `allow` is refused: sqlx would never encrypt.
//! - What sqlx would leave out, and security rests on, is refused.
//! - With `sslrootcert` the system's authorities are trusted besides. So `verify-ca`, which looks at no name, counts as not verified.

use std::path::{Path, PathBuf};

use reqwest::Url;
use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};

use crate::tls::{self, Link, Protection, Settings, pem};

const EXAMPLE: &str =
    "a Postgres URL is needed, such as postgresql://user:password@host:5432/db?sslmode=verify-full";
/// libpq's, which sqlx leaves out.
const UNKNOWN: [&str; 9] = [
    "sslcrl",
    "sslcrldir",
    "sslpassword",
    "sslcertmode",
    "sslnegotiation",
    "ssl_min_protocol_version",
    "ssl_max_protocol_version",
    "require_auth",
    "requirepeer",
];
const SETTINGS: Settings<'static> = Settings {
    address: "DATABASE_URL",
    authority: "the file of sslrootcert in DATABASE_URL",
    identity: "sslcert and sslkey in DATABASE_URL",
};

/// Options of a URL. Reads no file.
pub fn options(url: &str) -> Result<PgConnectOptions, String> {
    // sqlx does not look at the scheme.
    if !url.starts_with("postgresql://") && !url.starts_with("postgres://") {
        return Err(EXAMPLE.to_owned());
    }
    let mut parsed = Url::parse(url).map_err(|error| format!("{EXAMPLE}: {error}"))?;
    let pairs: Vec<(String, String)> = parsed.query_pairs().into_owned().collect();
    if let Some((name, _)) = pairs.iter().find(|(name, _)| UNKNOWN.contains(&name.as_str())) {
        return Err(format!("{name} is not known here: take it out"));
    }
    if pairs.iter().any(|(name, value)| name == "channel_binding" && value == "require") {
        return Err("channel_binding=require is not known here: take it out, and write sslmode=verify-full"
            .to_owned());
    }
    // libpq's word for the system's authorities, which sqlx trusts anyway.
    let is_system = |(name, value): &(String, String)| name == "sslrootcert" && value == "system";
    let system = pairs.iter().any(is_system);
    if system {
        let kept = pairs.iter().filter(|pair| !is_system(pair));
        parsed.query_pairs_mut().clear().extend_pairs(kept);
    }
    let options: PgConnectOptions = parsed.as_str().parse().map_err(|error| format!("{EXAMPLE}: {error}"))?;
    let given = pairs.iter().any(|(name, _)| name == "sslmode" || name == "ssl-mode");
    let mode = match options.get_ssl_mode() {
        PgSslMode::Allow => {
            return Err("sslmode=allow would never encrypt: write prefer, or better verify-full".to_owned());
        }
        _ if system => PgSslMode::VerifyFull,
        PgSslMode::Prefer if !given && !is_local(&options) => PgSslMode::VerifyFull,
        PgSslMode::Require if Files::of(&options).authority.is_some() => PgSslMode::VerifyCa,
        mode => mode,
    };
    let files = Files::of(&options);
    if files.certificate.is_some() != files.key.is_some() {
        return Err("sslcert and sslkey need each other".to_owned());
    }
    Ok(options.ssl_mode(mode))
}

/// What the settings come to.
pub fn link(options: &PgConnectOptions, place: String) -> Link {
    let protection = match options.get_ssl_mode() {
        PgSslMode::VerifyFull => Protection::Verified,
        PgSslMode::VerifyCa | PgSslMode::Require => Protection::Encrypted,
        // Whoever is on the way can answer that there is no encryption.
        PgSslMode::Prefer | PgSslMode::Allow | PgSslMode::Disable => Protection::None,
    };
    Link {
        place,
        is_local: is_local(options),
        protection,
        setting: format!("sslmode={}", name(options.get_ssl_mode())),
        advice: "Write sslmode=verify-full into DATABASE_URL, and sslrootcert=FILE if the server's authority is none that the system trusts.",
    }
}

/// The same of a session: with `prefer` the server decides.
pub async fn link_of(connection: &mut PgConnection, link: Link) -> sqlx::Result<Link> {
    if link.protection != Protection::None {
        return Ok(link);
    }
    let ask = "SELECT coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false)";
    let is_encrypted: bool = sqlx::query_scalar(ask).fetch_one(connection).await?;
    Ok(if is_encrypted { Link { protection: Protection::Encrypted, ..link } } else { link })
}

/// What to do about a failure to connect, if it is one of encryption that no waiting mends.
pub(super) fn refusal(options: &PgConnectOptions, error: &sqlx::Error) -> Option<String> {
    let is_refused = tls::refusal(error, &SETTINGS);
    let is_tls = is_refused.is_some() || matches!(error, sqlx::Error::Tls(_) | sqlx::Error::Configuration(_));
    // sqlx reads its files when it connects, and says of a missing one nothing but that.
    if (is_tls || matches!(error, sqlx::Error::Io(_)))
        && let Err(error) = Files::of(options).check()
    {
        return Some(format!("DATABASE_URL: {error:#}"));
    }
    is_refused.or_else(|| match error {
        sqlx::Error::Tls(cause) if cause.to_string().contains("does not support TLS") => Some(format!(
            "the server does not speak TLS, and sslmode={} asks for it (what DATABASE_URL says, or without a word of it what another machine \
             is reached by): switch it on there (ssl = on), or write sslmode=disable where nobody else is in the network",
            name(options.get_ssl_mode())
        )),
        sqlx::Error::Tls(cause) => Some(format!("TLS failed: {cause}")),
        _ => None,
    })
}

/// What to do about an answer of the server.
pub(super) fn advice(error: &sqlx::Error) -> &'static str {
    let refused = error.as_database_error();
    let told = refused.map(|error| error.message()).unwrap_or_default();
    if refused.and_then(|error| error.code()).is_some_and(|code| code == "28P01") {
        ": check the user and the password in DATABASE_URL, and in the file of …_DATABASE_PASSWORD_FILE"
    } else if told.contains("no encryption") || told.contains("SSL off") {
        ": the server asks for TLS; write sslmode=verify-full into DATABASE_URL"
    } else if told.contains("valid client certificate") {
        ": set sslcert and sslkey in DATABASE_URL"
    } else {
        ""
    }
}

fn is_local(options: &PgConnectOptions) -> bool {
    let host = options.get_host();
    options.get_socket().is_some() || host.starts_with('/') || tls::is_loopback_host(host)
}

fn name(mode: PgSslMode) -> &'static str {
    match mode {
        PgSslMode::Disable => "disable",
        PgSslMode::Allow => "allow",
        PgSslMode::Prefer => "prefer",
        PgSslMode::Require => "require",
        PgSslMode::VerifyCa => "verify-ca",
        PgSslMode::VerifyFull => "verify-full",
    }
}

/// Those that the options name, wherever they have them from.
#[derive(Debug, Default)]
struct Files {
    authority: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
}

impl Files {
    /// sqlx tells them in a URL alone. It makes one of every user and host, and some give none.
    fn of(options: &PgConnectOptions) -> Self {
        let url = options.clone().username("user").host("localhost").to_url_lossy();
        let path = |wanted: &str| {
            let (_, value) = url.query_pairs().find(|(name, _)| name == wanted)?;
            value.strip_prefix("file: ").map(PathBuf::from)
        };
        Self { authority: path("sslrootcert"), certificate: path("sslcert"), key: path("sslkey") }
    }

    fn check(&self) -> anyhow::Result<()> {
        use anyhow::Context as _;
        if let Some(authority) = &self.authority {
            pem::authorities(authority).context("sslrootcert")?;
        }
        if let (Some(certificate), Some(key)) = (&self.certificate, &self.key) {
            let (certificate, key): (&Path, &Path) = (certificate, key);
            pem::identity(certificate, key).context("sslcert and sslkey")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(url: &str) -> &'static str {
        name(options(url).unwrap_or_else(|error| panic!("{url}: {error}")).get_ssl_mode())
    }

    #[test]
    fn another_machine_is_verified_unless_the_url_says_otherwise() {
        for (url, expected) in [
            ("postgresql://app@db.example/app", "verify-full"),
            ("postgresql://app@10.1.2.3/app", "verify-full"),
            ("postgresql://app@localhost/app", "prefer"),
            ("postgresql://app@127.0.0.1:5433/app", "prefer"),
            ("postgresql:///app?host=/var/run/postgresql", "prefer"),
            ("postgresql://app@db.example/app?sslmode=prefer", "prefer"),
            ("postgresql://app@db.example/app?sslmode=disable", "disable"),
            ("postgresql://app@db.example/app?sslmode=require", "require"),
            ("postgresql://app@db.example/app?sslmode=require&sslrootcert=/ca.pem", "verify-ca"),
            ("postgresql://app@db.example/app?sslmode=verify-ca", "verify-ca"),
            ("postgresql://app@localhost/app?sslmode=verify-full", "verify-full"),
            ("postgresql://app@localhost/app?sslrootcert=system", "verify-full"),
        ] {
            assert_eq!(mode(url), expected, "{url}");
        }
        let system = options("postgresql://app@db/app?sslrootcert=system&application_name=x").unwrap();
        assert!(Files::of(&system).authority.is_none());
    }

    #[test]
    fn what_would_be_left_out_is_refused() {
        for (query, reason) in [
            ("sslmode=allow", "never encrypt"),
            ("sslcrl=/crl.pem", "sslcrl is not known"),
            ("sslpassword=hush", "sslpassword is not known"),
            ("sslmode=verify-full&channel_binding=require", "channel_binding"),
            ("sslcert=/client.pem", "need each other"),
            ("sslkey=/client.key", "need each other"),
            ("sslmode=verify", "unknown value"),
        ] {
            let error = options(&format!("postgresql://app@db/app?{query}")).unwrap_err();
            assert!(error.contains(reason) && !error.contains("hush"), "{error}");
        }
    }

    #[test]
    fn only_a_verified_link_is_not_exposed_on_the_way_to_another_machine() {
        for (url, exposed) in [
            ("postgresql://app@db.example/app", false),
            ("postgresql://app@db.example/app?sslmode=verify-ca", true),
            ("postgresql://app@db.example/app?sslmode=prefer", true),
            ("postgresql://app@localhost/app", false),
        ] {
            let link = link(&options(url).unwrap(), "Postgres".to_owned());
            assert_eq!(link.is_exposed(), exposed, "{url}");
        }
    }

    #[test]
    fn the_files_of_every_user_are_found() {
        let query = "sslrootcert=/a%20b/ca.pem&sslcert=/c.pem&sslkey=/k.pem";
        for user in ["app", "a%2Fb%40c", "%5Bx"] {
            let options = options(&format!("postgresql://{user}:p@db/app?{query}")).unwrap();
            let files = Files::of(&options);
            assert_eq!(files.authority.as_deref(), Some(Path::new("/a b/ca.pem")));
            assert_eq!(files.key.as_deref(), Some(Path::new("/k.pem")));
        }
    }
}
