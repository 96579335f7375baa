//! The state of the topic's partitions: how many there are, which of them have a leader and enough replicas in sync.
//!
//! Asked for seldom while everything works, and often otherwise. Then it tells why a partition fails, and a leader or replica that
//! comes back brings the retry forward.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use tracing::error;

use super::Publisher;
use super::machine::{Breaker, Input, lane};
use super::retry;
use crate::transport::{BoxFuture, PartitionState, shortage, strength};

/// How long the brokers may take to answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two such questions while something is wrong, or the number of partitions is not known yet.
pub(super) const PAUSE: Duration = Duration::from_millis(250);
/// Between two such questions while all is well.
const PAUSE_IDLE: Duration = Duration::from_secs(10);

#[derive(Default)]
pub(super) struct Partitions {
    asked_at: Option<Instant>,
    asking: bool,
    /// The last answer; empty while there is none.
    states: Vec<PartitionState>,
    /// The topic's `min.insync.replicas`, while replicas are missing: asked until it is answered.
    min_in_sync: Option<i32>,
}

impl Partitions {
    /// Why these partitions take nothing, if that is known.
    fn shortage(&self, of: &[u32]) -> Option<String> {
        let among =
            |state: &&PartitionState| u32::try_from(state.partition).is_ok_and(|number| of.contains(&number));
        let states: Vec<PartitionState> = self.states.iter().filter(among).cloned().collect();
        shortage(&states, self.min_in_sync)
    }
}

impl Publisher {
    /// `cause`, and what is known of the link or the lane's partitions.
    pub(super) fn explained(&self, lane: u32, cause: String) -> String {
        let problem = self.client.as_ref().and_then(|client| client.problem());
        match problem.or_else(|| self.partitions.shortage(&self.partitions_of(lane))) {
            Some(shortage) => format!("{cause}: {shortage}"),
            None => cause,
        }
    }

    pub(super) fn partitions_of(&self, lane: u32) -> Vec<u32> {
        let lanes = self.machine.lanes();
        (0..self.machine.partitions()).filter(|partition| partition % lanes == lane).collect()
    }

    /// `uneasy`: something that is in flight is late.
    pub(super) fn ask_for_partitions(&mut self, uneasy: bool, ctx: &mut Context<Self>) {
        let open = !matches!(self.machine.breaker(), Breaker::Closed);
        let urgent = uneasy || open || self.lanes.are_stuck() || self.partitions.states.is_empty();
        let pause = if urgent { PAUSE } else { PAUSE_IDLE };
        let asked = &mut self.partitions;
        if asked.asking || asked.asked_at.is_some_and(|at| at.elapsed() < pause) {
            return;
        }
        let Some(client) = &self.client else { return };
        (asked.asking, asked.asked_at) = (true, Some(Instant::now()));
        let well = (0..self.machine.lanes()).find(|lane| !self.lanes.is_stuck(*lane)).unwrap_or(0);
        let states = client.partitions(well, PATIENCE);
        let transport = Arc::clone(&self.settings.transport);
        let answer = ask(states, asked.min_in_sync, move || transport.replicas_wanted());
        let asked = self.dependencies.runtime.spawn(answer);
        ctx.spawn(asked.into_actor(self).map(|answer, publisher, ctx| {
            publisher.partitions.asking = false;
            if let Ok(Some((states, min_in_sync))) = answer {
                publisher.partitions.min_in_sync = min_in_sync;
                publisher.partitions_seen(states, ctx);
            }
        }));
    }

    fn partitions_seen(&mut self, states: Vec<PartitionState>, ctx: &mut Context<Self>) {
        let before = std::mem::replace(&mut self.partitions.states, states.clone());
        if before.len() != states.len() {
            let partitions = u32::try_from(states.len()).unwrap_or(u32::MAX);
            self.ensure_lanes(partitions, ctx);
            if let Some(lease) = &self.lease {
                lease.divide_by(partitions);
            }
            self.feed(Input::Partitions(partitions), ctx);
        }
        if !before.is_empty() && strength(&states) > strength(&before) {
            let reason = "Leaders or replicas have come back";
            self.retry(retry::Input::TryNow { reason }, ctx);
        }
        self.stuck_partitions_seen(&states, ctx);
    }

    pub(super) fn ensure_lanes(&mut self, partitions: u32, ctx: &mut Context<Self>) {
        if let Some(Err(cause)) =
            self.client.as_mut().map(|client| client.ensure_lanes(lane::lanes(partitions)))
        {
            error!(%cause, "A lane of the broker's client could not be made");
            ctx.stop();
        }
    }
}

/// The partitions, and the topic's `min.insync.replicas` as far as it matters and may be seen.
async fn ask(
    states: BoxFuture<Option<Vec<PartitionState>>>,
    min_in_sync: Option<i32>,
    replicas_wanted: impl FnOnce() -> BoxFuture<Option<i32>>,
) -> Option<(Vec<PartitionState>, Option<i32>)> {
    let states = states.await?;
    let min_in_sync = match min_in_sync {
        _ if states.iter().all(PartitionState::has_all_replicas) => None,
        Some(known) => Some(known),
        None => replicas_wanted().await,
    };
    Some((states, min_in_sync))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn states(in_sync: usize) -> BoxFuture<Option<Vec<PartitionState>>> {
        Box::pin(async move { Some(vec![PartitionState { partition: 0, leader: 1, replicas: 2, in_sync }]) })
    }

    async fn min_in_sync(in_sync: usize, known: Option<i32>, told: Option<i32>) -> Option<i32> {
        ask(states(in_sync), known, move || Box::pin(async move { told })).await.unwrap().1
    }

    /// A broker that dies takes the question with it: counted as 1, it would never be asked again, and nothing would be explained.
    #[actix::test]
    async fn what_no_broker_answered_stays_open() {
        assert_eq!(min_in_sync(1, None, None).await, None, "asked again next time");
        assert_eq!(min_in_sync(1, None, Some(2)).await, Some(2));
        assert_eq!(min_in_sync(1, Some(2), None).await, Some(2), "known, so not asked");
        assert_eq!(min_in_sync(2, Some(2), None).await, None, "it does not matter while nothing is missing");
    }
}
