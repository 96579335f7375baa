//! Whoever signs tokens.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use ed25519_dalek::pkcs8::{EncodePrivateKey, KeypairBytes};
pub use jsonwebtoken::Algorithm;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{EncodingKey, Header, encode};
use rand_core::{OsRng, RngCore};
use rsa::pkcs1::EncodeRsaPrivateKey;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::certificates;
use crate::servers::ServiceSettings;

pub const ISSUER: &str = "https://issuer.example";
pub const AUDIENCE: &str = "orders";
const RSA_BITS: usize = 2_048;
const LIFETIME_SECONDS: u64 = 3_600;
/// As long as certificates.
const LASTING_SECONDS: u64 = 365 * 24 * 3_600;

/// A key of each algorithm. The id of each is its algorithm's name and a mark of the issuer.
pub struct Issuer {
    mark: String,
    keys: Vec<(Algorithm, EncodingKey)>,
}

impl Issuer {
    pub fn new() -> Result<Self> {
        let rsa = rsa::RsaPrivateKey::new(&mut OsRng, RSA_BITS)?.to_pkcs1_der()?;
        let ec = p256::SecretKey::random(&mut OsRng).to_pkcs8_der()?;
        let mut issuer = Self::of_ed25519()?;
        issuer.keys.push((Algorithm::RS256, EncodingKey::from_rsa_der(rsa.as_bytes())));
        issuer.keys.push((Algorithm::ES256, EncodingKey::from_ec_der(ec.as_bytes())));
        Ok(issuer)
    }

    /// With the one key that is made in no time.
    pub fn of_ed25519() -> Result<Self> {
        Ok(Self::of(&random_key()?, Uuid::new_v4().to_string()))
    }

    /// The one whose key is in this file, which is made if it is not there.
    pub fn kept(file: &Path) -> Result<Self> {
        if !file.exists() {
            certificates::write(file, random_key()?)?;
        }
        let key = std::fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?;
        Ok(Self::of(&key, "kept".to_owned()))
    }

    fn of(key: &[u8], mark: String) -> Self {
        Self { mark, keys: vec![(Algorithm::EdDSA, EncodingKey::from_ed_der(key))] }
    }

    /// What a service checks the tokens with.
    pub fn jwks(&self) -> Result<Value> {
        let public = |(algorithm, key): &(Algorithm, EncodingKey)| {
            let mut jwk = Jwk::from_encoding_key(key, *algorithm)?;
            jwk.common.key_id = Some(self.kid(*algorithm));
            anyhow::Ok(jwk)
        };
        Ok(json!({ "keys": self.keys.iter().map(public).collect::<Result<Vec<_>>>()? }))
    }

    /// The file that the set is written to.
    pub const JWKS: &'static str = "jwks.json";

    /// Writes the set into a folder.
    pub fn publish(&self, folder: &Path) -> Result<PathBuf> {
        let path = folder.join(Self::JWKS);
        std::fs::write(&path, self.jwks()?.to_string())?;
        Ok(path)
    }

    /// Makes a service ask for tokens of this issuer, as often as a caller likes. `prefix` is that of its settings.
    pub fn required(
        &self,
        settings: ServiceSettings,
        prefix: &str,
        folder: &Path,
    ) -> Result<ServiceSettings> {
        let settings = Self::required_by(&self.publish(folder)?, settings, prefix);
        // Tests that are about it set it.
        Ok(settings.with(&format!("{prefix}_RATE_LIMIT_PER_SECOND"), "0"))
    }

    /// Makes a service ask for tokens that are signed with the keys of this file.
    pub(crate) fn required_by(jwks: &Path, settings: ServiceSettings, prefix: &str) -> ServiceSettings {
        settings
            .with(&format!("{prefix}_AUTH"), "jwt")
            .with(&format!("{prefix}_AUTH_JWKS"), jwks.display().to_string())
            .with(&format!("{prefix}_AUTH_ISSUER"), ISSUER)
            .with(&format!("{prefix}_AUTH_AUDIENCE"), AUDIENCE)
    }

    pub fn kid(&self, algorithm: Algorithm) -> String {
        format!("{algorithm:?}-{}", self.mark)
    }

    /// Claims that are good, of a caller with these roles.
    pub fn claims(subject: &str, roles: &[&str]) -> Value {
        json!({ "iss": ISSUER, "aud": AUDIENCE, "sub": subject, "exp": now() + LIFETIME_SECONDS, "roles": roles })
    }

    pub fn sign(&self, algorithm: Algorithm, claims: &Value) -> Result<String> {
        let header = Header { kid: Some(self.kid(algorithm)), ..Header::new(algorithm) };
        self.sign_with(&header, claims)
    }

    /// With whatever header; the key is the one of its algorithm.
    pub fn sign_with(&self, header: &Header, claims: &Value) -> Result<String> {
        let key = self.keys.iter().find(|(algorithm, _)| *algorithm == header.alg);
        let (_, key) = key.with_context(|| format!("no key for {:?}", header.alg))?;
        Ok(encode(header, claims, key)?)
    }

    /// A good token.
    pub fn token(&self, subject: &str, roles: &[&str]) -> Result<String> {
        self.sign(Algorithm::EdDSA, &Self::claims(subject, roles))
    }

    /// One that is good for a year.
    pub(crate) fn lasting_token(&self, subject: &str, roles: &[&str]) -> Result<String> {
        let mut claims = Self::claims(subject, roles);
        claims["exp"] = json!(now() + LASTING_SECONDS);
        self.sign(Algorithm::EdDSA, &claims)
    }
}

/// Of Ed25519, by PKCS 8.
fn random_key() -> Result<Vec<u8>> {
    let mut seed = [0; 32];
    OsRng.fill_bytes(&mut seed);
    // Without the public key, which jsonwebtoken does not expect there.
    let key = KeypairBytes { secret_key: seed, public_key: None }.to_pkcs8_der()?;
    Ok(key.as_bytes().to_vec())
}

pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
