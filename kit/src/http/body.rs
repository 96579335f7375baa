//! A request's body, and headers that count once. Each fault gets its own answer, the same from each service.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use actix_web::http::header::{CONTENT_TYPE, HeaderMap, HeaderName};
use actix_web::web::{Bytes, PayloadConfig, ServiceConfig};
use actix_web::{FromRequest, HttpRequest};
use deserr::Deserr;
use tokio::time::timeout;

use super::json::{self, FieldErrors};
use super::kind::{BODY_TOO_LARGE, INTERNAL, REPEATED_HEADER, UNREADABLE_BODY, UNSUPPORTED_MEDIA_TYPE};
use super::problem::Problem;

/// Of a request's body.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimits {
    pub bytes_max: usize,
    /// How long it may take to arrive.
    pub timeout: Duration,
}

impl BodyLimits {
    /// For every resource of the application.
    pub fn configure(self, service: &mut ServiceConfig) {
        service.app_data(PayloadConfig::new(self.bytes_max)).app_data(self);
    }
}

/// A JSON body, checked field by field. An absent body counts as `{}`, and so does `null`.
pub struct Body<T>(pub T);

impl<T: Deserr<FieldErrors> + 'static> FromRequest for Body<T> {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let content_type = content_type(request.headers());
        let bytes = Bytes::from_request(request, payload);
        let limits = request.app_data::<BodyLimits>().copied();
        Box::pin(async move {
            let content_type = content_type?;
            let limits = limits.ok_or_else(|| Problem::new(&INTERNAL, INTERNAL.example))?;
            let bytes = timeout(limits.timeout, bytes).await;
            let bytes = bytes.map_err(|_| Problem::too_slow(limits.timeout))?;
            let bytes = bytes.map_err(|error| unreadable(&error, limits.bytes_max))?;
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
    let Some(value) = header_once(headers, &CONTENT_TYPE)? else { return Ok(None) };
    let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    Ok(Some(essence == "application/json" || essence.ends_with("+json")))
}

/// A header's only value. Equal lines count as one, since a proxy may double them. Lines that differ are an error: a proxy in
/// between may have used another one than this service. A value that is not visible ASCII counts as empty.
pub fn header_once<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name);
    let Some(first) = values.next() else { return Ok(None) };
    if values.any(|other| other != first) {
        let detail = format!("{name} is there more than once, with different values; send it once.");
        return Err(Problem::new(&REPEATED_HEADER, detail));
    }
    Ok(Some(first.to_str().unwrap_or_default().trim()))
}

fn unreadable(error: &actix_web::Error, bytes_max: usize) -> Problem {
    match error.as_error::<PayloadError>() {
        Some(PayloadError::Overflow) => {
            let detail = format!("Send a smaller body: at most {bytes_max} bytes are taken.");
            Problem::new(&BODY_TOO_LARGE, detail)
        }
        _ => Problem::new(&UNREADABLE_BODY, format!("The body did not arrive whole: {error}.")),
    }
}
