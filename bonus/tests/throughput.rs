//! How fast a backlog is credited. Not a check: run it by name, in a release build, on a quiet machine.

mod support;

use std::time::Instant;

use support::kafka::produce;
use support::process::Bonus;
use support::{World, eventually, histories};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement: cargo test --release -p bonus --test throughput -- --ignored --nocapture"]
async fn a_backlog_of_two_hundred_thousand_events() {
    for batch_messages_max in ["500", "1000", "2000", "5000"] {
        let world = World::new().await;
        let (events, expected) = histories(70_000, 5_000);
        for part in events.chunks(20_000) {
            produce(&world, part).await;
        }
        let started = Instant::now();
        let bonus = Bonus::start_with(&world, &[("BONUS_BATCH_MESSAGES_MAX", batch_messages_max)]).await;
        let received = eventually("all messages are handled", async || {
            let handled = bonus.metric("bonus_batch_messages_sum").await;
            if handled >= f64::from(u32::try_from(events.len()).unwrap()) {
                Ok(handled)
            } else {
                Err(format!("{handled}"))
            }
        });
        let received = received.await;
        let took = started.elapsed().as_secs_f64();
        world.points_become(&expected).await;
        println!(
            "batches of {batch_messages_max}: {received} messages in {took:.2} s, {:.0} a second",
            received / took
        );
    }
}
