//! The outbox over HTTP. A service gives its rows of [`Endpoint`]s, as for its own resources, and adds the operations to its document.

mod openapi;
mod outbox;
mod quarantine;

use actix_web::web::{self, Data, ServiceConfig};
use engine::aggregate::Name;
use engine::journal::ReadError;
use engine::publisher::Publisher;
use engine::publisher::outbox::OutboxReader;
use kit::http::{Endpoint, INTERNAL, Problem, read, resource};
use kit::supervision::Child;

pub use self::openapi::describe;
pub use self::outbox::RetryView;

/// What the handlers need.
#[derive(Clone)]
pub struct Outbox {
    pub reader: OutboxReader,
    pub publisher: Child<Publisher>,
}

impl Outbox {
    fn name(&self) -> Name {
        self.reader.name()
    }
}

/// `table` says who may use them.
pub fn routes(service: &mut ServiceConfig, outbox: Outbox, table: &[Endpoint]) {
    let resource = |path: &str| resource(path, table);
    service
        .app_data(Data::new(outbox))
        .service(resource("/api/outbox").route(read().to(outbox::read)))
        .service(resource("/api/outbox/quarantine").route(read().to(quarantine::list)))
        .service(resource("/api/outbox/quarantine/{id}/release").route(web::post().to(quarantine::release)))
        .service(resource("/api/outbox/quarantine/{id}/discard").route(web::post().to(quarantine::discard)));
}

/// What a read's error is to its caller.
fn of_read(error: ReadError) -> Problem {
    match error {
        ReadError::Unavailable(_) | ReadError::TimedOut(_) | ReadError::ReadOnly => {
            tracing::debug!(%error, "A read failed");
            Problem::database_unavailable()
        }
        ReadError::Stopping => Problem::stopping(),
        ReadError::Unreadable(_) | ReadError::DamagedReceipt { .. } => {
            tracing::error!(%error, "The outbox holds something unreadable");
            Problem::new(&INTERNAL, INTERNAL.example)
        }
    }
}
