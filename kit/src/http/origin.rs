//! Refuses requests that a page of another origin makes. The browser sends them from the user's own machine, so a service without
//! authentication can tell them only by these headers. Clients that are no browsers do not send the headers, and are not affected.
//!
//! - A request that may change something is refused if `Sec-Fetch-Site` or `Origin` says that another origin's page made it.
//!   Pages of configured origins may make it (CORS).
//! - The name of a page's host may resolve to a loopback address, and the page is then of the same origin. So a service on a
//!   loopback address answers only to names that can only be its own.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use actix_web::body::BoxBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{HOST, HeaderMap, HeaderName, ORIGIN};
use actix_web::http::uri::Authority;
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{Error, ResponseError};

use super::cors::{Origins, explained};
use super::kind::{CROSS_ORIGIN, UNKNOWN_HOST};
use super::problem::Problem;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The host names that the service answers to.
#[derive(Debug, Clone)]
pub enum Hosts {
    Any,
    /// Besides `localhost` and addresses.
    Named {
        names: Arc<[String]>,
        /// The setting that lists them.
        setting: Arc<str>,
    },
}

impl Hosts {
    /// `names` are separated by commas; `setting` is where they come from. Without any, a service on a loopback address is asked
    /// under `localhost` and addresses alone, and another one under every name.
    pub fn new(address: SocketAddr, names: &str, setting: &str) -> Self {
        let names: Arc<[String]> = names
            .split(',')
            .map(|name| name.trim().to_ascii_lowercase())
            .filter(|name| !name.is_empty())
            .collect();
        if names.is_empty() && !address.ip().is_loopback() {
            Self::Any
        } else {
            Self::Named { names, setting: setting.into() }
        }
    }

    /// The setting that would have to name `host`; `None` if the service is asked under it.
    fn missing(&self, host: &str) -> Option<&str> {
        let Self::Named { names, setting } = self else { return None };
        let name = without_port(host).to_ascii_lowercase();
        let address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(&name);
        let known = address.parse::<IpAddr>().is_ok() || is_localhost(&name) || names.contains(&name);
        (!known).then_some(&**setting)
    }
}

/// Middleware around every place.
pub async fn checked(
    request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let hosts = request.app_data::<Data<Hosts>>().map_or(Hosts::Any, |hosts| Hosts::clone(hosts));
    let asked = Asked {
        method: request.method(),
        headers: request.headers(),
        authority: request.uri().authority().map(Authority::as_str),
        origins: request.app_data::<Data<Origins>>().map(Data::get_ref),
        encrypted: request.app_config().secure(),
    };
    match asked.refusal(&hosts) {
        Some(problem) => Ok(request.into_response(problem.error_response())),
        None => next.call(request).await.map(explained),
    }
}

/// What a request says of where it comes from, and where it believes to be.
struct Asked<'a> {
    method: &'a Method,
    headers: &'a HeaderMap,
    /// Of the request's URI. HTTP/2 has it instead of the header `Host`.
    authority: Option<&'a str>,
    /// Whose pages may ask. `None`: its own alone.
    origins: Option<&'a Origins>,
    /// Whether the connection has TLS. Without it a proxy in front may have it.
    encrypted: bool,
}

impl Asked<'_> {
    fn refusal(&self, hosts: &Hosts) -> Option<Problem> {
        let text = |name| self.headers.get(name).map(|value| value.to_str().unwrap_or_default());
        let names = [self.authority, text(HOST)];
        let mut names = names.into_iter().flatten().filter(|name| !name.is_empty());
        let host = names.clone().next().unwrap_or_default();
        if let Some(setting) = names.find_map(|name| hosts.missing(name)) {
            let detail = format!(
                "The service is not asked under this name; use localhost or an address, or name it in {setting}."
            );
            return Some(Problem::new(&UNKNOWN_HOST, detail));
        }
        if matches!(*self.method, Method::GET | Method::HEAD | Method::OPTIONS) {
            return None;
        }
        if let (Some(origins), Some(origin)) = (self.origins, text(ORIGIN))
            && origins.contain(origin)
        {
            return None;
        }
        let same = match (text(SEC_FETCH_SITE), text(ORIGIN)) {
            (Some(site), _) => matches!(site, "same-origin" | "none"),
            (None, Some(origin)) => origin.split_once("://").is_some_and(|(scheme, authority)| {
                authority.eq_ignore_ascii_case(host) && (!self.encrypted || scheme == "https")
            }),
            (None, None) => true,
        };
        (!same).then(|| Problem::new(&CROSS_ORIGIN, CROSS_ORIGIN.example))
    }
}

/// Whether a browser takes this host's name for its own machine.
pub(super) fn is_localhost(host: &str) -> bool {
    let name = without_port(host).to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

/// `localhost` of `localhost:3001`, `[::1]` of `[::1]:3001`.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    /// Method, names, headers; the status of the refusal.
    type Case<'a> = (&'a Method, &'a Hosts, &'a [(&'static str, &'static str)], Option<u16>);

    #[test]
    fn what_a_page_of_another_origin_asks_is_refused() {
        let loopback = Hosts::new("127.0.0.1:3001".parse().unwrap(), "", "X_HOSTS");
        let named = Hosts::new("127.0.0.1:3001".parse().unwrap(), "orders.example, Other.Example", "X_HOSTS");
        let open = Hosts::new("0.0.0.0:3001".parse().unwrap(), "", "X_HOSTS");
        let (post, get) = (Method::POST, Method::GET);
        let table: [Case<'_>; 19] = [
            (&post, &loopback, &[("host", "localhost:3001")], None),
            (&post, &loopback, &[], None),
            (&post, &loopback, &[("host", "127.0.0.1:3001"), ("origin", "http://127.0.0.1:3001")], None),
            (&post, &loopback, &[("host", "[::1]:3001"), ("origin", "http://[::1]:3001")], None),
            (&post, &loopback, &[("host", "localhost"), ("sec-fetch-site", "same-origin")], None),
            (&post, &loopback, &[("host", "localhost"), ("sec-fetch-site", "none")], None),
            (&post, &loopback, &[("host", "localhost"), ("sec-fetch-site", "cross-site")], Some(403)),
            (&post, &loopback, &[("host", "localhost"), ("sec-fetch-site", "same-site")], Some(403)),
            (&post, &loopback, &[("host", "localhost:3001"), ("origin", "https://evil.example")], Some(403)),
            (&post, &loopback, &[("host", "localhost:3001"), ("origin", "http://localhost:3003")], Some(403)),
            (&post, &loopback, &[("host", "localhost:3001"), ("origin", "null")], Some(403)),
            (&get, &loopback, &[("host", "localhost"), ("sec-fetch-site", "cross-site")], None),
            (&post, &loopback, &[("host", "evil.example"), ("origin", "http://evil.example")], Some(421)),
            (&get, &loopback, &[("host", "evil.example:3001")], Some(421)),
            (&get, &loopback, &[("host", "127.0.0.1.evil.example")], Some(421)),
            (&get, &named, &[("host", "orders.example:80")], None),
            (&get, &named, &[("host", "OTHER.example")], None),
            (&get, &open, &[("host", "anything.example")], None),
            (&post, &open, &[("host", "anything.example"), ("origin", "http://evil.example")], Some(403)),
        ];
        for (method, hosts, given, expected) in table {
            let mut headers = HeaderMap::new();
            for (name, value) in given {
                headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
            }
            let asked = Asked { method, headers: &headers, authority: None, origins: None, encrypted: false };
            let status = asked.refusal(hosts).map(|problem| problem.status);
            assert_eq!(status, expected, "{method} {given:?} {hosts:?}");
        }
    }

    #[test]
    fn a_host_that_is_not_known_learns_which_setting_would_name_it() {
        let loopback = Hosts::new("127.0.0.1:3001".parse().unwrap(), "", "X_HOSTS");
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static("evil.example"));
        let asked = Asked {
            method: &Method::GET,
            headers: &headers,
            authority: None,
            origins: None,
            encrypted: false,
        };
        let problem = asked.refusal(&loopback).unwrap();
        assert!(problem.detail.contains("X_HOSTS"), "{}", problem.detail);
    }

    /// HTTP/2 has no `Host`, and with TLS an origin without it is another one.
    #[test]
    fn an_encrypted_request_is_compared_with_its_authority_and_scheme() {
        let loopback = Hosts::new("127.0.0.1:3001".parse().unwrap(), "", "X_HOSTS");
        for (authority, host, origin, expected) in [
            (Some("localhost:3001"), None, Some("https://localhost:3001"), None),
            (Some("localhost:3001"), None, Some("http://localhost:3001"), Some(403)),
            (Some("localhost:3001"), None, Some("https://localhost:3003"), Some(403)),
            (Some("localhost:3001"), None, Some("https://evil.example"), Some(403)),
            (Some("evil.example"), None, None, Some(421)),
            (Some("evil.example"), Some("localhost"), None, Some(421)),
            (Some("localhost"), Some("evil.example"), None, Some(421)),
            (None, Some("localhost:3001"), Some("https://localhost:3001"), None),
            (None, Some("localhost:3001"), Some("http://localhost:3001"), Some(403)),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in [(HOST, host), (ORIGIN, origin)] {
                if let Some(value) = value {
                    headers.insert(name, HeaderValue::from_static(value));
                }
            }
            let asked =
                Asked { method: &Method::POST, headers: &headers, authority, origins: None, encrypted: true };
            let status = asked.refusal(&loopback).map(|problem| problem.status);
            assert_eq!(status, expected, "{authority:?} {host:?} {origin:?}");
        }
    }
}
