//! Looks at the service once a second.

use std::pin::Pin;
use std::time::{Duration, Instant};

use chrono::Utc;
use engine::journal::ReadError;
use engine::publisher::outbox::OutboxNumbers;
use engine::publisher::{PublisherStatus, Status};
use kit::supervision::{ActorReport, Report};
use tokio::time::{self, MissedTickBehavior, interval_at, timeout};

use super::bonus::Summary;
use super::snapshot::{LatestOrder, Point, Snapshot};
use crate::http::Services;
use crate::http::outbox::RetryView;

const INTERVAL: Duration = Duration::from_secs(1);
/// How long a sample waits for answers. Shorter than the interval, so that samples keep their time.
const PATIENCE: Duration = Duration::from_millis(600);
/// Rows of the page's table of orders.
const ORDERS: i64 = 12;

/// Samples until the room is closed.
pub(super) async fn run(services: Services) {
    let mut asked = Asked::default();
    // The first sample covers a whole interval, too: of the moment after the start a rate would say nothing.
    let mut ticks = interval_at(time::Instant::now() + INTERVAL, INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut counted_at = Instant::now();
    while !services.room.is_closed() {
        ticks.tick().await;
        sample(&services, &mut asked, &mut counted_at).await;
    }
}

/// What may take longer than a sample, and what came of it.
#[derive(Default)]
struct Asked {
    status: Question<Option<PublisherStatus>>,
    numbers: Question<Option<OutboxNumbers>>,
    /// The latest that were learnt, however long ago.
    latest_numbers: Option<OutboxNumbers>,
    actors: Question<Vec<ActorReport>>,
    bonus: Question<Option<Summary>>,
    orders: Question<Option<Vec<LatestOrder>>>,
}

async fn sample(services: &Services, asked: &mut Asked, counted_at: &mut Instant) {
    let (publisher, outbox) = (services.publisher.clone(), services.outbox.clone());
    let (status, numbers) = tokio::join!(
        asked.status.ask(async move || publisher.ask(Status).await.ok()),
        asked.numbers.ask(async move || outbox.numbers().await.ok()),
    );
    let (status, numbers) = (status.flatten(), numbers.flatten());
    if numbers.is_some() {
        asked.latest_numbers.clone_from(&numbers);
    }
    // Without Postgres nothing is appended or published: what waited goes on waiting, and grows older.
    if let Some(numbers) = &asked.latest_numbers {
        engine::metric::outbox(numbers.pending, numbers.oldest_pending_age(), numbers.quarantined);
    }
    let (mut actors, mut bonus, mut orders) = (None, None, None);
    if services.room.is_watched() {
        let (guardian, client) = (services.guardian.clone(), services.room.bonus.clone());
        let reader = services.reader.clone();
        (actors, bonus, orders) = tokio::join!(
            asked.actors.ask(async move || guardian.send(Report).await.unwrap_or_default()),
            asked.bonus.ask(async move || client.summary().await),
            asked.orders.ask(async move || {
                let latest = sqlx::query_as(include_str!("sql/latest_orders.sql")).bind(ORDERS);
                let latest: Result<_, ReadError> = reader
                    .run(async move |mut connection| Ok(latest.fetch_all(&mut *connection).await?))
                    .await;
                latest.ok()
            }),
        );
    }
    // Commands are counted now, after the wait for answers, so the time since the last count ends now.
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
        // A publisher that is being restarted sends nothing: open, in effect.
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

/// Asks again only when the last answer has come: a server that does not answer is not buried in questions.
struct Question<T>(Option<Pin<Box<dyn Future<Output = T> + Send>>>);

impl<T> Default for Question<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Question<T> {
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
        let mut question = Question::default();
        let (answer, answered) = oneshot::channel();
        assert_eq!(question.ask(|| answered).await, None);
        answer.send(1).unwrap();
        let never = || async { unreachable!("the first question is still open") };
        assert_eq!(question.ask(|| Box::pin(never())).await, Some(Ok(1)));
        assert_eq!(question.ask(|| std::future::ready(Ok(2))).await, Some(Ok(2)), "the next one is asked");
    }
}
