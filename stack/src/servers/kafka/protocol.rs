//! PURE: requests in Kafka's protocol for which librdkafka has no call, and whether the answer is a refusal. Kafka's own tools would take a
//! Java process of two seconds for 60 bytes.

use anyhow::{Context, Result, bail};

/// Answers come in the order of requests, and there is one.
const CORRELATION: i32 = 1;

#[derive(Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    /// `api` and `version` in Kafka's numbers.
    pub(super) fn request(api: i16, version: i16) -> Result<Self> {
        let mut request = Self::default();
        request.int16(api);
        request.int16(version);
        request.int32(CORRELATION);
        request.string("stack")?;
        Ok(request)
    }

    pub(super) fn int8(&mut self, value: i8) {
        self.0.extend(value.to_be_bytes());
    }

    pub(super) fn int16(&mut self, value: i16) {
        self.0.extend(value.to_be_bytes());
    }

    pub(super) fn int32(&mut self, value: i32) {
        self.0.extend(value.to_be_bytes());
    }

    pub(super) fn float64(&mut self, value: f64) {
        self.0.extend(value.to_be_bytes());
    }

    pub(super) fn string(&mut self, value: &str) -> Result<()> {
        self.int16(i16::try_from(value.len()).context("a string beyond all bounds")?);
        self.0.extend(value.as_bytes());
        Ok(())
    }

    /// Text or bytes as newer requests have them; `[]` is an empty array as well.
    pub(super) fn compact(&mut self, bytes: &[u8]) -> Result<()> {
        // One byte is enough for it below 127.
        self.int8(i8::try_from(bytes.len() + 1).context("longer than this tool ever sends")?);
        self.0.extend(bytes);
        Ok(())
    }

    /// No string.
    pub(super) fn null(&mut self) {
        self.int16(-1);
    }

    /// The whole request, its length in front.
    pub(super) fn finish(self) -> Result<Vec<u8>> {
        let mut request = Self::default();
        request.int32(i32::try_from(self.0.len())?);
        request.0.extend(self.0);
        Ok(request.0)
    }
}

/// What the broker says, without its length, to a request about one thing.
pub(super) fn understand(answer: &[u8]) -> Result<()> {
    let int16 = |at: usize| -> Result<i16> {
        let bytes = answer.get(at..at + 2).context("the answer is too short")?;
        Ok(i16::from_be_bytes(bytes.try_into()?))
    };
    // Correlation, throttle time and the number of results: four bytes each.
    let (error, length) = (int16(12)?, int16(14)?);
    if error != 0 {
        let reason = usize::try_from(length).ok().and_then(|length| answer.get(16..16 + length));
        let reason = reason.map(String::from_utf8_lossy).unwrap_or_default();
        bail!("the broker refuses it with error {error}: {reason}");
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told() {
        assert!(understand(&[0; 20]).is_ok());
        let mut refused = vec![0; 16];
        refused[13] = 42;
        refused[15] = 2;
        refused.extend(b"no");
        assert!(understand(&refused).unwrap_err().to_string().contains("42: no"));
        assert!(understand(&[0; 3]).is_err());
    }

    #[test]
    fn a_request_is_as_long_as_it_says() {
        let mut request = Writer::request(49, 0).unwrap();
        request.null();
        let request = request.finish().unwrap();
        let said = i32::from_be_bytes(request[..4].try_into().unwrap());
        assert_eq!(usize::try_from(said).unwrap() + 4, request.len());
    }
}
