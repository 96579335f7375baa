//! While the breaker is open: is the broker back?

use std::time::Duration;

use actix::prelude::*;
use tracing::warn;

use super::Publisher;
use super::machine::Breaker;

/// How long the broker may take to answer the question whether it is there.
const PROBE_PATIENCE: Duration = Duration::from_secs(1);
const PROBE_PAUSE: Duration = Duration::from_millis(250);

impl Publisher {
    /// Asks the broker, over the producer's own reconnecting client, until it answers again.
    pub(super) fn watch_broker(&mut self, ctx: &mut Context<Self>) {
        let Some(kafka) = &self.kafka else { return };
        let (publisher, probe) = (ctx.address(), kafka.probe(PROBE_PATIENCE));
        let mut silent = self.attempting.broker_lost;
        let probing = self.dependencies.runtime.spawn(async move {
            // A broker that answers questions but takes no events must not turn every failure into an immediate retry:
            // only its coming back from silence counts.
            loop {
                let probe = probe.clone();
                let answered = tokio::task::spawn_blocking(probe).await.unwrap_or(false);
                if answered && silent {
                    publisher.do_send(BrokerSeen);
                }
                silent = !answered;
                tokio::time::sleep(PROBE_PAUSE).await;
            }
        });
        self.attempting.probing = Some(probing.abort_handle().into());
    }

    /// The job in Redis is due now; if Redis does not take that, the attempt is made from here.
    pub(super) fn bring_the_job_forward(&mut self, ctx: &mut Context<Self>) {
        let fallback = self.dependencies.fallback.clone();
        let brought = self.dependencies.runtime.spawn(async move { fallback.bring_forward().await });
        ctx.spawn(brought.into_actor(self).map(|brought, publisher, ctx| {
            let failed: Option<String> = match brought {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(error) => Some(error.to_string()),
            };
            if let (Some(why), Breaker::Open { attempt }) = (failed, publisher.machine.breaker()) {
                warn!(why, "The job in Redis could not be brought forward; trying from here");
                publisher.begin_attempt(attempt, ctx);
            }
        }));
    }
}

/// The broker answers after a silence.
#[derive(Message)]
#[rtype(result = "()")]
struct BrokerSeen;

impl Handler<BrokerSeen> for Publisher {
    type Result = ();

    fn handle(&mut self, _: BrokerSeen, ctx: &mut Self::Context) {
        self.retry_now("The broker answers again", ctx);
    }
}
