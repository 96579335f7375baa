//! Errors as RFC 9457 problems: what was wrong, and what to do.

use std::fmt;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::CommandError;
use crate::journal::{ReadError, Refusal};

/// An `application/problem+json` body.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Problem {
    /// Names the kind of problem; stable, for programs.
    #[serde(rename = "type")]
    #[schema(example = "urn:orders:problem:invalid-order")]
    pub kind: String,
    #[schema(example = "The request is not valid")]
    pub title: &'static str,
    #[schema(example = 422)]
    pub status: u16,
    /// What was wrong this time, and what to do.
    pub detail: String,
    /// The fields that were wrong, 20 at most.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// How many more fields were wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errors_omitted: Option<u32>,
    #[serde(skip)]
    retry_after_seconds: Option<u16>,
    /// The methods that would have been allowed.
    #[serde(skip)]
    allow: Option<&'static str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    #[schema(example = "items[0].quantity")]
    pub field: String,
    #[schema(example = "must be between 1 and 1000000, was 0")]
    pub message: String,
}

impl Problem {
    pub fn new(status: StatusCode, name: &str, title: &'static str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:orders:problem:{name}"),
            title,
            status: status.as_u16(),
            detail: detail.into(),
            errors: Vec::new(),
            errors_omitted: None,
            retry_after_seconds: None,
            allow: None,
        }
    }

    pub fn bad_request(name: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, name, "The request cannot be read", detail)
    }

    /// The errors that are named, and how many more there are.
    pub fn invalid_fields(errors: Vec<FieldError>, more: usize) -> Self {
        let total = errors.len() + more;
        let detail = format!("{total} field(s) are not valid; correct them and send the request again");
        let problem =
            Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-fields", "The request is not valid", detail);
        Self {
            errors,
            errors_omitted: (more > 0).then(|| u32::try_from(more).unwrap_or(u32::MAX)),
            ..problem
        }
    }

    /// A body that has not come in time.
    pub fn too_slow(limit: Duration) -> Self {
        let detail =
            format!("The body did not arrive within {limit:?}. Nothing was done; send the request again.");
        Self::new(StatusCode::REQUEST_TIMEOUT, "request-timeout", "The request came too slowly", detail)
    }

    pub(super) fn unavailable(name: &str, detail: impl Into<String>, retry_after_seconds: u16) -> Self {
        let problem =
            Self::new(StatusCode::SERVICE_UNAVAILABLE, name, "The service cannot do this now", detail);
        Self { retry_after_seconds: Some(retry_after_seconds), ..problem }
    }

    fn internal(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "The service failed", detail)
    }

    /// Other orders are not concerned.
    fn unreadable_history(cause: &str) -> Self {
        tracing::error!(cause, "An order's history cannot be read");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "unreadable-history",
            "The order's history cannot be read",
            "Nothing was changed: this version of the service does not know one of the order's events. \
             Send the request again to an instance of a newer version.",
        )
    }

    pub fn database_unavailable() -> Self {
        Self::unavailable("database-unavailable", "The database cannot be reached; try again.", 2)
    }

    pub fn order_not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "order-not-found", "There is no such order", "Check the order's id.")
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
        response.insert_header((CONTENT_TYPE, "application/problem+json"));
        if let Some(seconds) = self.retry_after_seconds {
            response.insert_header((RETRY_AFTER, seconds.to_string()));
        }
        // The rest of the request may come at any time: its connection is of no further use.
        if self.status_code() == StatusCode::REQUEST_TIMEOUT {
            response.force_close();
        }
        if let Some(methods) = self.allow {
            response.insert_header((ALLOW, methods));
        }
        response.body(serde_json::to_string(self).unwrap_or_default())
    }
}

impl From<CommandError> for Problem {
    fn from(error: CommandError) -> Self {
        let detail = error.to_string();
        match error {
            CommandError::NotFound => Self::order_not_found(),
            CommandError::Refused(Refusal::Rejected(_)) => Self::new(
                StatusCode::CONFLICT,
                "illegal-transition",
                "The order does not allow this",
                format!("Nothing was changed: {detail}."),
            ),
            CommandError::Refused(Refusal::VersionMismatch { .. }) => Self::new(
                StatusCode::PRECONDITION_FAILED,
                "version-mismatch",
                "The order is at another version",
                format!("{detail}; read the order again and decide anew."),
            ),
            CommandError::KeyReused => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency-key-reused",
                "The Idempotency-Key was used before",
                format!("{detail}; use a new key for a new request."),
            ),
            CommandError::Contended { .. } | CommandError::Busy => Self::unavailable(
                "busy",
                format!("Nothing was written: {detail}. Try again after a moment."),
                1,
            ),
            CommandError::Unavailable(_) => Self::unavailable(
                "database-unavailable",
                format!("Nothing was written: {detail}. Try again."),
                2,
            ),
            CommandError::OutcomeUnknown(_) => Self::unavailable(
                "outcome-unknown",
                format!("{detail}. Read the order, or send the request again with the same Idempotency-Key."),
                2,
            ),
            CommandError::Unreadable(cause) => Self::unreadable_history(&cause),
            CommandError::Broken(cause) => {
                tracing::error!(cause, "A command failed");
                Self::internal(format!(
                    "{detail}. Read the order, or send the request again with the same Idempotency-Key."
                ))
            }
        }
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Unavailable(_) | ReadError::TimedOut(_) | ReadError::ReadOnly => {
                tracing::debug!(%error, "A read failed");
                Self::database_unavailable()
            }
            ReadError::Stopping => Self::unavailable("stopping", "The service is stopping; try again.", 1),
            ReadError::Unreadable(_) => Self::unreadable_history(&error.to_string()),
            ReadError::DamagedReceipt { .. } => {
                tracing::error!(%error, "The journal holds something unreadable");
                Self::internal("The receipt of this Idempotency-Key cannot be read.")
            }
        }
    }
}

pub(super) async fn not_found(request: HttpRequest) -> Result<HttpResponse, Problem> {
    let detail = format!("Nothing is served at {}; see /api-docs/openapi.json.", request.path());
    Err(Problem::new(StatusCode::NOT_FOUND, "not-found", "There is nothing here", detail))
}

/// Names the methods that are allowed there, as RFC 9110 asks.
pub(super) async fn method_not_allowed(
    request: HttpRequest,
    allow: &'static str,
) -> Result<HttpResponse, Problem> {
    let detail = format!(
        "{} is not served at {}, only {allow}; see /api-docs/openapi.json.",
        request.method(),
        request.path()
    );
    let status = StatusCode::METHOD_NOT_ALLOWED;
    let problem = Problem::new(status, "method-not-allowed", "The method is not allowed here", detail);
    Err(Problem { allow: Some(allow), ..problem })
}
