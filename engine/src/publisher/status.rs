//! The messages that ask the publisher for its status, and to finish.

use actix::prelude::*;
use tokio::sync::oneshot;

use super::{Publisher, RetryStatus, StuckLane, retry};

/// The state of this instance's publisher, as operators see it.
#[derive(Debug, Clone)]
pub struct PublisherStatus {
    pub breaker: &'static str,
    pub is_publisher: bool,
    pub retry: Option<RetryStatus>,
    /// Lanes that fail while the broker works.
    pub stuck: Vec<StuckLane>,
}

#[derive(Message)]
#[rtype(result = "PublisherStatus")]
pub struct GetStatus;

impl Handler<GetStatus> for Publisher {
    type Result = MessageResult<GetStatus>;

    fn handle(&mut self, _: GetStatus, _: &mut Self::Context) -> Self::Result {
        let _handling = self.lifeline.handling();
        MessageResult(PublisherStatus {
            breaker: self.machine.breaker().name(),
            is_publisher: self.machine.holds_lease(),
            retry: self.attempts.status(),
            stuck: self.lanes.stuck(),
        })
    }
}

/// Stop sending, wait for the reports of what is in flight, write the cursor, release the lease.
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
