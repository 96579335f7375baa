//! What is scraped: every metric that the runbook describes and no other.

#![allow(clippy::unwrap_used, reason = "a test helper fails by panicking")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use support::World;
use support::event;
use support::kafka::produce;
use support::process::Bonus;
use uuid::Uuid;

/// Name and type of each metric of this service in the runbook's table.
fn described() -> BTreeSet<(String, String)> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md");
    let text = std::fs::read_to_string(file).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `bonus_"));
    rows.map(|row| {
        let mut cells = row.split('|').map(str::trim);
        let name = cells.next().unwrap().trim_end_matches('`');
        (format!("bonus_{name}"), cells.next().unwrap().to_owned())
    })
    .collect()
}

#[tokio::test]
async fn what_is_scraped_is_what_the_runbook_describes() {
    let world = World::new().await;
    let bonus = Bonus::start_ready(&world).await;
    let customer = Uuid::now_v7();
    produce(&world, &[event("OrderCreated", Uuid::now_v7(), 1, customer)]).await;
    world.points_become(&BTreeMap::from([(customer, 40)])).await;
    let scraped = reqwest::get(format!("{}/metrics", bonus.url)).await.unwrap().text().await.unwrap();
    let typed: BTreeSet<(String, String)> = scraped
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
        .collect();
    assert_eq!(typed, described());
    for (name, _) in typed {
        assert!(scraped.contains(&format!("# HELP {name} ")), "{name} does not say what it is");
    }
}
