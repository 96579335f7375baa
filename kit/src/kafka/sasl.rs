//! A login to a broker, over a connection that is there: `SaslHandshake` and `SaslAuthenticate`, version 1 each.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite};
use uuid::Uuid;

use super::decoder::Decoder;
use super::frame::{exchange, unreadable};
use super::link::LinkFailure;
use super::login::Credentials;
use super::protocol::SaslMechanism;
use super::scram::{Expected, Hash, Login, SaltedPassword};

const SASL_HANDSHAKE: i16 = 17;
const SASL_AUTHENTICATE: i16 = 36;
const VERSION: i16 = 1;
const CORRELATION: i32 = 1;
/// Kafka's codes.
const UNSUPPORTED_MECHANISM: i16 = 33;
const ILLEGAL_STATE: i16 = 34;
/// Longest answer of a login.
const RESPONSE_BYTES_MAX: usize = 64 << 10;

/// Why it did not come to a login.
pub(super) enum LoginError {
    Io(io::Error),
    Refused(LinkFailure),
}

impl From<io::Error> for LoginError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// `salted` is remembered from login to login.
pub(super) async fn log_in<S>(
    stream: &mut S,
    client_id: &str,
    credentials: &Credentials,
    salted: &mut Option<SaltedPassword>,
) -> Result<(), LoginError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mechanism, user) = (credentials.mechanism, credentials.user.as_str());
    let password = credentials.password.as_bytes();
    let mut request = header(SASL_HANDSHAKE, client_id);
    text(mechanism.name().as_bytes(), &mut request);
    offered(&exchange(stream, request, RESPONSE_BYTES_MAX).await?, mechanism)?;
    let hash = match mechanism {
        SaslMechanism::Plain => {
            let message = [b"\0", user.as_bytes(), b"\0", password].concat();
            authenticate(stream, client_id, &message).await?;
            return Ok(());
        }
        SaslMechanism::ScramSha256 => Hash::Sha256,
        SaslMechanism::ScramSha512 => Hash::Sha512,
    };
    let login = Login::new(hash, user, password, Uuid::new_v4().simple().to_string());
    let first = authenticate(stream, client_id, login.first().as_bytes()).await?;
    let (last, expected) = login.answer(&first, salted).map_err(unreadable)?;
    let proof = authenticate(stream, client_id, last.as_bytes()).await?;
    is_genuine(&expected, &proof)
}

fn is_genuine(expected: &Expected, proof: &str) -> Result<(), LoginError> {
    if expected.is(proof) { Ok(()) } else { Err(LoginError::Refused(LinkFailure::NotGenuine)) }
}

fn header(api: i16, client_id: &str) -> Vec<u8> {
    let mut bytes = [api.to_be_bytes(), VERSION.to_be_bytes()].concat();
    bytes.extend(CORRELATION.to_be_bytes());
    text(client_id.as_bytes(), &mut bytes);
    bytes
}

fn text(text: &[u8], bytes: &mut Vec<u8>) {
    bytes.extend(i16::try_from(text.len()).unwrap_or_default().to_be_bytes());
    bytes.extend(text);
}

/// Whether the broker takes the mechanism.
fn offered(response: &[u8], mechanism: SaslMechanism) -> Result<(), LoginError> {
    let mut rest = Decoder::new(response);
    let mut read = || {
        let _correlation = rest.i32()?;
        let code = rest.i16()?;
        let mut mechanisms = Vec::new();
        for _ in 0..rest.i32()? {
            mechanisms.push(rest.nullable()?.unwrap_or_default().to_owned());
        }
        Ok((code, mechanisms))
    };
    let (code, mechanisms) = read().map_err(|wrong: &str| unreadable(wrong))?;
    match code {
        0 => Ok(()),
        UNSUPPORTED_MECHANISM => {
            Err(LoginError::Refused(LinkFailure::Mechanism { wanted: mechanism, offered: mechanisms }))
        }
        ILLEGAL_STATE => Err(LoginError::Refused(LinkFailure::NoLoginThere)),
        code => Err(LoginError::Io(unreadable(&format!("error {code}")))),
    }
}

/// The server's answer to one message of the mechanism.
async fn authenticate<S>(stream: &mut S, client_id: &str, message: &[u8]) -> Result<String, LoginError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut request = header(SASL_AUTHENTICATE, client_id);
    request.extend(i32::try_from(message.len()).unwrap_or_default().to_be_bytes());
    request.extend(message);
    let response = exchange(stream, request, RESPONSE_BYTES_MAX).await?;
    let mut rest = Decoder::new(&response);
    let mut read = || {
        let _correlation = rest.i32()?;
        let code = rest.i16()?;
        let reason = rest.nullable()?.unwrap_or_default().to_owned();
        let length = usize::try_from(rest.i32()?).unwrap_or_default();
        let answer = String::from_utf8_lossy(rest.take(length)?).into_owned();
        Ok((code, reason, answer))
    };
    let (code, reason, answer) = read().map_err(|wrong: &str| unreadable(wrong))?;
    match code {
        0 => Ok(answer),
        ILLEGAL_STATE => Err(LoginError::Refused(LinkFailure::NoLoginThere)),
        _ => Err(LoginError::Refused(LinkFailure::LoginRefused(reason))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mechanism_that_is_not_offered_comes_with_those_that_are() {
        let mut response = vec![0, 0, 0, 1, 0, 33, 0, 0, 0, 1];
        text(b"PLAIN", &mut response);
        let refused = offered(&response, SaslMechanism::ScramSha256);
        let Err(LoginError::Refused(LinkFailure::Mechanism { offered: known, .. })) = refused else {
            panic!("not refused")
        };
        assert_eq!(known, ["PLAIN"]);
        assert!(matches!(offered(&response[..9], SaslMechanism::Plain), Err(LoginError::Io(_))));
        // More mechanisms than bytes.
        assert!(offered(&[0, 0, 0, 1, 0, 33, 127, 0, 0, 1], SaslMechanism::Plain).is_err());
    }
}
