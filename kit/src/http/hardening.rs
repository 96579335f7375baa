//! Headers by which a browser protects a page of ours against other pages. Clients that are no browsers ignore them.

use actix_web::Error;
use actix_web::body::BoxBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, REFERRER_POLICY,
    STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use actix_web::http::uri::Authority;
use actix_web::middleware::Next;

use super::origin::is_localhost;

/// For a page that has no policy of its own, which is Swagger UI: its scripts come from the service alone. It sets styles on its
/// elements and has its icons in its style sheet.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                           connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A year, in seconds: for so long a browser asks this host by TLS alone.
const STRICT: &str = "max-age=31536000";

/// Middleware around every place.
pub async fn hardened(
    request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let mut response = next.call(request).await?;
    let request = response.request();
    let host = request.uri().authority().map(Authority::as_str);
    let host = host.or_else(|| request.headers().get(HOST)?.to_str().ok()).unwrap_or_default();
    // On this machine other services may have no TLS, and the browser would ask none of them without it any more.
    let strict = request.app_config().secure() && !is_localhost(host);
    harden(response.headers_mut());
    if strict {
        response.headers_mut().insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(STRICT));
    }
    Ok(response)
}

fn harden(headers: &mut HeaderMap) {
    // A browser must not take JSON that a client has written for a page.
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let is_page = headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    if !is_page {
        return;
    }
    if !headers.contains_key(CONTENT_SECURITY_POLICY) {
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE_POLICY));
    }
    let more: [(HeaderName, &str); 2] = [
        // For browsers that do not know `frame-ancestors`.
        (X_FRAME_OPTIONS, "DENY"),
        // Ids of orders and customers are in addresses.
        (REFERRER_POLICY, "no-referrer"),
    ];
    for (name, value) in more {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hardened_of(content_type: &'static str, policy: Option<&'static str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        if let Some(policy) = policy {
            headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
        }
        harden(&mut headers);
        headers
    }

    fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
        headers.get(name).and_then(|value| value.to_str().ok())
    }

    #[test]
    fn a_page_gets_all_headers_and_keeps_its_own_policy() {
        let page = hardened_of("text/html; charset=utf-8", None);
        assert_eq!(text(&page, CONTENT_SECURITY_POLICY), Some(PAGE_POLICY));
        assert_eq!(text(&page, X_FRAME_OPTIONS), Some("DENY"));
        assert_eq!(text(&page, REFERRER_POLICY), Some("no-referrer"));
        assert_eq!(text(&page, X_CONTENT_TYPE_OPTIONS), Some("nosniff"));
        let own = hardened_of("text/html", Some("default-src 'none'"));
        assert_eq!(text(&own, CONTENT_SECURITY_POLICY), Some("default-src 'none'"));
    }

    #[test]
    fn an_answer_that_is_no_page_is_not_guessed_to_be_one() {
        let answer = hardened_of("application/json", None);
        assert_eq!(text(&answer, X_CONTENT_TYPE_OPTIONS), Some("nosniff"));
        assert_eq!((text(&answer, CONTENT_SECURITY_POLICY), text(&answer, X_FRAME_OPTIONS)), (None, None));
    }
}
