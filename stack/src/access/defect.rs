//! Tokens that have to be refused.

use anyhow::Result;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::issuer::{Issuer, now};

/// Beyond any leeway.
const FAR_SECONDS: u64 = 3_600;
/// `{"alg":"none"}` in base64. No library signs so.
const HEADER_NONE: &str = "eyJhbGciOiJub25lIn0";

/// A token with one thing wrong.
pub struct DefectiveToken {
    pub name: &'static str,
    /// `None`: there is none.
    pub token: Option<String>,
    /// The kind of problem that is answered.
    pub problem: &'static str,
    /// What its detail says.
    pub says: &'static str,
}

/// Every defect, in a token that would be good for these roles.
pub fn defects(issuer: &Issuer, subject: &str, roles: &[&str]) -> Result<Vec<DefectiveToken>> {
    let claims = Issuer::claims(subject, roles);
    let with = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        issuer.sign(Algorithm::EdDSA, &claims)
    };
    let stranger = Issuer::of_ed25519()?;
    let ed = || Header { kid: Some(issuer.kid(Algorithm::EdDSA)), ..Header::new(Algorithm::EdDSA) };
    let named = |algorithm| Header { alg: algorithm, ..ed() };
    let good = issuer.token(subject, roles)?;
    let public = issuer.jwks()?["keys"][0]["x"].as_str().unwrap_or_default().to_owned();
    let by_public_key =
        encode(&named(Algorithm::HS256), &claims, &EncodingKey::from_base64_secret(&padded(&public))?)?;
    let (signed, _) = good.rsplit_once('.').unwrap_or_default();
    let (_, payload) = signed.split_once('.').unwrap_or_default();
    let of = |name, token: String, says| DefectiveToken {
        name,
        token: Some(token),
        problem: "invalid-token",
        says,
    };
    Ok(vec![
        DefectiveToken { name: "missing", token: None, problem: "missing-token", says: "send a token" },
        of("expired", with("exp", json!(now() - FAR_SECONDS))?, "has expired"),
        of("not yet valid", with("nbf", json!(now() + FAR_SECONDS))?, "is not valid yet"),
        of("wrong issuer", with("iss", json!("https://other.example"))?, "of another issuer"),
        of("wrong audience", with("aud", json!("accounting"))?, "for another audience"),
        of("no expiry", with("exp", Value::Null)?, "claim exp is missing"),
        of("none", format!("{HEADER_NONE}.{payload}."), "no JSON Web Token signed by"),
        // The header names the Ed25519 key, and the signature is an RSA key's.
        of("wrong algorithm", issuer.sign_with(&named(Algorithm::RS256), &claims)?, "does not fit the key"),
        of("signed by HS256 with the public key", by_public_key, "does not fit the key"),
        of("unknown key", stranger.token(subject, roles)?, "key is not known"),
        of("another key's signature", stranger.sign_with(&ed(), &claims)?, "signature is wrong"),
        of("no signature", format!("{signed}."), "signature is wrong"),
        of("oversized", with("more", json!("x".repeat(8_192)))?, "longer than 8192 bytes"),
        of("garbage", "garbage".to_owned(), "no JSON Web Token signed by"),
    ])
}

/// From the alphabet of URLs to the usual one.
fn padded(text: &str) -> String {
    let usual = text.replace('-', "+").replace('_', "/");
    let missing = (4 - usual.len() % 4) % 4;
    usual + &"=".repeat(missing)
}
