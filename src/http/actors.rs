//! A way to make an actor of the supervision tree panic. The tree itself is the kit's.

use actix_web::HttpResponse;
use actix_web::web::{Data, Path};
use engine::aggregate::AggregateId;
use kit::http::{Kind, Problem};
use kit::supervision::CrashChild;
use uuid::Uuid;

use super::Services;

const NO_SUCH_ACTOR: Kind = Kind::new(
    404,
    "no-such-actor",
    "There is no such actor to crash",
    "See GET /api/actors for their names; crashing needs ENABLE_FAULTS=true.",
);

kit::problems!(pub(super) CrashProblems: NO_SUCH_ACTOR);

/// Make an actor panic, to see it restarted. Only where faults are enabled.
#[utoipa::path(post, path = "/api/actors/{name}/crash", tag = "operations", operation_id = "crash_actor",
    params(("name" = String, Path, description = "An actor's name, or a live order's id")),
    responses((status = 202, description = "The actor has got the message"), CrashProblems))]
pub(super) async fn crash(services: Data<Services>, name: Path<String>) -> Result<HttpResponse, Problem> {
    if services.enable_faults {
        let crashed = match Uuid::parse_str(&name) {
            Ok(order_id) => services.orders.crash(AggregateId(order_id)).await,
            Err(_) => services.guardian.send(CrashChild(name.into_inner())).await.unwrap_or(false),
        };
        if crashed {
            return Ok(HttpResponse::Accepted().finish());
        }
    }
    Err(Problem::new(&NO_SUCH_ACTOR, NO_SUCH_ACTOR.example))
}
