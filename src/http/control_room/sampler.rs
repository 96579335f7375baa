//! Takes a sample of the service once a second.

use std::pin::Pin;
use std::time::{Duration, Instant};

use chrono::Utc;
use engine::journal::ReadError;
use engine::publisher::outbox::OutboxNumbers;
use engine::publisher::{GetStatus, PublisherStatus};
use kit::supervision::{ActorReport, GetActors};
use operations::http::RetryView;
use tokio::time::{self, MissedTickBehavior, interval_at, timeout};

use super::bonus::Summary;
use super::snapshot::{LatestOrder, Point, Snapshot};
use crate::http::Services;

const INTERVAL: Duration = Duration::from_secs(1);
/// How long a sample waits for answers. Shorter than the interval, so that samples keep their time.
const PATIENCE: Duration = Duration::from_millis(600);
/// Rows of the page's table of orders.
const ORDERS: i64 = 12;

/// Samples until the room is closed.
pub(super) async fn run(services: Services) {
    let mut requests = OpenRequests::default();
    // The first sample covers a whole interval too: a rate over a shorter time would mean nothing.
    let mut ticks = interval_at(time::Instant::now() + INTERVAL, INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut counted_at = Instant::now();
    while !services.room.is_closed() {
        ticks.tick().await;
        sample(&services, &mut requests, &mut counted_at).await;
    }
}

/// Requests that may take longer than a sample, and the last answer.
#[derive(Default)]
struct OpenRequests {
    status: OpenRequest<Option<PublisherStatus>>,
    numbers: OpenRequest<Option<OutboxNumbers>>,
    /// The latest known numbers, however old.
    latest_numbers: Option<OutboxNumbers>,
    actors: OpenRequest<Vec<ActorReport>>,
    bonus: OpenRequest<Option<Summary>>,
    orders: OpenRequest<Option<Vec<LatestOrder>>>,
}

async fn sample(services: &Services, requests: &mut OpenRequests, counted_at: &mut Instant) {
    let (publisher, outbox) = (services.publisher.clone(), services.outbox.clone());
    let (status, numbers) = tokio::join!(
        requests.status.ask(async move || publisher.ask(GetStatus).await.ok()),
        requests.numbers.ask(async move || outbox.numbers().await.ok()),
    );
    let (status, numbers) = (status.flatten(), numbers.flatten());
    if numbers.is_some() {
        requests.latest_numbers.clone_from(&numbers);
    }
    // Without Postgres nothing is appended or published: the pending events stay, and grow older.
    if let Some(numbers) = &requests.latest_numbers {
        engine::metric::outbox(numbers.pending, numbers.oldest_pending_age(), numbers.quarantined);
    }
    let (mut actors, mut bonus, mut orders) = (None, None, None);
    if services.room.is_watched() {
        let (guardian, client) = (services.guardian.clone(), services.room.bonus.clone());
        let reader = services.reader.clone();
        (actors, bonus, orders) = tokio::join!(
            requests.actors.ask(async move || guardian.send(GetActors).await.unwrap_or_default()),
            requests.bonus.ask(async move || client.summary().await),
            requests.orders.ask(async move || {
                let latest = sqlx::query_as(include_str!("sql/latest_orders.sql")).bind(ORDERS);
                let latest: Result<_, ReadError> = reader
                    .run(async move |mut connection| Ok(latest.fetch_all(&mut *connection).await?))
                    .await;
                latest.ok()
            }),
        );
    }
    // Commands are counted after the wait for answers, so the time since the last count ends now.
    let since_last = std::mem::replace(counted_at, Instant::now()).elapsed();
    services.room.show(&Snapshot {
        point: &point(services, status.as_ref(), numbers.as_ref(), since_last),
        is_publisher: status.as_ref().is_some_and(|status| status.is_publisher),
        retry: status.and_then(|status| status.retry).map(RetryView::from),
        quarantined_orders: numbers.as_ref().map(|numbers| numbers.quarantined),
        published_seq: numbers.as_ref().map(|numbers| numbers.published_seq),
        outages: services.room.outages.all(),
        actors: actors.unwrap_or_default(),
        bonus: bonus.flatten(),
        orders: orders.flatten(),
    });
}

fn point(
    services: &Services,
    status: Option<&PublisherStatus>,
    numbers: Option<&OutboxNumbers>,
    since_last: Duration,
) -> Point {
    let commands = services.room.meter.read();
    let millis = |took: Duration| took.as_secs_f64() * 1_000.0;
    Point {
        at: Utc::now(),
        // A publisher that is being restarted sends nothing: the breaker is open in effect.
        breaker: status.map_or("open", |status| status.breaker),
        pending: numbers.map(|numbers| numbers.pending),
        oldest_pending_age_seconds: numbers.map(|numbers| numbers.oldest_pending_age().as_secs_f64()),
        commands_per_second: f64::from(u32::try_from(commands.commands).unwrap_or(u32::MAX))
            / since_last.max(Duration::from_millis(1)).as_secs_f64(),
        failed_commands: commands.failed,
        p50_ms: commands.p50.map(millis),
        p99_ms: commands.p99.map(millis),
    }
}

/// Asks again only after the last answer, so that requests do not pile up at a server that does not answer.
struct OpenRequest<T>(Option<Pin<Box<dyn Future<Output = T> + Send>>>);

impl<T> Default for OpenRequest<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> OpenRequest<T> {
    /// The answer, if it comes within this sample's patience.
    async fn ask<F>(&mut self, question: impl FnOnce() -> F) -> Option<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let open = self.0.get_or_insert_with(|| Box::pin(question()));
        let answer = timeout(PATIENCE, open).await.ok();
        if answer.is_some() {
            self.0 = None;
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn a_question_stays_open_until_it_is_answered() {
        let mut question = OpenRequest::default();
        let (answer, answered) = oneshot::channel();
        assert_eq!(question.ask(|| answered).await, None);
        answer.send(1).unwrap();
        let never = || async { unreachable!("the first question is still open") };
        assert_eq!(question.ask(|| Box::pin(never())).await, Some(Ok(1)));
        assert_eq!(question.ask(|| std::future::ready(Ok(2))).await, Some(Ok(2)), "the next one is asked");
    }
}
