//! Reading a request: body, preconditions, idempotency key, trace context, correlation id. Each fault gets its own answer.

use std::future::Future;
use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HeaderMap, IF_MATCH};
use actix_web::web::Bytes;
use actix_web::{FromRequest, HttpRequest};
use deserr::Deserr;
use opentelemetry::trace::SpanContext;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::dto::IntoCommand;
use super::json::{self, FieldErrors};
use super::problem::Problem;
use crate::actor::IdempotencyKey;
use crate::telemetry::traces;

/// Longest idempotency key, in characters.
const KEY_LENGTH_MAX: usize = 255;

/// A JSON body, checked field by field. An absent body counts as `{}`, and so does `null`.
pub(super) struct Body<T>(pub(super) T);

impl<T: Deserr<FieldErrors> + 'static> FromRequest for Body<T> {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let content_type = content_type(request.headers());
        let bytes = Bytes::from_request(request, payload);
        Box::pin(async move {
            let bytes = bytes.await.map_err(unreadable)?;
            let text: &[u8] = if bytes.is_empty() || &bytes[..] == b"null" { b"{}" } else { &bytes };
            if !bytes.is_empty() && !content_type.is_some_and(|is_json| is_json) {
                return Err(Problem::new(
                    StatusCode::UNSUPPORTED_MEDIA_TYPE,
                    "unsupported-media-type",
                    "The body is not JSON",
                    "Send the body with Content-Type: application/json.",
                ));
            }
            json::parse(text).map(Body)
        })
    }
}

/// Whether the body claims to be JSON; `None` when it claims nothing.
fn content_type(headers: &HeaderMap) -> Option<bool> {
    let value = headers.get(CONTENT_TYPE)?.to_str().unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    Some(essence == "application/json" || essence.ends_with("+json"))
}

fn unreadable(error: actix_web::Error) -> Problem {
    match error.as_error::<PayloadError>() {
        Some(PayloadError::Overflow) => Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body-too-large",
            "The body is too large",
            "Send a smaller body: an order holds at most 100 items.",
        ),
        _ => Problem::bad_request("unreadable-body", format!("The body did not arrive whole: {error}.")),
    }
}

/// `If-Match: "3"`. `*` matches any version.
pub(super) fn expected_version(headers: &HeaderMap) -> Result<Option<i64>, Problem> {
    let Some(value) = headers.get(IF_MATCH) else { return Ok(None) };
    let value = value.to_str().unwrap_or_default().trim();
    if value == "*" {
        return Ok(None);
    }
    let version =
        value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).and_then(|text| text.parse().ok());
    version.map(Some).ok_or_else(|| {
        Problem::bad_request(
            "invalid-if-match",
            "If-Match takes one ETag as it was answered, such as \"3\" with its quotes.",
        )
    })
}

/// The key, with a fingerprint of what is asked under it.
pub(super) fn idempotency_key<T: IntoCommand>(
    request: &HttpRequest,
    body: &T,
) -> Result<Option<IdempotencyKey>, Problem> {
    let Some(value) = request.headers().get("Idempotency-Key") else { return Ok(None) };
    let key = value.to_str().unwrap_or_default().trim();
    if key.is_empty() || key.len() > KEY_LENGTH_MAX {
        let detail = format!("Idempotency-Key takes 1 to {KEY_LENGTH_MAX} visible ASCII characters.");
        return Err(Problem::bad_request("invalid-idempotency-key", detail));
    }
    let mut hash = Sha256::new();
    hash.update(request.path());
    hash.update([0]);
    // As parsed, so that white space and the order of fields make no difference.
    hash.update(serde_json::to_vec(body).unwrap_or_default());
    Ok(Some(IdempotencyKey { key: key.to_owned(), fingerprint: hash.finalize().into() }))
}

/// The caller's W3C trace context.
pub(super) fn traceparent(headers: &HeaderMap) -> Option<SpanContext> {
    traces::parse(headers.get("traceparent")?.to_str().ok()?)
}

/// The caller's name for what it is about, or a new one.
pub(super) fn correlation_id(headers: &HeaderMap) -> String {
    let given = headers.get("X-Correlation-Id").and_then(|value| value.to_str().ok());
    given
        .filter(|id| !id.is_empty() && id.len() <= KEY_LENGTH_MAX)
        .map_or_else(|| Uuid::now_v7().to_string(), str::to_owned)
}
