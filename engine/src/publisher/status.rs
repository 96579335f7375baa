//! Asking the publisher how it fares, and to finish.

use actix::prelude::*;
use tokio::sync::oneshot;

use super::{Publisher, RetryStatus, StuckLane, retry};

/// What `GET /api/outbox` shows of this instance's publisher.
#[derive(Debug, Clone)]
pub struct PublisherStatus {
    pub breaker: &'static str,
    pub is_publisher: bool,
    pub retry: Option<RetryStatus>,
    /// Lanes that fail alone, as the publisher sees them.
    pub stuck: Vec<StuckLane>,
}

#[derive(Message)]
#[rtype(result = "PublisherStatus")]
pub struct Status;

impl Handler<Status> for Publisher {
    type Result = MessageResult<Status>;

    fn handle(&mut self, _: Status, _: &mut Self::Context) -> Self::Result {
        let _handling = self.lifeline.handling();
        MessageResult(PublisherStatus {
            breaker: self.machine.breaker().name(),
            is_publisher: self.machine.holds_lease(),
            retry: self.attempts.status(),
            stuck: self.lanes.stuck(),
        })
    }
}

/// Stop sending, wait for the reports of what is in flight, write the cursor, give the lease up.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Finish;

impl Handler<Finish> for Publisher {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Finish, ctx: &mut Self::Context) -> Self::Result {
        let _handling = self.lifeline.handling();
        let (stopped, done) = oneshot::channel();
        self.stopping = Some(stopped);
        self.machine.stop_sending();
        self.retry(retry::Input::ShuttingDown, ctx);
        self.finish_stopping(ctx);
        Box::pin(async move {
            let _ = done.await;
        })
    }
}
