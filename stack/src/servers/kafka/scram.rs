//! PURE but for the salt: the request that sets a password for logins by SCRAM (`AlterUserScramCredentials`, version 0).

use anyhow::{Context, Result, bail};
use pbkdf2::pbkdf2_hmac_array;
use sha2::{Sha256, Sha512};

use super::protocol::Writer;
use super::security::{Mechanism, User};

const ALTER_USER_SCRAM_CREDENTIALS: i16 = 51;
const VERSION: i16 = 0;
/// The least that Kafka takes.
const ITERATIONS: u32 = 4_096;

pub(super) fn request(mechanism: Mechanism, user: &User) -> Result<Vec<u8>> {
    let salt = uuid::Uuid::new_v4().into_bytes();
    let password = user.password.as_bytes();
    let (number, salted) = match mechanism {
        Mechanism::ScramSha256 => (1, pbkdf2_hmac_array::<Sha256, 32>(password, &salt, ITERATIONS).to_vec()),
        Mechanism::ScramSha512 => (2, pbkdf2_hmac_array::<Sha512, 64>(password, &salt, ITERATIONS).to_vec()),
        Mechanism::Plain => bail!("passwords of PLAIN are in the broker's settings"),
    };
    let mut request = Writer::request(ALTER_USER_SCRAM_CREDENTIALS, VERSION)?;
    request.int8(0); // no tags
    request.compact(&[])?; // nothing is deleted
    request.int8(2); // one is set
    request.compact(user.name.as_bytes())?;
    request.int8(number);
    request.int32(i32::try_from(ITERATIONS)?);
    request.compact(&salt)?;
    request.compact(&salted)?;
    request.int8(0);
    request.int8(0);
    request.finish()
}

/// What the broker says, without its length.
pub(super) fn understand(answer: &[u8], user: &User) -> Result<()> {
    // Correlation, no tags, throttle time, one result, the user's name.
    let at = 4 + 1 + 4 + 1 + 1 + user.name.len();
    let code = answer.get(at..at + 2).context("the answer is too short")?;
    match i16::from_be_bytes(code.try_into()?) {
        0 => Ok(()),
        error => bail!("the broker refuses it with error {error}"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told() {
        let user = User::new("kim", "secret");
        let mut answer = vec![0; 18];
        assert!(understand(&answer, &user).is_ok());
        answer[15] = 42;
        assert!(understand(&answer, &user).unwrap_err().to_string().contains("42"));
        assert!(understand(&[], &user).is_err());
        let request = request(Mechanism::ScramSha256, &user).unwrap();
        assert!(!String::from_utf8_lossy(&request).contains("secret"));
    }
}
