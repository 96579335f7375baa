//! Reading a request: body, preconditions, idempotency key, trace context, correlation id. Each fault gets its own answer.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use actix_web::http::header::{CONTENT_TYPE, HeaderMap, HeaderName, IF_MATCH};
use actix_web::web::Bytes;
use actix_web::{FromRequest, HttpRequest};
use deserr::Deserr;
use engine::IdempotencyKey;
use kit::auth::Identity;
use kit::http::{BODY_TOO_LARGE, Caller, Problem, REPEATED_HEADER, UNREADABLE_BODY, UNSUPPORTED_MEDIA_TYPE};
use opentelemetry::trace::SpanContext;
use sha2::{Digest, Sha256};
use tokio::time::timeout;
use uuid::Uuid;

use super::json::{self, FieldErrors};
use super::problem::{INVALID_IDEMPOTENCY_KEY, INVALID_IF_MATCH};
use crate::telemetry::traces;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");
/// Longest idempotency key, in characters.
const KEY_LENGTH_MAX: usize = 255;
/// Most digits of a version in `If-Match`: so many always fit.
const VERSION_DIGITS_MAX: usize = 18;

/// How long a body may take to arrive; data of the application.
#[derive(Clone, Copy)]
pub(super) struct BodyTimeout(pub(super) Duration);

/// A JSON body, checked field by field. An absent body counts as `{}`, and so does `null`.
pub(super) struct Body<T>(pub(super) T);

impl<T: Deserr<FieldErrors> + 'static> FromRequest for Body<T> {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let content_type = content_type(request.headers());
        let bytes = Bytes::from_request(request, payload);
        let limit = request.app_data().copied().map_or(Duration::MAX, |BodyTimeout(limit)| limit);
        Box::pin(async move {
            let content_type = content_type?;
            let bytes =
                timeout(limit, bytes).await.map_err(|_| Problem::too_slow(limit))?.map_err(unreadable)?;
            let text: &[u8] = if bytes.is_empty() || &bytes[..] == b"null" { b"{}" } else { &bytes };
            if !bytes.is_empty() && !content_type.is_some_and(|is_json| is_json) {
                return Err(Problem::new(&UNSUPPORTED_MEDIA_TYPE, UNSUPPORTED_MEDIA_TYPE.example));
            }
            json::parse(text).map(Body)
        })
    }
}

/// Whether the body is declared as JSON; `None` if nothing is declared.
fn content_type(headers: &HeaderMap) -> Result<Option<bool>, Problem> {
    let Some(value) = once(headers, &CONTENT_TYPE)? else { return Ok(None) };
    let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    Ok(Some(essence == "application/json" || essence.ends_with("+json")))
}

/// A header's only value. Equal lines count as one, since a proxy may double them. Lines that differ are an error: a proxy in
/// between may have used another one than this service. A value that is not visible ASCII counts as empty.
fn once<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name);
    let Some(first) = values.next() else { return Ok(None) };
    if values.any(|other| other != first) {
        let detail = format!("{name} is there more than once, with different values; send it once.");
        return Err(Problem::new(&REPEATED_HEADER, detail));
    }
    Ok(Some(first.to_str().unwrap_or_default().trim()))
}

fn unreadable(error: actix_web::Error) -> Problem {
    match error.as_error::<PayloadError>() {
        Some(PayloadError::Overflow) => {
            Problem::new(&BODY_TOO_LARGE, "Send a smaller body: an order holds at most 100 items.")
        }
        _ => Problem::new(&UNREADABLE_BODY, format!("The body did not arrive whole: {error}.")),
    }
}

/// `If-Match: "3"`. `*` matches any version.
pub(super) fn expected_version(headers: &HeaderMap) -> Result<Option<i64>, Problem> {
    let Some(value) = once(headers, &IF_MATCH)? else { return Ok(None) };
    if value == "*" {
        return Ok(None);
    }
    let digits = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let digits = digits.filter(|digits| {
        (1..=VERSION_DIGITS_MAX).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_digit())
    });
    let version = digits.and_then(|digits| digits.parse().ok());
    version.map(Some).ok_or_else(|| Problem::new(&INVALID_IF_MATCH, INVALID_IF_MATCH.example))
}

/// The key, with a fingerprint of the request: of the command's path in its canonical spelling, and of the parsed body, so that
/// white space and the order of fields make no difference.
///
/// Two callers may use the same key: the stored one is a digest of both. Without authentication it is the key as it came.
pub(super) fn idempotency_key(
    headers: &HeaderMap,
    caller: &Caller,
    place: &str,
    asked: &[u8],
) -> Result<Option<IdempotencyKey>, Problem> {
    let Some(key) = once(headers, &IDEMPOTENCY_KEY)? else { return Ok(None) };
    if key.is_empty() || key.len() > KEY_LENGTH_MAX {
        let detail = format!("Idempotency-Key takes 1 to {KEY_LENGTH_MAX} visible ASCII characters.");
        return Err(Problem::new(&INVALID_IDEMPOTENCY_KEY, detail));
    }
    let mut hash = Sha256::new();
    hash.update(place);
    hash.update([0]);
    hash.update(asked);
    let key = match &caller.identity {
        None => key.to_owned(),
        Some(identity) => key_of(identity, key),
    };
    Ok(Some(IdempotencyKey { key, fingerprint: hash.finalize().into() }))
}

fn key_of(identity: &Identity, key: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(identity.subject.len().to_be_bytes());
    hash.update(&identity.subject);
    hash.update(key);
    format!("caller:{:x}", hash.finalize())
}

/// The caller's W3C trace context. Two that differ count as none.
pub(super) fn traceparent(headers: &HeaderMap) -> Option<SpanContext> {
    traces::parse(once(headers, &TRACEPARENT).ok()??)
}

/// The caller's name for what it is about, or a new one.
pub(super) fn correlation_id(headers: &HeaderMap) -> String {
    let given = once(headers, &CORRELATION_ID).ok().flatten();
    given
        .filter(|id| !id.is_empty() && id.len() <= KEY_LENGTH_MAX)
        .map_or_else(|| Uuid::now_v7().to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_belongs_to_its_caller() {
        let of = |subject: &str, key: &str| {
            let (subject, roles) = (subject.to_owned(), Vec::new());
            let identity = Identity { subject, roles, customer_id: None, ends_at: u64::MAX };
            key_of(&identity, key)
        };
        assert_eq!(of("a", "key"), of("a", "key"));
        assert_ne!(of("a", "key"), of("b", "key"));
        assert_ne!(of("ab", "c"), of("a", "bc"), "the border between the two counts");
        assert!(of(&"s".repeat(255), &"k".repeat(255)).len() <= KEY_LENGTH_MAX);
    }
}
