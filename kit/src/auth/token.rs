//! What a token says, and what is wrong with it.

use std::ops::RangeInclusive;
use std::time::Duration;

use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use serde_json::Value;
use uuid::Uuid;

use super::keys::{Keys, NoKey};
use super::permission::{Identity, Role};

/// Longest token. One with many claims has 2 KiB.
pub const TOKEN_BYTES_MAX: usize = 8_192;
/// Longest `sub`, in bytes.
const SUBJECT_BYTES_MAX: usize = 255;

/// What a token must say.
#[derive(Debug, Clone)]
pub struct Rules {
    pub issuer: String,
    pub audience: String,
    /// How far the issuer's clock may be from ours.
    pub leeway: Duration,
    /// Where the roles are: a claim, or a path of claims separated by dots. A list of names, or one text with spaces between them.
    pub roles_claim: String,
    /// Where a customer's id is, likewise.
    pub customer_claim: String,
}

/// A token that was good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Checked {
    pub(super) identity: Identity,
    /// The seconds since 1970 in which it is.
    pub(super) good: RangeInclusive<u64>,
}

/// What is wrong with a token. Told to whoever sent it: nothing here is secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Defect {
    #[error("the token is longer than {TOKEN_BYTES_MAX} bytes")]
    Oversized,
    #[error("the token is no JSON Web Token signed by RS256, ES256, EdDSA or HS256")]
    Unreadable,
    #[error("the token's algorithm does not fit the key")]
    OtherAlgorithm,
    #[error("the token's key is not known")]
    UnknownKey,
    #[error("the token's signature is wrong")]
    Signature,
    #[error("the token has expired")]
    Expired,
    #[error("the token is not valid yet")]
    NotYetValid,
    #[error("the token is of another issuer")]
    OtherIssuer,
    #[error("the token is for another audience")]
    OtherAudience,
    #[error("the token's claim {0} is missing or malformed")]
    Claim(String),
}

impl Rules {
    /// Who sent this token.
    ///
    /// # Errors
    /// The first thing that is wrong with it. What it claims is looked at only when its signature is right.
    pub(super) fn check(&self, token: &str, keys: &Keys) -> Result<Checked, Defect> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Defect::Oversized);
        }
        let header = decode_header(token).map_err(|_| Defect::Unreadable)?;
        // Extensions that must be understood: none is.
        if header.crit.is_some() {
            return Err(Defect::Unreadable);
        }
        let key = keys.find(&header).map_err(|none| match none {
            NoKey::Unknown => Defect::UnknownKey,
            NoKey::OtherAlgorithm => Defect::OtherAlgorithm,
        })?;
        let validation = self.validation(key.algorithm);
        let token = decode::<Value>(token, &key.decoding, &validation).map_err(|error| defect(&error))?;
        let good = self.good(&token.claims);
        let ends_at = good.end().saturating_add(1);
        Ok(Checked { identity: self.identity(&token.claims, ends_at)?, good })
    }

    fn validation(&self, algorithm: Algorithm) -> Validation {
        let mut validation = Validation::new(algorithm);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[&self.audience]);
        validation.validate_nbf = true;
        validation.leeway = self.leeway.as_secs();
        validation
    }

    /// The seconds since 1970 in which the claims hold.
    fn good(&self, claims: &Value) -> RangeInclusive<u64> {
        let leeway = self.leeway.as_secs();
        let begin = claims["nbf"].as_f64().map_or(0, |seconds| seconds.round() as u64);
        let end = claims["exp"].as_f64().map_or(0, |seconds| seconds.round() as u64);
        begin.saturating_sub(leeway)..=end.saturating_add(leeway)
    }

    /// Who the claims are about, once they are known to be the issuer's.
    fn identity(&self, claims: &Value, ends_at: u64) -> Result<Identity, Defect> {
        let malformed = |claim: &str| Defect::Claim(claim.to_owned());
        let subject = claims["sub"].as_str().filter(|of| (1..=SUBJECT_BYTES_MAX).contains(&of.len()));
        let subject = subject.ok_or_else(|| malformed("sub"))?.to_owned();
        // A list would be good for several issuers at once, which RFC 7519 does not have.
        if !claims["iss"].is_string() {
            return Err(malformed("iss"));
        }
        let roles: Vec<&str> = match claim(claims, &self.roles_claim) {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::String(text)) => text.split_whitespace().collect(),
            Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
            Some(_) => return Err(malformed(&self.roles_claim)),
        };
        let roles: Vec<Role> = roles.into_iter().filter_map(Role::of).collect();
        let customer_id = claim(claims, &self.customer_claim).and_then(Value::as_str);
        let customer_id = customer_id.and_then(|id| Uuid::parse_str(id).ok());
        if roles.contains(&Role::Customer) && customer_id.is_none() {
            return Err(malformed(&self.customer_claim));
        }
        Ok(Identity { subject, roles, customer_id, ends_at })
    }
}

/// The claim of this name; if there is none, the one at this path.
fn claim<'a>(claims: &'a Value, name: &str) -> Option<&'a Value> {
    claims.get(name).or_else(|| name.split('.').try_fold(claims, |inside, part| inside.get(part)))
}

fn defect(error: &Error) -> Defect {
    match error.kind() {
        ErrorKind::ExpiredSignature => Defect::Expired,
        ErrorKind::ImmatureSignature => Defect::NotYetValid,
        ErrorKind::InvalidIssuer => Defect::OtherIssuer,
        ErrorKind::InvalidAudience => Defect::OtherAudience,
        ErrorKind::MissingRequiredClaim(claim) | ErrorKind::InvalidClaimFormat(claim) => {
            Defect::Claim(claim.clone())
        }
        ErrorKind::InvalidAlgorithm => Defect::OtherAlgorithm,
        ErrorKind::InvalidSignature | ErrorKind::Base64(_) => Defect::Signature,
        _ => Defect::Unreadable,
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{EncodingKey, Header, encode, get_current_timestamp};
    use serde_json::json;

    use super::*;

    const SECRET: [u8; 32] = [7; 32];

    fn rules() -> Rules {
        Rules {
            issuer: "https://issuer.example".to_owned(),
            audience: "orders".to_owned(),
            leeway: Duration::from_secs(30),
            roles_claim: "roles".to_owned(),
            customer_claim: "sub".to_owned(),
        }
    }

    /// Good claims, with some of them changed; `null` takes one away.
    fn claims(changes: &Value) -> Value {
        let mut claims = json!({
            "iss": "https://issuer.example", "aud": "orders", "sub": Uuid::from_u128(1).to_string(),
            "exp": get_current_timestamp() + 600, "roles": ["customer"],
        });
        for (name, value) in changes.as_object().into_iter().flatten() {
            claims[name] = value.clone();
        }
        claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        claims
    }

    fn asked(rules: &Rules, changes: &Value) -> Result<Identity, Defect> {
        let token = encode(&Header::default(), &claims(changes), &EncodingKey::from_secret(&SECRET)).unwrap();
        rules.check(&token, &Keys::of_secret(&SECRET).unwrap()).map(|checked| checked.identity)
    }

    #[test]
    fn a_good_token_says_who_asks() {
        let id = Uuid::from_u128(1);
        let expected = Identity {
            subject: id.to_string(),
            roles: vec![Role::Customer],
            customer_id: Some(id),
            ends_at: 4_000_000_031,
        };
        assert_eq!(asked(&rules(), &json!({ "exp": 4_000_000_000_u64 })), Ok(expected));
    }

    #[test]
    fn each_defect_is_told_apart() {
        let now = get_current_timestamp();
        let claim = |name: &str| Defect::Claim(name.to_owned());
        let table = [
            (json!({ "exp": now - 31 }), Defect::Expired),
            (json!({ "nbf": now + 60 }), Defect::NotYetValid),
            (json!({ "iss": "https://other.example" }), Defect::OtherIssuer),
            (json!({ "iss": ["https://issuer.example"] }), claim("iss")),
            (json!({ "aud": "bonus" }), Defect::OtherAudience),
            (json!({ "aud": ["bonus"] }), Defect::OtherAudience),
            (json!({ "exp": null }), claim("exp")),
            (json!({ "exp": "soon" }), claim("exp")),
            (json!({ "nbf": "now" }), claim("nbf")),
            (json!({ "iss": null }), claim("iss")),
            (json!({ "aud": null }), claim("aud")),
            (json!({ "sub": null }), claim("sub")),
            (json!({ "sub": "" }), claim("sub")),
            (json!({ "sub": "s".repeat(256) }), claim("sub")),
            (json!({ "sub": "kim" }), claim("sub")),
            (json!({ "roles": 7 }), claim("roles")),
        ];
        for (changes, expected) in table {
            assert_eq!(asked(&rules(), &changes), Err(expected), "{changes}");
        }
    }

    #[test]
    fn what_is_not_wrong_is_taken() {
        let now = get_current_timestamp();
        for fine in [
            json!({ "exp": now - 10 }),
            json!({ "nbf": now + 10 }),
            json!({ "aud": ["bonus", "orders"] }),
            json!({ "sub": "kim", "roles": ["operator"] }),
            json!({ "sub": "kim", "roles": null }),
        ] {
            assert!(asked(&rules(), &fine).is_ok(), "{fine}");
        }
    }

    #[test]
    fn a_token_is_good_from_its_begin_to_its_end_with_the_leeway() {
        let claims = json!({ "nbf": 1_000, "exp": 2_000 });
        assert_eq!(rules().good(&claims), 970..=2_030);
        assert_eq!(rules().good(&json!({ "exp": 2_000 })), 0..=2_030);
    }

    #[test]
    fn roles_and_customer_are_where_the_settings_say() {
        let elsewhere = Rules {
            roles_claim: "realm_access.roles".to_owned(),
            customer_claim: "https://shop.example/customer".to_owned(),
            ..rules()
        };
        let id = Uuid::from_u128(2);
        let who = asked(
            &elsewhere,
            &json!({ "sub": "kim", "realm_access": { "roles": ["customer", "uma"] }, "https://shop.example/customer": id }),
        )
        .unwrap();
        assert_eq!(
            (who.subject.as_str(), who.roles, who.customer_id),
            ("kim", vec![Role::Customer], Some(id))
        );
        let text = asked(&rules(), &json!({ "sub": "kim", "roles": "operator  admin other" })).unwrap();
        assert_eq!(text.roles, [Role::Operator, Role::Admin]);
    }

    #[test]
    fn a_token_that_is_none_is_refused_before_its_claims() {
        let keys = Keys::of_secret(&SECRET).unwrap();
        let good =
            encode(&Header::default(), &claims(&json!({})), &EncodingKey::from_secret(&SECRET)).unwrap();
        let other =
            encode(&Header::default(), &claims(&json!({ "exp": 1 })), &EncodingKey::from_secret(&[8; 32]));
        let (head, rest) = good.split_once('.').unwrap();
        let (payload, signature) = rest.split_once('.').unwrap();
        // {"alg":"none"}, and {"alg":"HS256","crit":["b64"]}.
        let none = "eyJhbGciOiJub25lIn0";
        let crit = "eyJhbGciOiJIUzI1NiIsImNyaXQiOlsiYjY0Il19";
        for (token, expected) in [
            ("x".repeat(TOKEN_BYTES_MAX + 1), Defect::Oversized),
            ("garbage".to_owned(), Defect::Unreadable),
            (String::new(), Defect::Unreadable),
            (format!("{none}.{payload}."), Defect::Unreadable),
            (format!("{crit}.{payload}.{signature}"), Defect::Unreadable),
            (other.unwrap(), Defect::Signature),
            (format!("{head}.{payload}."), Defect::Signature),
            (format!("{head}.{payload}.?"), Defect::Signature),
            (format!("{head}.{}.{signature}", &payload[..payload.len() - 4]), Defect::Signature),
        ] {
            assert_eq!(rules().check(&token, &keys), Err(expected), "{token:.60}");
        }
    }
}
