//! RFC 9457 problem details: the one shape of every error answer.

use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, RETRY_AFTER};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::error::LedgerError;

/// How long a client should leave a database alone that is away.
const RETRY_AFTER_SECONDS: u64 = 1;

/// An error as the client sees it.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(example = json!({
    "type": "urn:problem:bonus:no-account",
    "title": "No account",
    "status": 404,
    "detail": "customer 5b0c2f64-3f5e-4a57-9d0e-8a2f6f1c7b10 has no bonus account: no event of theirs has been credited yet"
}))]
pub struct Problem {
    /// What kind of problem; `about:blank` when the status says it all.
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub title: &'static str,
    pub status: u16,
    pub detail: String,
}

impl Problem {
    fn of_status(status: StatusCode, detail: String) -> Self {
        let title = status.canonical_reason().unwrap_or("Error");
        Self { kind: "about:blank", title, status: status.as_u16(), detail }
    }

    pub fn bad_request(detail: impl fmt::Display) -> Self {
        Self::of_status(StatusCode::BAD_REQUEST, detail.to_string())
    }

    pub fn no_account(customer_id: Uuid) -> Self {
        Self {
            kind: "urn:problem:bonus:no-account",
            title: "No account",
            status: 404,
            detail: format!(
                "customer {customer_id} has no bonus account: no event of theirs has been credited yet"
            ),
        }
    }

    /// Any failure of the database: the request is only a read, so trying again is always right.
    pub fn unavailable(error: &LedgerError) -> Self {
        tracing::warn!(%error, "A request could not be answered, Postgres failed");
        Self {
            kind: "urn:problem:bonus:unavailable",
            title: "Unavailable",
            status: 503,
            detail: "the database cannot be reached at the moment; try again".to_owned(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.title, self.detail)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        if self.status == 503 {
            response.insert_header((RETRY_AFTER, RETRY_AFTER_SECONDS));
        }
        response.content_type("application/problem+json").json(self)
    }
}

pub async fn not_found(request: HttpRequest) -> HttpResponse {
    Problem::of_status(StatusCode::NOT_FOUND, format!("there is nothing at {}", request.path()))
        .error_response()
}

pub async fn method_not_allowed(request: HttpRequest) -> HttpResponse {
    let detail = format!("{} is not possible at {}, only GET is", request.method(), request.path());
    let mut response = Problem::of_status(StatusCode::METHOD_NOT_ALLOWED, detail).error_response();
    response.headers_mut().insert(ALLOW, actix_web::http::header::HeaderValue::from_static("GET"));
    response
}
