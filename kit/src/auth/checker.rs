//! A set of keys, and the tokens that were found good by it. A signature is checked once, not with each request: by ES256 that takes
//! 0.2 ms of a core. With other keys there is another set, which knows no token.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use jsonwebtoken::get_current_timestamp;

use super::keys::Keys;
use super::permission::Identity;
use super::token::{Checked, Defect, Rules};

/// Tokens that are remembered; when there are more, all are forgotten. At 8 KiB each that is 32 MiB; usual ones have less than one.
/// Only good ones count, so nobody but the issuer's callers can fill it.
const TOKENS_MAX: usize = 4_096;

#[derive(Debug)]
pub(super) struct Checker {
    keys: Keys,
    good: Mutex<HashMap<Box<str>, Checked>>,
}

impl Checker {
    pub(super) fn new(keys: Keys) -> Self {
        Self { keys, good: Mutex::default() }
    }

    pub(super) fn identify(&self, rules: &Rules, token: &str) -> Result<Identity, Defect> {
        if let Some(identity) = self.remembered(token, get_current_timestamp()) {
            return Ok(identity);
        }
        let checked = rules.check(token, &self.keys)?;
        let identity = checked.identity.clone();
        let mut good = self.good.lock().unwrap_or_else(PoisonError::into_inner);
        if good.len() >= TOKENS_MAX {
            good.clear();
        }
        good.insert(token.into(), checked);
        Ok(identity)
    }

    /// Time passes: a token that was good may have expired.
    fn remembered(&self, token: &str, now: u64) -> Option<Identity> {
        let good = self.good.lock().unwrap_or_else(PoisonError::into_inner);
        let checked = good.get(token).filter(|checked| checked.good.contains(&now))?;
        Some(checked.identity.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::issue::{Issued, issue};
    use super::super::permission::Role;
    use super::*;

    const SECRET: [u8; 32] = [7; 32];

    fn rules() -> Rules {
        Rules {
            issuer: "development".to_owned(),
            audience: "orders".to_owned(),
            leeway: Duration::from_secs(30),
            roles_claim: "roles".to_owned(),
            customer_claim: "customer".to_owned(),
        }
    }

    fn token(subject: &str) -> String {
        let (subject, lifetime) = (subject.to_owned(), Duration::from_secs(600));
        issue(&Issued { subject, role: Role::Operator, lifetime }, &rules(), &SECRET).unwrap()
    }

    #[test]
    fn a_good_token_is_remembered_until_it_expires() {
        let checker = Checker::new(Keys::of_secret(&SECRET).unwrap());
        let (token, now) = (token("kim"), get_current_timestamp());
        assert_eq!(checker.remembered(&token, now), None);
        let who = checker.identify(&rules(), &token).unwrap();
        assert_eq!(checker.remembered(&token, now + 620), Some(who.clone()), "with the leeway");
        assert_eq!(checker.remembered(&token, now + 640), None);
        assert_eq!(checker.identify(&rules(), &token), Ok(who));
        assert_eq!(checker.remembered(&format!("{token}x"), now), None);
    }

    #[test]
    fn what_is_not_good_is_not_remembered_and_what_is_has_a_bound() {
        let checker = Checker::new(Keys::of_secret(&SECRET).unwrap());
        assert_eq!(checker.identify(&rules(), &format!("{}x", token("kim"))), Err(Defect::Signature));
        assert_eq!(checker.good.lock().unwrap().len(), 0);
        for subject in 0..=TOKENS_MAX {
            checker.identify(&rules(), &token(&subject.to_string())).unwrap();
        }
        assert_eq!(checker.good.lock().unwrap().len(), 1);
    }
}
