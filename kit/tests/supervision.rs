//! Actors and tasks under a Guardian: how they end, and how they come back.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use actix::prelude::*;
use kit::supervision::{
    ActorReport, Child, Crash, CrashChild, GetActors, Guardian, GuardianSettings, Lifeline, State,
    StopRestarting, Supervise, Vitals,
};
use kit::telemetry::LogFormat;

const DEADLINE: Duration = Duration::from_secs(30);

fn guardian() -> Addr<Guardian> {
    let settings = GuardianSettings {
        dashboard_interval: Duration::from_secs(3_600),
        format: LogFormat::Json,
        restarts_metric: "test_actor_restarts_total",
    };
    Guardian::new(settings).start()
}

async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn row(guardian: &Addr<Guardian>, name: &str) -> ActorReport {
    let rows = guardian.send(GetActors).await.unwrap();
    rows.into_iter().find(|row| row.name == name).unwrap()
}

/// How many actors were made, and in which state of their supervision each of them ended.
#[derive(Default)]
struct Lives {
    made: AtomicUsize,
    ended: Mutex<Vec<State>>,
}

/// Answers with the number of its life.
struct Echo {
    life: usize,
    lifeline: Option<Lifeline>,
    vitals: Arc<Vitals>,
    lives: Arc<Lives>,
}

impl Echo {
    fn new(lives: Arc<Lives>, lifeline: Lifeline) -> Self {
        let (life, vitals) = (lives.made.fetch_add(1, Ordering::Relaxed) + 1, Arc::clone(lifeline.vitals()));
        Self { life, lifeline: Some(lifeline), vitals, lives }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.lives.ended.lock().unwrap().push(self.vitals.state());
    }
}

impl Actor for Echo {
    type Context = Context<Self>;
}

#[derive(Message)]
#[rtype(result = "usize")]
struct Life;

impl Handler<Life> for Echo {
    type Result = usize;

    fn handle(&mut self, _: Life, _: &mut Self::Context) -> usize {
        let _handling = self.lifeline.as_ref().map(Lifeline::handling);
        self.life
    }
}

/// The lifeline ends while the actor could go on.
#[derive(Message)]
#[rtype(result = "()")]
struct LoseLifeline;

impl Handler<LoseLifeline> for Echo {
    type Result = ();

    fn handle(&mut self, _: LoseLifeline, _: &mut Self::Context) {
        if let Some(lifeline) = self.lifeline.take() {
            lifeline.end("its feed has ended");
        }
    }
}

impl Handler<Crash> for Echo {
    type Result = ();

    fn handle(&mut self, crash: Crash, _: &mut Self::Context) {
        crash.now();
    }
}

async fn echo(guardian: &Addr<Guardian>) -> (Child<Echo>, Arc<Lives>) {
    let (child, lives) = (Child::named("echo", "guardian"), Arc::new(Lives::default()));
    let counted = Arc::clone(&lives);
    let make = move |lifeline| Echo::new(Arc::clone(&counted), lifeline);
    guardian.send(Supervise::new(&child, Arbiter::current(), make)).await.unwrap();
    (child, lives)
}

#[actix_rt::test]
async fn an_actor_that_panics_comes_back_under_its_name() {
    let guardian = guardian();
    let (child, _) = echo(&guardian).await;
    eventually("it answers", async || child.ask(Life).await == Ok(1)).await;
    assert!(guardian.send(CrashChild("echo".to_owned())).await.unwrap());
    eventually("its next life answers", async || child.ask(Life).await == Ok(2)).await;
    let row = row(&guardian, "echo").await;
    assert_eq!((row.state.as_str(), row.restarts), ("running", 1));
    assert!(row.last_error.unwrap().starts_with("panicked"));
    assert!(!guardian.send(CrashChild("nobody".to_owned())).await.unwrap());
}

#[actix_rt::test]
async fn an_actor_whose_lifeline_ends_first_goes_before_the_next_one_comes() {
    let guardian = guardian();
    let (child, lives) = echo(&guardian).await;
    eventually("it answers", async || child.ask(Life).await == Ok(1)).await;
    child.ask(LoseLifeline).await.unwrap();
    eventually("its next life answers", async || child.ask(Life).await == Ok(2)).await;
    assert_eq!(row(&guardian, "echo").await.last_error.as_deref(), Some("its feed has ended"));
    assert_eq!(lives.made.load(Ordering::Relaxed), 2);
    // While the back-off ran: nothing could address it any more.
    assert_eq!(*lives.ended.lock().unwrap(), [State::Restarting]);
}

#[actix_rt::test]
async fn a_task_comes_back_after_every_kind_of_end_until_the_service_stops() {
    let guardian = guardian();
    let (vitals, lives) =
        (Arc::new(Vitals::new("task".to_owned(), "guardian")), Arc::new(AtomicUsize::new(0)));
    let (counted, told) = (Arc::clone(&lives), Arc::new(tokio::sync::Notify::new()));
    let stop = Arc::clone(&told);
    let task = Supervise::task(&vitals, move |lifeline: Lifeline| {
        let (life, stop) = (counted.fetch_add(1, Ordering::Relaxed) + 1, Arc::clone(&stop));
        async move {
            match life {
                1 => panic!("a bug"),
                2 => lifeline.end("a failure"),
                3 => drop(lifeline),
                _ => stop.notified().await,
            }
        }
    });
    assert_eq!(vitals.state(), State::Starting);
    guardian.send(task).await.unwrap();
    eventually("the fourth life", async || lives.load(Ordering::Relaxed) == 4).await;
    let row = row(&guardian, "task").await;
    assert_eq!((row.state.as_str(), row.restarts), ("running", 3));
    assert_eq!(row.last_error.as_deref(), Some("stopped by itself"));
    assert!(!guardian.send(CrashChild("task".to_owned())).await.unwrap(), "a task takes no messages");

    guardian.send(StopRestarting).await.unwrap();
    told.notify_one();
    tokio::time::timeout(DEADLINE, vitals.until_down()).await.unwrap();
    assert_eq!(vitals.state(), State::Stopped);
    assert_eq!(lives.load(Ordering::Relaxed), 4);
}
