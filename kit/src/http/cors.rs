//! Pages of other origins that may use the service (CORS): none, unless they are configured one by one.
//!
//! A browser asks before it sends what a page of another origin could not send by itself (a preflight), and hides an answer from the
//! page unless the answer names the page's origin. actix-cors answers both. Cookies and the like are not allowed: callers send tokens.
//! That a browser may send a request does not mean that the caller may do it: tokens and roles hold as for everybody.

use std::str::FromStr;
use std::sync::Arc;

use actix_cors::{Cors, CorsError};
use actix_web::ResponseError;
use actix_web::body::BoxBody;
use actix_web::dev::ServiceResponse;
use actix_web::http::Uri;
use actix_web::http::header::{
    AUTHORIZATION, CONTENT_TYPE, ETAG, HeaderName, IF_MATCH, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE,
};

use super::kind::CROSS_ORIGIN;
use super::problem::Problem;

const ORIGINS_MAX: usize = 100;
/// Seconds for which a browser remembers a preflight. Browsers bound it by two hours.
const PREFLIGHT_AGE_SECONDS: usize = 600;
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// Origins as browsers send them. Without any, CORS is off.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins(Arc<[String]>);

impl Origins {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn contain(&self, origin: &str) -> bool {
        self.0.iter().any(|known| known == origin)
    }

    /// Middleware that answers preflights, and tells browsers which pages may read an answer.
    pub(super) fn cors(&self) -> Cors {
        let cors = Cors::default()
            .allowed_methods(["GET", "HEAD", "POST"])
            .allowed_headers([
                AUTHORIZATION,
                CONTENT_TYPE,
                IF_MATCH,
                IDEMPOTENCY_KEY,
                CORRELATION_ID,
                TRACEPARENT,
            ])
            .expose_headers([ETAG, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE, REPLAYED])
            .max_age(PREFLIGHT_AGE_SECONDS);
        self.0.iter().fold(cors, |cors, origin| cors.allowed_origin(origin))
    }
}

impl FromStr for Origins {
    type Err = String;

    /// Origins with commas between them.
    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let origins: Arc<[String]> =
            text.split(',').map(|origin| exact(origin.trim())).collect::<Result<_, _>>()?;
        if origins.len() > ORIGINS_MAX {
            return Err(format!("{} origins are more than {ORIGINS_MAX}", origins.len()));
        }
        Ok(Self(origins))
    }
}

/// The origin, if it is written as browsers send it: they are compared letter by letter.
fn exact(origin: &str) -> Result<String, String> {
    if origin.contains('*') {
        return Err(format!("{origin:?} has a wildcard; name each origin"));
    }
    let malformed =
        || format!("{origin:?} is no origin; write it as https://shop.example or http://localhost:8080");
    let (scheme, authority) = origin.split_once("://").ok_or_else(malformed)?;
    let parsed: Uri = origin.parse().map_err(|_| malformed())?;
    let host = parsed.host().unwrap_or_default();
    let port = parsed.port_u16().filter(|port| *port > 0);
    let whole = authority == host || port.is_some_and(|port| authority == format!("{host}:{port}"));
    let plain = matches!(scheme, "http" | "https") && !host.is_empty() && whole;
    if !plain {
        return Err(malformed());
    }
    if origin.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(format!("{origin:?} has capital letters, and browsers send none"));
    }
    if matches!((scheme, parsed.port_u16()), ("http", Some(80)) | ("https", Some(443))) {
        return Err(format!("{origin:?} has the port that its scheme has anyway, and browsers leave it out"));
    }
    Ok(origin.to_owned())
}

/// A refusal of that middleware is a problem, as all others are.
pub(super) fn explained(response: ServiceResponse<BoxBody>) -> ServiceResponse<BoxBody> {
    let refusal = response.response().error().and_then(|error| error.as_error::<CorsError>());
    let Some(refusal) = refusal else { return response };
    let problem = Problem::new(&CROSS_ORIGIN, format!("{refusal}. Nothing was done."));
    response.into_response(problem.error_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_taken_as_browsers_send_them() {
        for text in [
            "https://shop.example",
            "http://localhost:8080",
            "https://a.example, http://[::1]:3000",
            "http://10.0.0.1",
        ] {
            let origins: Origins = text.parse().unwrap();
            assert!(text.split(", ").all(|origin| origins.contain(origin)), "{text}");
        }
        assert!("".parse::<Origins>().unwrap().is_empty());
        assert!(" ".parse::<Origins>().unwrap().is_empty());
    }

    #[test]
    fn what_is_no_exact_origin_is_refused() {
        for text in [
            "*",
            "https://*.example",
            "null",
            "shop.example",
            "https://",
            "https://shop.example/",
            "https://shop.example/path",
            "https://shop.example?query",
            "https://shop.example#fragment",
            "https://kim@shop.example",
            "https://Shop.example",
            "HTTPS://shop.example",
            "https://shop.example:443",
            "http://shop.example:80",
            "https://shop.example:0",
            "https://shop.example:",
            "https://shop.example:99999",
            "ftp://shop.example",
            "https://shop.example,",
            "https://shop.example https://other.example",
            "https://sh\u{f6}p.example",
        ] {
            assert!(text.parse::<Origins>().is_err(), "{text} was taken");
        }
        let many = (0..101).map(|n| format!("https://{n}.example")).collect::<Vec<_>>().join(",");
        assert!(many.parse::<Origins>().is_err());
    }

    #[test]
    fn an_origin_is_compared_whole() {
        let origins: Origins = "https://shop.example".parse().unwrap();
        for other in [
            "https://shop.example.evil.example",
            "http://shop.example",
            "https://shop.example:8443",
            "null",
            "",
        ] {
            assert!(!origins.contain(other), "{other}");
        }
    }
}
