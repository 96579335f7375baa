//! `stack compose-test`: the outage of docs/docker.md through `docker compose` on a real engine, each step checked.

mod engine;
mod faults;
mod story;

use anyhow::Result;

pub use self::engine::remove_remains;
use self::engine::{Project, find};
use self::story::Story;
use crate::say;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Passed,
    Failed,
    /// Nothing was tried.
    NoEngine,
}

impl Verdict {
    pub fn code(self) -> u8 {
        match self {
            Self::Passed => 0,
            Self::Failed => 1,
            // 2 is for wrong usage.
            Self::NoEngine => 3,
        }
    }
}

/// Builds the images and plays the outage. Says `compose-test: PASS`, `FAIL` or `NO ENGINE` as the last line.
pub async fn compose_test() -> Verdict {
    let engine = match tokio::task::block_in_place(find) {
        Ok(engine) => engine,
        Err(why) => {
            say::put(format_args!("compose-test: NO ENGINE: {why:#}"));
            return Verdict::NoEngine;
        }
    };
    say::line(&engine);
    match play().await {
        Ok(()) => {
            say::put("\ncompose-test: PASS");
            Verdict::Passed
        }
        Err(error) => {
            say::error(format!("{error:#}"));
            say::put("\ncompose-test: FAIL");
            Verdict::Failed
        }
    }
}

async fn play() -> Result<()> {
    let mut story = Story::new(Project::new()?)?;
    let told = tell(&mut story).await;
    if told.is_err() {
        story.show_logs();
    }
    told
}

async fn tell(story: &mut Story) -> Result<()> {
    story.play("build", Story::build).await?;
    story.play("up --wait", Story::up).await?;
    story.play("where to look", Story::where_to_look).await?;
    story.play("all is well", Story::all_is_well).await?;
    story.play("stop kafka", Story::kafka_is_stopped).await?;
    story.play("start kafka", Story::kafka_is_back).await?;
    story.play("orders check", Story::check_is_content).await?;
    story.play("kill kafka", Story::kafka_is_killed).await?;
    story.play("start kafka", Story::kafka_is_back).await?;
    story.play("pause kafka", Story::kafka_is_frozen).await?;
    story.play("unpause kafka", Story::kafka_goes_on).await?;
    story.play("stop redis", Story::redis_is_stopped).await?;
    story.play("stop kafka redis", Story::both_are_stopped).await?;
    story.play("start kafka redis", Story::both_are_back).await?;
    story.play("stop postgres", Story::postgres_is_stopped).await?;
    story.play("start postgres", Story::postgres_is_back).await?;
    story.play("crashes", Story::crashed_services_return).await?;
    story.play("topic", Story::topic_in_order).await?;
    story.play("down", Story::down).await
}
