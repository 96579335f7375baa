//! The keys that may sign tokens: those of a JWKS, or one secret. Each key has one algorithm.

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind, Header};
use serde::Deserialize;
use serde_json::Value;

/// A shorter secret can be guessed from one token, without asking the service.
pub const SECRET_BYTES_MIN: usize = 32;
/// Shorter RSA keys count as broken.
const RSA_BYTES_MIN: usize = 256;

/// Keys that tokens are checked with.
#[derive(Debug)]
pub struct Keys(Vec<Key>);

#[derive(Debug)]
pub(super) struct Key {
    id: Option<String>,
    pub(super) algorithm: Algorithm,
    pub(super) decoding: DecodingKey,
}

#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    #[error("it is no JSON Web Key Set: {0}")]
    Unreadable(#[from] serde_json::Error),
    #[error(
        "none of its {0} keys can be used; needed is one for RS256 (of 2,048 bits or more), ES256 or EdDSA (Ed25519), for signatures"
    )]
    Empty(usize),
    #[error("the secret has {0} bytes; at least {SECRET_BYTES_MIN} are needed")]
    ShortSecret(usize),
}

/// Which key a token asks for is none of these, or not for the token's algorithm.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoKey {
    Unknown,
    OtherAlgorithm,
}

impl Keys {
    /// The public keys of a JSON Web Key Set. A key that cannot be used is left out, as RFC 7517 asks: an issuer has others too.
    ///
    /// # Errors
    /// When none can be used.
    pub fn of_jwks(text: &[u8]) -> Result<Self, KeysError> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<Value>,
        }
        let Set { keys } = serde_json::from_slice(text)?;
        let total = keys.len();
        let usable: Vec<Key> = keys.into_iter().filter_map(Key::of).collect();
        if usable.is_empty() { Err(KeysError::Empty(total)) } else { Ok(Self(usable)) }
    }

    /// # Errors
    /// When the secret is too short.
    pub fn of_secret(secret: &[u8]) -> Result<Self, KeysError> {
        if secret.len() < SECRET_BYTES_MIN {
            return Err(KeysError::ShortSecret(secret.len()));
        }
        let decoding = DecodingKey::from_secret(secret);
        Ok(Self(vec![Key { id: None, algorithm: Algorithm::HS256, decoding }]))
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The key that a token's header names. A token or a key without an id is found by its algorithm, if only one key has that.
    pub(super) fn find(&self, header: &Header) -> Result<&Key, NoKey> {
        // Keys of different types may have the same id.
        let named = || self.0.iter().filter(|key| key.id.is_some() && key.id == header.kid);
        if named().next().is_some() {
            return named().find(|key| key.algorithm == header.alg).ok_or(NoKey::OtherAlgorithm);
        }
        let nameless = |key: &&Key| header.kid.is_none() || key.id.is_none();
        let mut of_algorithm = self.0.iter().filter(nameless).filter(|key| key.algorithm == header.alg);
        match (of_algorithm.next(), of_algorithm.next()) {
            (Some(key), None) => Ok(key),
            (None, _) if self.0.iter().all(|key| key.algorithm != header.alg) => Err(NoKey::OtherAlgorithm),
            _ => Err(NoKey::Unknown),
        }
    }
}

impl Key {
    fn of(value: Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(value).ok()?;
        let for_signatures = matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature));
        let operations = jwk.common.key_operations.as_ref();
        let verifies = operations.is_none_or(|all| all.contains(&KeyOperations::Verify));
        let algorithm = match (&jwk.algorithm, jwk.common.key_algorithm) {
            (AlgorithmParameters::RSA(_), None | Some(KeyAlgorithm::RS256)) => Algorithm::RS256,
            (AlgorithmParameters::EllipticCurve(of), None | Some(KeyAlgorithm::ES256))
                if of.curve == EllipticCurve::P256 =>
            {
                Algorithm::ES256
            }
            (AlgorithmParameters::OctetKeyPair(of), None | Some(KeyAlgorithm::EdDSA))
                if of.curve == EllipticCurve::Ed25519 =>
            {
                Algorithm::EdDSA
            }
            // A secret does not belong into a set of public keys.
            _ => return None,
        };
        let decoding = DecodingKey::from_jwk(&jwk).ok()?;
        let long_enough = match decoding.kind() {
            DecodingKeyKind::RsaModulusExponent { n, .. } => {
                n.iter().skip_while(|byte| **byte == 0).count() >= RSA_BYTES_MIN
            }
            DecodingKeyKind::SecretOrDer(_) => true,
        };
        let usable = for_signatures && verifies && long_enough;
        usable.then_some(Self { id: jwk.common.key_id, algorithm, decoding })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

    fn ed(more: &Value) -> Value {
        let mut key = json!({ "kty": "OKP", "crv": "Ed25519", "x": X });
        for (name, value) in more.as_object().into_iter().flatten() {
            key[name] = value.clone();
        }
        key
    }

    fn set(keys: &[Value]) -> Result<Keys, KeysError> {
        Keys::of_jwks(json!({ "keys": keys }).to_string().as_bytes())
    }

    fn header(algorithm: Algorithm, kid: Option<&str>) -> Header {
        Header { kid: kid.map(str::to_owned), ..Header::new(algorithm) }
    }

    #[test]
    fn what_cannot_sign_for_us_is_left_out() {
        let good = ed(&json!({ "kid": "a", "use": "sig", "alg": "EdDSA", "key_ops": ["verify"] }));
        let rsa = |bytes: usize| json!({ "kty": "RSA", "e": "AQAB", "n": "_".repeat(bytes * 4 / 3) });
        assert_eq!(set(std::slice::from_ref(&good)).unwrap().count(), 1);
        assert_eq!(set(&[rsa(258)]).unwrap().count(), 1);
        for useless in [
            ed(&json!({ "use": "enc" })),
            ed(&json!({ "key_ops": ["sign"] })),
            ed(&json!({ "alg": "RS256" })),
            ed(&json!({ "crv": "X25519" })),
            ed(&json!({ "x": "?" })),
            rsa(128),
            json!({ "kty": "RSA", "e": "AQAB", "n": "_".repeat(344), "alg": "PS256" }),
            json!({ "kty": "EC", "crv": "P-384", "x": X, "y": X }),
            json!({ "kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA", "alg": "HS256" }),
            json!({ "kty": "new" }),
            json!("no key"),
        ] {
            assert!(matches!(set(std::slice::from_ref(&useless)), Err(KeysError::Empty(1))), "{useless}");
            assert_eq!(set(&[useless, good.clone()]).unwrap().count(), 1);
        }
        assert!(matches!(set(&[]), Err(KeysError::Empty(0))));
        assert!(matches!(Keys::of_jwks(b"<html>"), Err(KeysError::Unreadable(_))));
    }

    #[test]
    fn a_short_secret_is_refused() {
        assert!(matches!(Keys::of_secret(&[7; 31]), Err(KeysError::ShortSecret(31))));
        assert_eq!(Keys::of_secret(&[7; 32]).unwrap().count(), 1);
    }

    #[test]
    fn a_key_is_found_by_its_id_and_has_one_algorithm() {
        use Algorithm::{EdDSA, HS256, RS256};
        let named = set(&[ed(&json!({ "kid": "a" })), ed(&json!({ "kid": "b" }))]).unwrap();
        let one = set(&[ed(&json!({ "kid": "a" }))]).unwrap();
        let nameless = set(&[ed(&json!({}))]).unwrap();
        let secret = Keys::of_secret(&[7; 32]).unwrap();
        let rsa = json!({ "kty": "RSA", "e": "AQAB", "n": "_".repeat(344), "kid": "a" });
        let shared = set(&[rsa, ed(&json!({ "kid": "a" }))]).unwrap();
        let table = [
            (&shared, RS256, Some("a"), Ok(RS256)),
            (&shared, EdDSA, Some("a"), Ok(EdDSA)),
            (&shared, HS256, Some("a"), Err(NoKey::OtherAlgorithm)),
            (&named, EdDSA, Some("a"), Ok(EdDSA)),
            (&named, EdDSA, Some("c"), Err(NoKey::Unknown)),
            (&named, EdDSA, None, Err(NoKey::Unknown)),
            (&named, HS256, Some("a"), Err(NoKey::OtherAlgorithm)),
            (&named, RS256, None, Err(NoKey::OtherAlgorithm)),
            (&one, EdDSA, None, Ok(EdDSA)),
            (&one, EdDSA, Some("b"), Err(NoKey::Unknown)),
            (&nameless, EdDSA, Some("b"), Ok(EdDSA)),
            (&secret, HS256, None, Ok(HS256)),
            (&secret, HS256, Some("a"), Ok(HS256)),
            (&secret, EdDSA, None, Err(NoKey::OtherAlgorithm)),
        ];
        for (keys, algorithm, kid, expected) in table {
            let found = keys.find(&header(algorithm, kid)).map(|key| key.algorithm);
            assert_eq!(found, expected, "{algorithm:?} {kid:?} of {keys:?}");
        }
    }
}
