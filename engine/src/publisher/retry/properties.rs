//! Properties that hold for any inputs in any order.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::tests::{CAP, at, half_open, open, redis_fails, scheduled};
use super::*;

fn any_input() -> impl Strategy<Value = Input> {
    let attempt = 1_u32..4;
    let date = (0_i64..100).prop_map(at);
    let job = (attempt.clone(), date.clone()).prop_map(|(attempt, due_at)| scheduled(attempt, due_at));
    prop_oneof![
        attempt.clone().prop_map(open),
        attempt.clone().prop_map(half_open),
        Just(Input::Breaker(Breaker::Closed)),
        (attempt.clone(), date.clone()).prop_map(|(attempt, now)| Input::Failed { attempt, now }),
        job.clone().prop_map(Input::HandedOff),
        job.clone().prop_map(Input::Rescheduled),
        Just(redis_fails()),
        attempt.prop_map(|attempt| Input::JobRuns { run: JobRun(0), attempt }),
        Just(Input::LeaseGained),
        Just(Input::LeaseLost),
        Just(Input::TimerFired),
        Just(Input::LeaseWaitOver),
        Just(Input::TryNow { reason: "" }),
        Just(Input::UntriedLane),
        Just(Input::BringForwardFailed { why: String::new() }),
        date.clone().prop_map(|now| Input::Tick { now }),
        (prop::option::of(job), date).prop_map(|(found, now)| Input::JobFound { found, now }),
        Just(Input::OutboxSeen { published: 1, head: 2, deferred_events: 0, known: 0 }),
    ]
}

proptest! {
    /// Whatever the inputs, sense or none: no job is told twice, no timer runs twice or is cancelled in vain, no wish is repeated.
    #[test]
    fn outputs_are_in_pairs(mut inputs in prop::collection::vec(any_input(), 0..60), stops_at in 0_usize..60) {
        let mut retry = RetryMachine::new(CAP);
        let (mut jobs, mut runs) = (BTreeSet::new(), 0);
        let (mut timer, mut limit, mut wanted, mut stopping) = (false, false, true, false);
        inputs.insert(stops_at.min(inputs.len()), Input::ShuttingDown);
        for input in inputs {
            let input = match input {
                Input::JobRuns { attempt, .. } => {
                    runs += 1;
                    jobs.insert(JobRun(runs));
                    Input::JobRuns { run: JobRun(runs), attempt }
                }
                Input::TimerFired if !std::mem::take(&mut timer) => continue,
                Input::LeaseWaitOver if !std::mem::take(&mut limit) => continue,
                other => other,
            };
            stopping |= input == Input::ShuttingDown;
            for output in retry.handle(input) {
                match output {
                    Output::SetTimer { .. } => prop_assert!(!std::mem::replace(&mut timer, true)),
                    Output::CancelTimer => prop_assert!(std::mem::take(&mut timer)),
                    Output::LimitWait => limit = true,
                    Output::CancelLimit => prop_assert!(std::mem::take(&mut limit)),
                    Output::WantLease(wish) => {
                        prop_assert!(std::mem::replace(&mut wanted, wish) != wish);
                        prop_assert!(!(wish && stopping));
                    }
                    Output::EndRun { run, .. } => prop_assert!(jobs.remove(&run)),
                    _ => {}
                }
            }
            prop_assert!(jobs.len() <= 1, "a job was forgotten");
        }
        retry.handle(Input::Breaker(Breaker::Closed)).into_iter().for_each(|output| {
            if let Output::EndRun { run, .. } = output {
                jobs.remove(&run);
            }
        });
        prop_assert!(jobs.is_empty());
    }
}
