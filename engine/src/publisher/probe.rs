//! While the breaker is open: asks whether the broker answers again.

use std::time::Duration;

use actix::prelude::*;

use super::Publisher;
use super::attempts::AbortOnDrop;
use super::retry;

/// How long the broker may take to answer a probe.
const PROBE_PATIENCE: Duration = Duration::from_secs(1);
const PROBE_PAUSE: Duration = Duration::from_millis(250);

#[derive(Default)]
pub(super) struct Probe {
    task: Option<AbortOnDrop>,
    /// Whether no broker could be reached: then its first answer brings the retry forward.
    broker_lost: bool,
}

impl Probe {
    pub(super) fn broker_lost(&mut self, lost: bool) {
        self.broker_lost = lost;
    }

    pub(super) fn end(&mut self) {
        self.task = None;
    }
}

impl Publisher {
    /// Asks the broker, over the client's own connections, until it answers again.
    pub(super) fn watch_broker(&mut self, ctx: &mut Context<Self>) {
        let Some(client) = &self.client else { return };
        let (publisher, probe) = (ctx.address(), client.probe(PROBE_PATIENCE));
        let mut silent = self.probe.broker_lost;
        let probing = self.dependencies.runtime.spawn(async move {
            // Only an answer after a silence counts. A broker that answers but takes no events must not turn every failure into an
            // immediate retry.
            loop {
                let answered = probe().await;
                if answered && silent {
                    publisher.do_send(BrokerAnswered);
                }
                silent = !answered;
                tokio::time::sleep(PROBE_PAUSE).await;
            }
        });
        self.probe.task = Some(probing.abort_handle().into());
    }
}

/// The broker answers after a silence.
#[derive(Message)]
#[rtype(result = "()")]
struct BrokerAnswered;

impl Handler<BrokerAnswered> for Publisher {
    type Result = ();

    fn handle(&mut self, _: BrokerAnswered, ctx: &mut Self::Context) {
        self.retry(retry::Input::TryNow { reason: "The broker answers again" }, ctx);
    }
}
