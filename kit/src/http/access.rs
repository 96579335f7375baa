//! Who may use which endpoint: the middleware of every resource. What no table lists is not served.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use actix_web::body::BoxBody;
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::header::{AUTHORIZATION, HeaderMap};
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{Error, FromRequest, HttpMessage, HttpRequest, ResponseError};
use tokio::time::sleep;
use tracing::warn;
use uuid::Uuid;

use super::endpoint::{Endpoint, Serves, Side};
use super::kind::{FOREIGN_CUSTOMER, INSUFFICIENT_ROLE, INTERNAL, INVALID_TOKEN, MISSING_TOKEN};
use super::problem::Problem;
use super::rate::{Payer, RateChoice, RateLimit};
use crate::auth::{Choice, Defect, Identity, Permission, Scope, Verifier};

/// Whether callers have to say who they are, and how often each may ask. Data of the application.
#[derive(Clone, Default)]
pub struct Gate {
    /// `None`: everybody may do everything.
    tokens: Option<Arc<Verifier>>,
    /// `None`: as often as they like.
    rate: Option<Arc<RateLimit>>,
}

/// Paths of probes. No number of clients may make them fail.
const PROBES: [&str; 2] = ["/livez", "/readyz"];

impl Gate {
    /// Loads the keys that tokens are checked with, and renews them as long as the runtime runs.
    ///
    /// # Errors
    /// When they cannot be used.
    pub async fn of(choice: Choice, rate: RateChoice) -> anyhow::Result<Self> {
        let tokens = match choice {
            Choice::Off => {
                warn!("Authentication is off: whoever reaches this service may do everything");
                None
            }
            Choice::Jwt(settings) => {
                let verifier = Arc::new(Verifier::start(settings).await?);
                tokio::spawn(Arc::clone(&verifier).keep_fresh());
                Some(verifier)
            }
        };
        let limit = rate.rate(tokens.is_some()).map(|limit| Arc::new(RateLimit::new(limit, rate.metric)));
        Ok(Self { tokens, rate: limit })
    }

    fn charge(&self, payer: Payer<'_>) -> Result<(), Problem> {
        self.rate.as_ref().map_or(Ok(()), |rate| rate.charge(payer))
    }
}

/// Who asks, and what the request may touch. Extracted by handlers behind [`super::resource`].
#[derive(Debug, Clone)]
pub struct Caller {
    pub scope: Scope,
    /// `None`: nobody has to say who they are.
    pub identity: Option<Identity>,
}

/// Longest sleep; timers have a bound.
const SLEEP_MAX: Duration = Duration::from_secs(86_400);

impl Caller {
    /// Ends when the caller's token does: for an answer that does not end by itself. Without a token it never ends.
    pub fn token_ends(&self) -> impl Future<Output = ()> + use<> {
        let ends_at = self
            .identity
            .as_ref()
            .map(|identity| UNIX_EPOCH.checked_add(Duration::from_secs(identity.ends_at)));
        async move {
            // A time that the clock does not have.
            let Some(Some(ends_at)) = ends_at else { return std::future::pending().await };
            // By the wall clock, as tokens are: it may be set meanwhile.
            while let Ok(rest) = ends_at.duration_since(SystemTime::now())
                && !rest.is_zero()
            {
                sleep(rest.min(SLEEP_MAX)).await;
            }
        }
    }

    /// Whether the caller may ask for what belongs to this customer. Says nothing about what there is.
    ///
    /// # Errors
    /// The answer, if not.
    pub fn may_ask_for(&self, customer_id: Uuid) -> Result<(), Problem> {
        if self.scope.includes(customer_id) {
            Ok(())
        } else {
            Err(Problem::new(&FOREIGN_CUSTOMER, FOREIGN_CUSTOMER.example))
        }
    }
}

impl FromRequest for Caller {
    type Error = Problem;
    type Future = std::future::Ready<Result<Self, Problem>>;

    /// A route that is not behind [`super::resource`] has no caller, and is not served.
    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let caller = request.extensions().get::<Self>().cloned();
        std::future::ready(caller.ok_or_else(|| Problem::new(&INTERNAL, INTERNAL.example)))
    }
}

/// Middleware of a resource, with the rows of its path.
pub(super) async fn admit(
    endpoints: Arc<[Endpoint]>,
    request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    match caller(&endpoints, &request).await {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.call(request).await
        }
        Err(problem) => Ok(request.into_response(problem.error_response())),
    }
}

async fn caller(endpoints: &[Endpoint], request: &ServiceRequest) -> Result<Caller, Problem> {
    let serves = request.app_data::<Data<Serves>>().map_or(Serves::Everything, |serves| *serves.get_ref());
    let apart = |endpoint: &Endpoint| endpoint.side == Side::Operators;
    // Before anything else: it is answered as a path that does not exist.
    if serves == Serves::PublicSide && endpoints.iter().any(apart) {
        return Err(Problem::nothing_at(request.path()));
    }
    let method = request.method().as_str();
    let Some(endpoint) = endpoints.iter().find(|endpoint| endpoint.methods.contains(&method)) else {
        return Err(not_allowed(endpoints, method, request.path()));
    };
    let Some(gate) = request.app_data::<Data<Gate>>() else {
        return Err(Problem::new(&INTERNAL, INTERNAL.example));
    };
    let address = Payer::Address(request.peer_addr().map(|peer| peer.ip()));
    let (Some(permission), Some(verifier)) = (endpoint.permission, &gate.tokens) else {
        if !PROBES.contains(&endpoint.path) {
            gate.charge(address)?;
        }
        return Ok(Caller { scope: Scope::All, identity: None });
    };
    match identified(verifier, request.headers()).await {
        Ok(identity) => {
            gate.charge(Payer::Subject(&identity.subject))?;
            let scope = permission.scope(&identity).ok_or_else(|| not_permitted(permission))?;
            Ok(Caller { scope, identity: Some(identity) })
        }
        // Whoever tries too many tokens does not learn what is wrong with them.
        Err(problem) => gate.charge(address).and(Err(problem)),
    }
}

async fn identified(verifier: &Verifier, headers: &HeaderMap) -> Result<Identity, Problem> {
    verifier.identify(bearer(headers)?).await.map_err(|defect| refused(&defect))
}

fn not_allowed(endpoints: &[Endpoint], method: &str, path: &str) -> Problem {
    let mut methods: Vec<&str> = endpoints.iter().flat_map(|endpoint| endpoint.methods).copied().collect();
    methods.sort_unstable();
    let allow = methods.join(", ");
    let detail = format!("{method} is not served at {path}, only {allow}; see /api-docs/openapi.json.");
    Problem::method_not_allowed(detail, allow)
}

/// The token of `Authorization: Bearer …`.
fn bearer(headers: &HeaderMap) -> Result<&str, Problem> {
    let missing = || Problem::unauthorized(&MISSING_TOKEN, MISSING_TOKEN.example, "Bearer".to_owned());
    let mut values = headers.get_all(AUTHORIZATION);
    let value = values.next().ok_or_else(missing)?;
    // A proxy in between may have looked at the other one.
    if values.next().is_some() {
        return Err(invalid("the header Authorization is there more than once"));
    }
    let value = value.to_str().unwrap_or_default();
    let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
    let token = token.trim();
    if scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() { Ok(token) } else { Err(missing()) }
}

fn refused(defect: &Defect) -> Problem {
    tracing::debug!(%defect, "A token was refused");
    invalid(&defect.to_string())
}

fn invalid(why: &str) -> Problem {
    // What RFC 6750 allows in a quoted text; names of claims come from the settings.
    let plain: String = why.chars().filter(|c| matches!(c, ' '..='~') && !matches!(c, '"' | '\\')).collect();
    let challenge = format!("Bearer error=\"invalid_token\", error_description=\"{plain}\"");
    Problem::unauthorized(&INVALID_TOKEN, format!("Nothing was done: {why}. Send another one."), challenge)
}

fn not_permitted(permission: Permission) -> Problem {
    let roles: Vec<&str> = permission.roles().map(|role| role.name()).collect();
    let roles = roles.join(" ");
    let detail = format!("Nothing was done: this takes one of the roles {roles}.");
    let challenge = format!("Bearer error=\"insufficient_scope\", scope=\"{roles}\"");
    Problem::unauthorized(&INSUFFICIENT_ROLE, detail, challenge)
}

#[cfg(test)]
mod tests {
    use actix_web::http::Method;
    use actix_web::http::header::{HeaderValue, WWW_AUTHENTICATE};
    use actix_web::test::{TestRequest, call_service, init_service};
    use actix_web::{App, HttpResponse, web};

    use super::super::{read, resource};
    use super::*;

    fn token_of(values: &[&'static str]) -> Result<String, (u16, String)> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_static(value));
        }
        bearer(&headers).map(str::to_owned).map_err(|problem| {
            let answer = problem.error_response();
            let challenge = answer.headers().get(WWW_AUTHENTICATE).unwrap().to_str().unwrap();
            (problem.status, challenge.to_owned())
        })
    }

    #[actix_web::test]
    async fn what_no_table_lists_is_not_served() {
        let table = [Endpoint::command("/listed", Permission::ADMIN)];
        let routes = |service: &mut web::ServiceConfig| {
            for path in ["/listed", "/forgotten"] {
                let resource = resource(path, &table);
                service.service(
                    resource.route(read().to(HttpResponse::Ok)).route(web::post().to(HttpResponse::Ok)),
                );
            }
        };
        let open = init_service(App::new().app_data(Data::new(Gate::default())).configure(routes)).await;
        let unwired = init_service(App::new().configure(routes)).await;
        let asked = |method, path| TestRequest::default().method(method).uri(path).to_request();
        assert_eq!(call_service(&open, asked(Method::POST, "/listed")).await.status(), 200);
        for (method, path) in
            [(Method::GET, "/listed"), (Method::GET, "/forgotten"), (Method::POST, "/forgotten")]
        {
            assert_eq!(call_service(&open, asked(method, path)).await.status(), 405, "{path}");
        }
        assert_eq!(call_service(&unwired, asked(Method::POST, "/listed")).await.status(), 500);
    }

    #[test]
    fn a_token_comes_as_a_bearers() {
        let missing = || Err((401, "Bearer".to_owned()));
        assert_eq!(token_of(&["Bearer abc"]), Ok("abc".to_owned()));
        assert_eq!(token_of(&["bEARER  abc"]), Ok("abc".to_owned()));
        for none in [&[][..], &["Bearer"], &["Bearer "], &["Basic abc"], &["abc"]] {
            assert_eq!(token_of(none), missing(), "{none:?}");
        }
        let (status, challenge) = token_of(&["Bearer a", "Bearer b"]).unwrap_err();
        assert!(status == 401 && challenge.contains("more than once"), "{challenge}");
    }

    #[test]
    fn a_challenge_is_one_line_of_plain_text() {
        let problem = refused(&Defect::Claim("a\"b\\c\r\nd\u{e9}".to_owned()));
        let answer = problem.error_response();
        let challenge = answer.headers().get(WWW_AUTHENTICATE).unwrap().to_str().unwrap();
        assert_eq!(
            challenge,
            "Bearer error=\"invalid_token\", error_description=\"the token's claim abcd is missing or malformed\""
        );
    }

    #[test]
    fn who_lacks_the_role_is_told_which_one_it_takes() {
        let problem = not_permitted(Permission::OPERATOR);
        assert_eq!(problem.status, 403);
        assert!(problem.detail.contains("operator admin"), "{}", problem.detail);
    }
}
