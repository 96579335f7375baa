//! `stack demo`: the story of a message queue's death that nobody notices, on real servers, each step checked. It is Kafka, or with
//! `MQ=redis` it is Redis.

mod book;
mod clients;
mod latency;
mod others;
mod outage;
mod report;
mod retry;
mod story;
mod streams;
mod topic;

use std::path::Path;

use anyhow::{Context, Result, bail};

pub(crate) use self::book::{Book, Command};
pub(crate) use self::clients::Clients;
pub(crate) use self::latency::create_orders;
use self::story::Story;
pub(crate) use self::story::eventually;
pub(crate) use self::topic::check_order;
use crate::local::parts::secure_wanted;
use crate::local::up::print_addresses;
use crate::local::{Home, LocalStack, Mq, Ports, Shape, down, label};
use crate::say;
use crate::servers::kafka::Distribution;
use crate::servers::process::Life;

/// Plays the story on a stack of its own and writes the report. Says `demo: PASS`, or which step failed and why, as the
/// last line; true if every check held. `keep` leaves the stack running.
pub async fn demo(home: Home, report: &Path, keep: bool) -> bool {
    let verdict = match play(home, report, keep).await {
        Ok(None) => "demo: PASS".to_owned(),
        Ok(Some((step, why))) => format!("demo: FAIL {step}: {why}"),
        Err(error) => format!("demo: FAIL set-up: {error:#}"),
    };
    // In one line, since the last line is what others look at.
    say::put(format_args!("\n{}", verdict.replace('\n', " | ")));
    verdict == "demo: PASS"
}

/// The step that failed, and why.
async fn play(home: Home, report: &Path, keep: bool) -> Result<Option<(&'static str, String)>> {
    let lock = home.lock()?;
    let shape = Shape {
        mq: Mq::wanted()?.unwrap_or_default(),
        secure: secure_wanted()?.unwrap_or_default(),
        ..Shape::default()
    };
    let kafka = match (shape.mq, std::env::var("KAFKA").as_deref()) {
        (Mq::Redis, _) => None,
        (Mq::Kafka, Ok("embedded")) => bail!(
            "the demo kills and restarts Apache Kafka, which the embedded stand-in cannot do: \
             its port and its messages would be gone. Unset KAFKA, and see `make deps`"
        ),
        (Mq::Kafka, _) => Some(Distribution::apache().context("the demo needs Apache Kafka")?),
    };
    let label = label(kafka.as_ref());
    // Of an earlier demo, which was kept or which failed.
    down(&home, |part, how| say::done(part, how))?;
    home.wipe()?;
    let life = if keep { Life::Left } else { Life::Owned };
    let stack = LocalStack::open(home.clone(), shape, kafka, Ports::Free, life)?;
    let mut story = Story::new(stack, label)?;
    match shape.mq {
        Mq::Kafka => tell(&mut story, keep).await,
        Mq::Redis => streams::tell(&mut story, keep).await,
    }
    finish(&mut story, report)?;
    if keep {
        print_addresses(&story.stack);
        say::line(format_args!("It keeps running; `make down STACK={}` stops it.", home.name));
    }
    let failure = story.report.failure().map(|(step, why)| (step, why.to_owned()));
    drop(story);
    if failure.is_none() && !keep {
        home.wipe()?;
    }
    drop(lock);
    Ok(failure)
}

async fn tell(story: &mut Story, keep: bool) {
    story.play("a", "All is well: orders flow, points arrive, the outbox is empty", Story::all_is_well).await;
    story.play("b", "Kafka is killed", Story::the_queue_is_killed).await;
    story.play("c", "Orders go on as before", Story::nobody_notices).await;
    story
        .play("d", "Every event waits in the outbox; the retry is a job in Redis", Story::everything_waits)
        .await;
    story.play("e", "The bonus service has received none of them", Story::bonus_has_none).await;
    story.play("f", "The order service is killed as well, and comes back", Story::the_service_dies_too).await;
    story.play("g", "Kafka is back: everything arrives, in order, once", Story::the_queue_is_back).await;
    story.play("h", "Redis is killed: publication does not need it", Story::redis_is_killed).await;
    story.play("i", "Kafka and Redis are killed together", Story::both_are_killed).await;
    if !keep {
        story.play("j", "The end: everything stops, nothing remains", Story::nothing_remains).await;
    }
}

fn finish(story: &mut Story, file: &Path) -> Result<()> {
    story.report.write(file).with_context(|| format!("cannot write {}", file.display()))?;
    say::title("Summary");
    say::put(story.report.table());
    let here = std::env::current_dir().unwrap_or_default();
    say::line(format_args!("written to {}", file.strip_prefix(here).unwrap_or(file).display()));
    if story.report.failure().is_some() {
        say::line(format_args!("logs: {}", story.stack.home.directory.join("logs").display()));
    }
    Ok(())
}
