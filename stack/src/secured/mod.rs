//! What `SECURE=1` gives a stack: an authority of its own, by which every link is encrypted and every server verified; logins to Redis and
//! Kafka; tokens, which both services ask for; an address for operators. Made once for a stack, below its directory, and kept with it.
//! Nothing outside this machine trusts any of it.

#[cfg(feature = "kafka")]
mod brokers;
mod callers;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use uuid::Uuid;

pub(crate) use self::callers::Callers;
use crate::access::Issuer;
use crate::certificates::{self, Authority, Identity, THIS_MACHINE, Validity};
use crate::servers::{Encryption, Redis, RedisUser, ServiceSettings};

const POSTGRES: &str = "postgres";
const REDIS: &str = "redis";
const KAFKA: &str = "kafka";
/// Both services'.
const SERVICES: &str = "services";
/// Who the brokers are to each other.
const BROKERS: &str = "brokers";
/// Whose token `customer.token` is.
pub(crate) const CUSTOMER: Uuid = Uuid::from_u128(0x0c05_7000_0000_4000_8000_0000_0000_0001);
/// Redis takes any character in a password; these have a meaning in URLs.
const AWKWARD: &str = "@:/?#%&+";

/// Names files; opens none but the issuer's key.
pub(crate) struct Secured {
    directory: PathBuf,
    issuer: Arc<Issuer>,
}

impl Secured {
    /// What a stack in this directory has. It is made if it is not there.
    pub(crate) fn at(stack: &Path) -> Result<Self> {
        let directory = stack.join("secure");
        if !directory.exists() {
            // Under another name, so that one which was cut short is never taken for a whole one.
            let draft = stack.join("secure.new");
            if draft.exists() {
                fs::remove_dir_all(&draft)?;
            }
            make(&draft)?;
            fs::rename(draft, &directory)?;
        }
        let directory = fs::canonicalize(directory)?;
        let issuer = Arc::new(Issuer::kept(&directory.join("issuer.key"))?);
        Ok(Self { directory, issuer })
    }

    /// The authority's certificate.
    pub(crate) fn authority(&self) -> PathBuf {
        self.directory.join(certificates::AUTHORITY)
    }

    /// A token of this role, which is good as long as the certificates are. That of a customer is [`CUSTOMER`]'s.
    pub(crate) fn token(&self, role: &str) -> PathBuf {
        self.directory.join(format!("{role}.token"))
    }

    /// For `redis-cli`, and not on its command line.
    pub(crate) fn redis_password(&self) -> PathBuf {
        self.password_file(REDIS)
    }

    fn identity(&self, name: &str) -> Identity {
        let file = |extension: &str| self.directory.join(format!("{name}.{extension}"));
        Identity { certificate: file("pem"), key: file("key") }
    }

    fn password_file(&self, of: &str) -> PathBuf {
        self.directory.join(format!("{of}.password"))
    }

    fn password(&self, of: &str) -> Result<String> {
        let file = self.password_file(of);
        fs::read_to_string(&file).with_context(|| format!("{} cannot be read", file.display()))
    }

    fn encryption(&self, name: &str) -> Encryption {
        Encryption { server: self.identity(name), authority: self.authority(), client: None }
    }

    pub(crate) fn postgres(&self) -> Encryption {
        self.encryption(POSTGRES)
    }

    pub(crate) fn redis(&self) -> Result<(Encryption, RedisUser)> {
        let user = RedisUser { name: SERVICES.to_owned(), password: self.password(REDIS)? };
        Ok((self.encryption(REDIS), user))
    }

    /// Served by TLS, with tokens asked for. `prefix` is that of the service's settings.
    pub(crate) fn service(&self, settings: ServiceSettings, prefix: &str) -> ServiceSettings {
        let file = |file: &Path| file.display().to_string();
        let settings = settings.encrypted(prefix, &self.identity(SERVICES));
        let settings = Issuer::required_by(&self.directory.join(Issuer::JWKS), settings, prefix);
        if prefix == "ORDERS" {
            // How the control room asks the bonus service.
            return settings
                .with("BONUS_CA_FILE", file(&self.authority()))
                .with("BONUS_TOKEN_FILE", file(&self.token("operator")));
        }
        settings
    }

    /// What lets clients in to such services.
    pub(crate) fn callers(&self) -> Result<Callers> {
        Callers::new(&self.authority(), Arc::clone(&self.issuer))
    }
}

/// What a client needs to command `redis` by `redis-cli`, if it is secured.
pub(crate) fn redis_cli(redis: &Redis, secured: Option<&Secured>) -> String {
    let Some(secured) = secured else { return format!("redis-cli -p {}", redis.port()) };
    format!(
        "REDISCLI_AUTH=$(cat {}) redis-cli --tls --cacert {} --user {SERVICES} -p {}",
        secured.redis_password().display(),
        secured.authority().display(),
        redis.port()
    )
}

fn make(directory: &Path) -> Result<()> {
    let authority = Authority::new(directory)?;
    for name in [POSTGRES, REDIS, KAFKA, SERVICES] {
        authority.server(name, &THIS_MACHINE, Validity::Valid)?;
    }
    let password = |of: &str, end: &str| {
        let password = format!("{}{end}", Uuid::new_v4().simple());
        certificates::write(&directory.join(format!("{of}.password")), password)
    };
    password(REDIS, AWKWARD)?;
    for login in [BROKERS, SERVICES] {
        password(login, "")?;
    }
    let issuer = Issuer::kept(&directory.join("issuer.key"))?;
    issuer.publish(directory)?;
    let customer = CUSTOMER.to_string();
    for (subject, role) in
        [(customer.as_str(), "customer"), ("an-operator", "operator"), ("an-admin", "admin")]
    {
        let token = issuer.lasting_token(subject, &[role])?;
        certificates::write(&directory.join(format!("{role}.token")), token)?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_is_kept() {
        let stack = tempfile::tempdir().unwrap();
        let first = Secured::at(stack.path()).unwrap();
        let again = Secured::at(stack.path()).unwrap();
        assert_eq!(first.issuer.jwks().unwrap(), again.issuer.jwks().unwrap());
        assert_eq!(first.password(REDIS).unwrap(), again.password(REDIS).unwrap());
        assert!(first.identity(KAFKA).key.exists() && first.token("admin").exists());
    }

    /// Nobody else on the machine may read a key, a password or a token.
    #[test]
    fn secrets_are_the_owner_s_alone() {
        use std::os::unix::fs::PermissionsExt;
        let stack = tempfile::tempdir().unwrap();
        let secured = Secured::at(stack.path()).unwrap();
        let secret = ["key", "password", "token"];
        let files = fs::read_dir(&secured.directory).unwrap().map(|entry| entry.unwrap().path());
        let secrets: Vec<_> =
            files.filter(|file| secret.iter().any(|end| file.extension().unwrap() == *end)).collect();
        assert!(secrets.len() > 8, "{secrets:?}");
        for file in secrets {
            let mode = fs::metadata(&file).unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{}", file.display());
        }
    }
}
