//! The control room: a page at `/dashboard` that shows the service at work, for people.
//!
//! A [`sampler`] takes a sample of the service once a second. It always keeps the recent past, so that a page opened during an
//! outage shows the beginning. It collects the rest only while a page is open. All pages get the same bytes, by server-sent events
//! ([`room`]). The page is embedded in the program and loads nothing from elsewhere.
//!
//! It only displays: no other part depends on it. A value that does not come in time is shown as unknown, so a server that is down
//! or frozen delays nothing.

mod bonus;
mod history;
mod room;
mod sampler;
mod snapshot;

use std::convert::Infallible;

use actix_web::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use actix_web::web::{self, Data, Path, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::StreamExt;
use kit::http::{self, Caller, Problem, not_found, read};

pub use self::bonus::BonusClient;
pub use self::room::ControlRoom;
use super::Services;
use super::access::ENDPOINTS;

/// The page may run its own scripts and talk to its own server, and nothing else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Name below `/dashboard`, type, content.
const ASSETS: [(&str, &str, &str); 11] = [
    ("", "text/html; charset=utf-8", include_str!("assets/index.html")),
    ("style.css", "text/css; charset=utf-8", include_str!("assets/style.css")),
    ("icon.svg", "image/svg+xml", include_str!("assets/icon.svg")),
    ("app.js", SCRIPT, include_str!("assets/app.js")),
    ("feed.js", SCRIPT, include_str!("assets/feed.js")),
    ("session.js", SCRIPT, include_str!("assets/session.js")),
    ("page.js", SCRIPT, include_str!("assets/page.js")),
    ("charts.js", SCRIPT, include_str!("assets/charts.js")),
    ("actors.js", SCRIPT, include_str!("assets/actors.js")),
    ("bonus.js", SCRIPT, include_str!("assets/bonus.js")),
    ("orders.js", SCRIPT, include_str!("assets/orders.js")),
];

pub(super) fn routes(service: &mut ServiceConfig) {
    let resource = |path: &str| http::resource(path, &ENDPOINTS);
    service
        .service(resource("/dashboard").route(read().to(page)))
        .service(resource("/dashboard/feed").route(web::get().to(feed)))
        .service(resource("/dashboard/orders/{id}").route(read().to(history::read)))
        .service(resource("/dashboard/{asset}").route(read().to(asset)));
}

async fn page() -> HttpResponse {
    let [page, ..] = ASSETS;
    served(page)
}

async fn asset(name: Path<String>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    match ASSETS.into_iter().find(|(asset, ..)| **asset == **name) {
        Some(asset) => Ok(served(asset)),
        None => not_found(request).await,
    }
}

fn served((_, content_type, content): (&str, &'static str, &'static str)) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, content_type))
        .insert_header((CONTENT_SECURITY_POLICY, POLICY))
        // The files belong together, and another version of the service has others.
        .insert_header((CACHE_CONTROL, "no-store"))
        .body(content)
}

/// The past first, then a snapshot a second, until either side ends it or the caller's token has expired.
async fn feed(services: Data<Services>, caller: Caller) -> Result<HttpResponse, Problem> {
    let messages = services.room.listen(&caller)?.take_until(Box::pin(caller.token_ends()));
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/event-stream"))
        .insert_header((CACHE_CONTROL, "no-store"))
        // Asks a proxy in between to pass each message on as it comes.
        .insert_header(("X-Accel-Buffering", "no"))
        .streaming(messages.map(Ok::<_, Infallible>)))
}
