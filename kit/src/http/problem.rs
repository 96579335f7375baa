//! Errors as RFC 9457 problems: what was wrong, and what to do.

use std::fmt;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, CONTENT_TYPE, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;
use utoipa::ToSchema;

use super::kind::{self, Kind};

pub const PROBLEM_JSON: &str = "application/problem+json";

/// An `application/problem+json` body.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Problem {
    /// Names the kind of problem; stable, for programs.
    #[serde(rename = "type")]
    #[schema(
        example = "urn:orders:problem:invalid-fields",
        pattern = "^urn:orders:problem:[a-z]+(-[a-z]+)*$"
    )]
    pub kind: String,
    #[schema(example = "The request is not valid", min_length = 1)]
    pub title: &'static str,
    #[schema(example = 422, minimum = 400, maximum = 599)]
    pub status: u16,
    /// What was wrong this time, and what to do.
    #[schema(min_length = 1)]
    pub detail: String,
    /// The fields that were wrong; absent for other problems.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false, min_items = 1, max_items = 20)]
    pub errors: Vec<FieldError>,
    /// How many more fields were wrong; absent if all are named.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 1)]
    pub errors_omitted: Option<u32>,
    #[serde(skip)]
    retry_after_seconds: Option<u16>,
    /// What would have been allowed. In a box, since few have it.
    #[serde(skip)]
    advice: Option<Box<(HeaderName, String)>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// Its place in the body, as in `items[0].quantity`; `.` is the body itself. Of a query the parameter.
    #[schema(example = "items[0].quantity")]
    pub field: String,
    #[schema(example = "must be between 1 and 1000000, was 0")]
    pub message: String,
}

impl Problem {
    pub fn new(kind: &Kind, detail: impl Into<String>) -> Self {
        Self {
            kind: kind.type_name(),
            title: kind.title,
            status: kind.status,
            detail: detail.into(),
            errors: Vec::new(),
            errors_omitted: None,
            retry_after_seconds: kind.retry_after_seconds,
            advice: None,
        }
    }

    /// An answer of this kind, as documents show it.
    pub(super) fn sample(kind: &Kind) -> Self {
        if *kind == kind::INVALID_FIELDS {
            return Self::invalid_field("limit", "must be between 1 and 200, was 0");
        }
        Self::new(kind, kind.example)
    }

    /// The errors that are named, and how many more there are.
    pub fn invalid_fields(errors: Vec<FieldError>, more: usize) -> Self {
        let total = errors.len() + more;
        let detail = format!("{total} field(s) are not valid; correct them and send the request again");
        let errors_omitted = (more > 0).then(|| u32::try_from(more).unwrap_or(u32::MAX));
        Self { errors, errors_omitted, ..Self::new(&kind::INVALID_FIELDS, detail) }
    }

    /// One parameter that can be read and is out of its bounds.
    pub fn invalid_field(field: &str, message: impl Into<String>) -> Self {
        Self::invalid_fields(vec![FieldError { field: field.to_owned(), message: message.into() }], 0)
    }

    /// A body that has not come in time.
    pub fn too_slow(limit: Duration) -> Self {
        let detail =
            format!("The body did not arrive within {limit:?}. Nothing was done; send the request again.");
        Self::new(&kind::REQUEST_TIMEOUT, detail)
    }

    pub fn database_unavailable() -> Self {
        Self::new(&kind::DATABASE_UNAVAILABLE, kind::DATABASE_UNAVAILABLE.example)
    }

    pub(super) fn nothing_at(path: &str) -> Self {
        Self::new(&kind::NOT_FOUND, format!("Nothing is served at {path}; see /api-docs/openapi.json."))
    }

    /// With the whole seconds after which the caller may ask again.
    pub(super) fn too_many_requests(detail: String, seconds: u16) -> Self {
        Self { retry_after_seconds: Some(seconds), ..Self::new(&kind::TOO_MANY_REQUESTS, detail) }
    }

    pub fn stopping() -> Self {
        Self::new(&kind::STOPPING, kind::STOPPING.example)
    }

    /// With the methods that are allowed, as RFC 9110 asks.
    pub(super) fn method_not_allowed(detail: String, allow: String) -> Self {
        Self { advice: Some(Box::new((ALLOW, allow))), ..Self::new(&kind::METHOD_NOT_ALLOWED, detail) }
    }

    /// With a challenge, as RFC 6750 asks.
    pub(super) fn unauthorized(kind: &Kind, detail: impl Into<String>, challenge: String) -> Self {
        Self { advice: Some(Box::new((WWW_AUTHENTICATE, challenge))), ..Self::new(kind, detail) }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.status, self.title, self.detail)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        response.insert_header((CONTENT_TYPE, PROBLEM_JSON));
        if let Some(seconds) = self.retry_after_seconds {
            response.insert_header((RETRY_AFTER, seconds.to_string()));
        }
        // The rest of the request may come at any time: its connection is of no further use.
        if self.status_code() == StatusCode::REQUEST_TIMEOUT {
            response.force_close();
        }
        if let Some((name, value)) = self.advice.as_deref() {
            response.insert_header((name, value.as_str()));
        }
        response.body(serde_json::to_string(self).unwrap_or_default())
    }
}
