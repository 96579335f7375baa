//! Tokens for development, signed with the secret that the service checks them with.

use std::time::Duration;

use jsonwebtoken::{EncodingKey, Header, encode, get_current_timestamp};
use serde_json::json;

use super::permission::Role;
use super::token::Rules;

/// What a token is to say.
#[derive(Debug, Clone)]
pub struct Issued {
    pub subject: String,
    pub role: Role,
    pub lifetime: Duration,
}

/// A token that a service with these rules and this secret takes. Names of claims are taken as they are, dots included.
///
/// # Errors
/// When it cannot be signed.
pub fn issue(issued: &Issued, rules: &Rules, secret: &[u8]) -> anyhow::Result<String> {
    let mut claims = json!({
        "iss": rules.issuer,
        "aud": rules.audience,
        "sub": issued.subject,
        "exp": get_current_timestamp() + issued.lifetime.as_secs(),
    });
    claims[&rules.customer_claim] = json!(issued.subject);
    claims[&rules.roles_claim] = json!([issued.role.name()]);
    Ok(encode(&Header::default(), &claims, &EncodingKey::from_secret(secret))?)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::super::keys::Keys;
    use super::*;

    #[test]
    fn what_is_issued_is_taken() {
        let rules = Rules {
            issuer: "development".to_owned(),
            audience: "orders".to_owned(),
            leeway: Duration::ZERO,
            roles_claim: "realm.roles".to_owned(),
            customer_claim: "customer".to_owned(),
        };
        let subject = Uuid::from_u128(1).to_string();
        let issued = Issued { subject, role: Role::Customer, lifetime: Duration::from_secs(60) };
        let token = issue(&issued, &rules, &[7; 32]).unwrap();
        let who = rules.check(&token, &Keys::of_secret(&[7; 32]).unwrap()).unwrap().identity;
        assert_eq!((who.roles, who.customer_id), (vec![Role::Customer], Some(Uuid::from_u128(1))));
    }
}
