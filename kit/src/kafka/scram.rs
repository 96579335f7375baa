//! PURE: a login by SCRAM (RFC 5802), as Kafka has it: without channel binding, and with names and passwords as they are given (no SASLprep,
//! which general libraries insist on).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::digest::{FixedOutput, KeyInit, MacMarker, Update};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256, Sha512};

/// A server that asks for more would keep a core busy.
const ITERATIONS_MAX: u32 = 1_000_000;
/// The least that RFC 7677 allows. A server that asks for less is after the password.
const ITERATIONS_LEAST: u32 = 4_096;
/// `n,,` in base64: this client binds to no channel.
const NO_BINDING: &str = "c=biws";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hash {
    Sha256,
    Sha512,
}

/// What takes long to make of a password. The same as long as the server's salt is.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct SaltedPassword {
    salt: Vec<u8>,
    iterations: u32,
    key: Vec<u8>,
}

/// One login, from this client's first message on.
pub(super) struct Login<'a> {
    hash: Hash,
    password: &'a [u8],
    first_bare: String,
    nonce: String,
}

/// What the server's last message must prove.
pub(super) struct Expected(Vec<u8>);

impl<'a> Login<'a> {
    /// `nonce`: new for each login, printable, without commas.
    pub(super) fn new(hash: Hash, user: &str, password: &'a [u8], nonce: String) -> Self {
        let user = user.replace('=', "=3D").replace(',', "=2C");
        Self { hash, password, first_bare: format!("n={user},r={nonce}"), nonce }
    }

    pub(super) fn first(&self) -> String {
        format!("n,,{}", self.first_bare)
    }

    /// The answer to the server's first message, and what its last one must be. `salted` is from an earlier login, and for the next one.
    pub(super) fn answer(
        &self,
        server_first: &str,
        salted: &mut Option<SaltedPassword>,
    ) -> Result<(String, Expected), &'static str> {
        let nonce = attribute(server_first, "r=").ok_or("it sends no nonce")?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err("its nonce does not continue ours");
        }
        let salt = attribute(server_first, "s=").and_then(|salt| BASE64.decode(salt).ok());
        let salt = salt.ok_or("it sends no salt")?;
        let iterations = attribute(server_first, "i=").and_then(|number| number.parse().ok());
        let iterations: u32 = iterations.ok_or("it sends no number of iterations")?;
        if !(ITERATIONS_LEAST..=ITERATIONS_MAX).contains(&iterations) {
            return Err("its number of iterations is out of bounds");
        }
        let known = salted.take().filter(|known| known.salt == salt && known.iterations == iterations);
        let known = known.unwrap_or_else(|| self.salt(salt, iterations));
        let last = format!("{NO_BINDING},r={nonce}");
        let signed = format!("{},{server_first},{last}", self.first_bare);
        let (proof, expected) = match self.hash {
            Hash::Sha256 => proof::<Hmac<Sha256>, Sha256>(&known.key, &signed),
            Hash::Sha512 => proof::<Hmac<Sha512>, Sha512>(&known.key, &signed),
        }
        .ok_or("its salt makes no key")?;
        *salted = Some(known);
        Ok((format!("{last},p={}", BASE64.encode(proof)), Expected(expected)))
    }

    fn salt(&self, salt: Vec<u8>, iterations: u32) -> SaltedPassword {
        let key = match self.hash {
            Hash::Sha256 => {
                pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(self.password, &salt, iterations).to_vec()
            }
            Hash::Sha512 => {
                pbkdf2::pbkdf2_hmac_array::<Sha512, 64>(self.password, &salt, iterations).to_vec()
            }
        };
        SaltedPassword { salt, iterations, key }
    }
}

impl Expected {
    /// Whether the server knows the password too.
    pub(super) fn is(&self, server_last: &str) -> bool {
        attribute(server_last, "v=").and_then(|text| BASE64.decode(text).ok()).as_ref() == Some(&self.0)
    }
}

fn attribute<'a>(message: &'a str, name: &str) -> Option<&'a str> {
    message.split(',').find_map(|part| part.strip_prefix(name))
}

/// The client's proof, and the server's signature.
fn proof<M, H>(salted: &[u8], signed: &str) -> Option<(Vec<u8>, Vec<u8>)>
where
    M: KeyInit + Update + FixedOutput + MacMarker,
    H: Digest,
{
    let mac = |key: &[u8], text: &[u8]| -> Option<Vec<u8>> {
        let mac = <M as KeyInit>::new_from_slice(key).ok()?;
        Some(Mac::chain_update(mac, text).finalize().into_bytes().to_vec())
    };
    let client_key = mac(salted, b"Client Key")?;
    let signature = mac(&H::digest(&client_key), signed.as_bytes())?;
    let proof = client_key.iter().zip(&signature).map(|(key, signature)| key ^ signature).collect();
    let server_key = mac(salted, b"Server Key")?;
    Some((proof, mac(&server_key, signed.as_bytes())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
    const SERVER_FIRST: &str =
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    /// The example of RFC 7677.
    #[test]
    fn the_example_of_the_standard_is_answered_as_it_says() {
        let login = Login::new(Hash::Sha256, "user", b"pencil", NONCE.to_owned());
        assert_eq!(login.first(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let mut salted = None;
        for _ in 0..2 {
            let (last, expected) = login.answer(SERVER_FIRST, &mut salted).unwrap();
            assert_eq!(
                last,
                "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                 p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
            );
            assert!(expected.is("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="));
            assert!(!expected.is("v=AAAA") && !expected.is("e=other-error") && !expected.is(""));
            // The second time with what is remembered.
            assert!(salted.is_some());
        }
    }

    #[test]
    fn a_server_that_does_not_keep_to_it_gets_no_proof() {
        let login = Login::new(Hash::Sha512, "a=b,c", b"pencil", NONCE.to_owned());
        assert_eq!(login.first(), "n,,n=a=3Db=2Cc,r=rOprNGfwEbeRWgbNEkqO");
        for (wrong, rule) in [
            ("", "no nonce"),
            ("r=another,s=AAAA,i=4096", "continue ours"),
            ("r=rOprNGfwEbeRWgbNEkqO,s=AAAA,i=4096", "continue ours"),
            ("r=rOprNGfwEbeRWgbNEkqOx,s=?,i=4096", "no salt"),
            ("r=rOprNGfwEbeRWgbNEkqOx,s=AAAA,i=many", "no number"),
            ("r=rOprNGfwEbeRWgbNEkqOx,s=AAAA,i=1", "out of bounds"),
            ("r=rOprNGfwEbeRWgbNEkqOx,s=AAAA,i=4000000000", "out of bounds"),
        ] {
            let refused = login.answer(wrong, &mut None).map(|(last, _)| last);
            assert!(refused.unwrap_err().contains(rule), "{wrong}");
        }
    }
}
