//! The supervision tree over HTTP.

use actix::Addr;
use actix_web::web::{Data, Json};

use super::kind::STOPPING;
use super::problem::Problem;
use crate::supervision::{ActorReport, GetActors, Guardian};

crate::problems!(pub ListProblems: STOPPING);

/// The supervision tree.
#[utoipa::path(get, path = "/api/actors", tag = "operations", operation_id = "list_actors",
    responses((status = 200, description = "One row an actor", body = Vec<ActorReport>), ListProblems))]
pub async fn list(guardian: Data<Addr<Guardian>>) -> Result<Json<Vec<ActorReport>>, Problem> {
    guardian.send(GetActors).await.map(Json).map_err(|_| Problem::stopping())
}
