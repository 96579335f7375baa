//! Rows 1 and 2: commands per second, beside Postgres itself.

use anyhow::Result;

use super::http::closed;
use super::processors::Processors;
use super::reference::PgBench;
use super::report::{Figure, Target};
use super::secured::SecuredSite;
use super::workload::{Creates, LifeCycles};
use super::{Bench, CONNECTIONS};
use crate::servers::Server;

const STEPS: [usize; 3] = [16, CONNECTIONS, 256];

pub(super) async fn creates(bench: &Bench) -> Result<Vec<Figure>> {
    let site = bench.warm_site(1).await?;
    let host = site.host(0)?;
    let pgbench = PgBench::of_events(&site.database, site.postgres.url(), &bench.directory(1)).await?;
    let lasts = bench.seconds();
    let (mut p50, mut p50_reference) = (Vec::new(), Vec::new());
    let mut rates = STEPS.map(|_| (Vec::new(), Vec::new()));
    let postgres: (_, &Server) = ("Postgres", &site.postgres);
    let mut ours_used =
        Processors::of(&[("the service", site.service(0)?), postgres, ("Kafka", &site.kafka)])?;
    let mut reference_used = Processors::of(&[postgres])?;
    let secured = SecuredSite::start(bench, 1).await?;
    let mut secured_used = Processors::of(&[
        ("the service", secured.site.service(0)?),
        ("Postgres", &secured.site.postgres),
        ("Kafka", &secured.site.kafka),
    ])?;
    let (mut p50_secured, mut secured_rates) = (Vec::new(), Vec::new());
    for round in 1..=bench.rounds {
        p50.push(closed(host, 1, lasts, Creates::new).await?.milliseconds(0.5));
        p50_reference.push(pgbench.p50_ms(lasts).await?);
        p50_secured.push(secured.closed(1, lasts, Creates::new).await?.milliseconds(0.5));
        for (connections, (ours, reference)) in STEPS.into_iter().zip(&mut rates) {
            let load = closed(host, connections, lasts, Creates::new);
            let transactions = pgbench.per_second(connections, lasts);
            if connections == CONNECTIONS {
                let answers = ours_used.watch(load, |answers| answers.latencies.len() as f64).await?;
                ours.push(answers.per_second());
                let count = |per_second: &f64| per_second * lasts.as_secs_f64();
                reference.push(reference_used.watch(transactions, count).await?);
                let load = secured.closed(connections, lasts, Creates::new);
                let answers = secured_used.watch(load, |answers| answers.latencies.len() as f64).await?;
                secured_rates.push(answers.per_second());
                bench.say(1, round, "secured and plain", &secured_rates, ours);
            } else {
                ours.push(load.await?.per_second());
                reference.push(transactions.await?);
            }
            bench.say(1, round, &format!("{connections} connections"), ours, reference);
        }
    }
    let name = "creates, p50 at 1 connection";
    let mut figures =
        vec![Figure::of(1, name, "ms", &p50, ("pgbench p50", &p50_reference), Target::OverAtMost(0.5))];
    for (connections, (ours, reference)) in STEPS.into_iter().zip(&rates) {
        let target = if connections == CONNECTIONS { Target::RatioAtLeast(1.5) } else { Target::Shown };
        let name = format!("creates at {connections} connections");
        figures.push(Figure::of(1, name, "/s", ours, ("pgbench", reference), target));
    }
    figures.extend(ours_used.figures(1, "a create at 64 connections", Some(("pgbench", &reference_used))));
    let (name, plain) = ("secured creates, p50 at 1 connection", ("not secured", p50.as_slice()));
    figures.push(Figure::of(1, name, "ms", &p50_secured, plain, Target::Shown));
    if let Some((_, (ours, _))) = STEPS.into_iter().zip(&rates).find(|(step, _)| *step == CONNECTIONS) {
        let (name, plain) = ("secured creates at 64 connections", ("not secured", ours.as_slice()));
        figures.push(Figure::of(1, name, "/s", &secured_rates, plain, Target::Shown));
    }
    let name = "a secured create at 64 connections";
    figures.extend(secured_used.figures(1, name, Some(("not secured", &ours_used))));
    Ok(figures)
}

pub(super) async fn life_cycles(bench: &Bench) -> Result<Vec<Figure>> {
    let site = bench.warm_site(2).await?;
    let host = site.host(0)?;
    let lasts = bench.seconds();
    let secured = SecuredSite::start(bench, 2).await?;
    let (mut lives, mut creates, mut secured_lives) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=bench.rounds {
        creates.push(closed(host, CONNECTIONS, lasts, Creates::new).await?.per_second());
        lives.push(closed(host, CONNECTIONS, lasts, LifeCycles::new).await?.per_second());
        bench.say(2, round, "life cycles and creates", &lives, &creates);
        secured_lives.push(secured.closed(CONNECTIONS, lasts, LifeCycles::new).await?.per_second());
        bench.say(2, round, "secured and plain", &secured_lives, &lives);
    }
    let (name, plain) = ("create, pay, ship, complete at 64 connections", ("not secured", lives.as_slice()));
    Ok(vec![
        Figure::of(2, name, "/s", &lives, ("creates", &creates), Target::RatioAtLeast(0.9)),
        Figure::of(2, "the same, secured", "/s", &secured_lives, plain, Target::Shown),
    ])
}
