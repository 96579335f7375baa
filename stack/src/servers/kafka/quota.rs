//! PURE: the request that sets a quota, and its answer, in Kafka's protocol (`AlterClientQuotas`, version 0). librdkafka has no
//! call for it, and Kafka's own tools would take a Java process of two seconds for 60 bytes.

use anyhow::{Context, Result, bail};

const ALTER_CLIENT_QUOTAS: i16 = 49;
const VERSION: i16 = 0;
/// Answers come in the order of requests, and there is one.
const CORRELATION: i32 = 1;

/// Whose quota. Kafka counts each client id, or each user, by itself, per broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuotaOf<'a> {
    /// Every client id that has none of its own.
    EachClient,
    Client(&'a str),
    /// Every user that has none of its own. Who does not log in is the user `ANONYMOUS`.
    EachUser,
}

#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn int16(&mut self, value: i16) {
        self.0.extend(value.to_be_bytes());
    }

    fn int32(&mut self, value: i32) {
        self.0.extend(value.to_be_bytes());
    }

    fn string(&mut self, value: &str) -> Result<()> {
        self.int16(i16::try_from(value.len()).context("a string beyond all bounds")?);
        self.0.extend(value.as_bytes());
        Ok(())
    }
}

/// The whole request, its length in front. `None` removes the quota.
pub(super) fn request(of: QuotaOf<'_>, quota: &str, value: Option<f64>) -> Result<Vec<u8>> {
    let mut body = Writer::default();
    body.int16(ALTER_CLIENT_QUOTAS);
    body.int16(VERSION);
    body.int32(CORRELATION);
    body.string("stack")?;
    body.int32(1); // entries
    body.int32(1); // parts of the entity
    match of {
        QuotaOf::EachClient => {
            body.string("client-id")?;
            body.int16(-1);
        }
        QuotaOf::Client(id) => {
            body.string("client-id")?;
            body.string(id)?;
        }
        QuotaOf::EachUser => {
            body.string("user")?;
            body.int16(-1);
        }
    }
    body.int32(1); // quotas
    body.string(quota)?;
    body.0.extend(value.unwrap_or_default().to_be_bytes());
    body.0.push(u8::from(value.is_none())); // remove
    body.0.push(0); // not only validated
    let mut request = Writer::default();
    request.int32(i32::try_from(body.0.len())?);
    request.0.extend(body.0);
    Ok(request.0)
}

/// What the broker says, without its length.
pub(super) fn understand(answer: &[u8]) -> Result<()> {
    let int16 = |at: usize| -> Result<i16> {
        let bytes = answer.get(at..at + 2).context("the answer is too short")?;
        Ok(i16::from_be_bytes(bytes.try_into()?))
    };
    // Correlation, throttle time and the number of entries: four bytes each.
    let (error, length) = (int16(12)?, int16(14)?);
    if error != 0 {
        let reason = usize::try_from(length).ok().and_then(|length| answer.get(16..16 + length));
        let reason = reason.map(String::from_utf8_lossy).unwrap_or_default();
        bail!("the broker refuses the quota with error {error}: {reason}");
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_as_long_as_it_says_and_a_refusal_is_told() {
        for of in [QuotaOf::EachClient, QuotaOf::Client("orders"), QuotaOf::EachUser] {
            let request = request(of, "producer_byte_rate", Some(1e5)).unwrap();
            let said = i32::from_be_bytes(request[..4].try_into().unwrap());
            assert_eq!(usize::try_from(said).unwrap() + 4, request.len());
        }
        assert!(understand(&[0; 20]).is_ok());
        let mut refused = vec![0; 16];
        refused[13] = 42;
        refused[15] = 2;
        refused.extend(b"no");
        assert!(understand(&refused).unwrap_err().to_string().contains("42: no"));
        assert!(understand(&[0; 3]).is_err());
    }
}
