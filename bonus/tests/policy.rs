//! Another policy: accounts derived anew while crediting goes on come to what they would be if all had been consumed by it.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bonus::changes::{self, AccountChange};
use bonus::database;
use bonus::ledger::{self, LedgerConnection};
use bonus::message::Event;
use bonus::outbox;
use bonus::points::Valued;
use bonus::policy::{self, Grade, Policy, V1, V2};
use bonus::rebuild::{Rebuild, put_in_force};
use bonus::standing::{Standing, StandingChange};
use bonus::sweep;
use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use kit::postgres::Purpose;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config as Cases, RngAlgorithm, TestRng, TestRunner};
use serde_json::Value;
use sqlx::postgres::types::PgInterval;
use sqlx::{Connection, PgConnection};
use support::arrivals::{any_arrivals, by_the_rules, credit_of};
use support::command::{self, Ran, ended, run_with};
use support::kafka::produce;
use support::process::Bonus;
use support::{World, event, eventually, histories, migrate};
use tokio::process::Child;
use uuid::Uuid;

/// A world whose schema is there, without Kafka and a service.
async fn migrated() -> World {
    let world = World::without_kafka().await;
    migrate(&world.config()).await;
    world
}

/// As the service credits, on a connection of its own.
fn consumer(world: &World) -> LedgerConnection {
    LedgerConnection::new(
        database::connector(&world.config().database, Purpose::Requests),
        outbox::appender(),
    )
}

fn spawn(world: &World, arguments: &[&str]) -> Child {
    command::spawn(world, &[], &[&["rebuild"], arguments].concat())
}

async fn rebuild(world: &World, arguments: &[&str]) -> Value {
    ended(spawn(world, &[arguments, &["--json"]].concat())).await.ended(0)
}

/// What an account is, without the times at which it was written.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
struct Row {
    customer_id: Uuid,
    points: i64,
    credited_events: i64,
    vip: bool,
    policy_version: i16,
}

async fn accounts(database: &mut PgConnection) -> Vec<Row> {
    let rows =
        "SELECT customer_id, points, credited_events, vip, policy_version FROM account ORDER BY customer_id";
    sqlx::query_as(rows).fetch_all(database).await.unwrap()
}

/// Each entry of the ledger with its points, and by which policy they are.
async fn entries(database: &mut PgConnection) -> Vec<(Uuid, i64, i16)> {
    let rows = "SELECT event_id, points, policy_version FROM ledger_entry ORDER BY event_id";
    sqlx::query_as(rows).fetch_all(database).await.unwrap()
}

/// The changes as they are recorded to be published, in the order of their positions.
async fn published_changes(database: &mut PgConnection) -> Vec<AccountChange> {
    let rows = "SELECT customer_id, event_type, payload::jsonb->>'grade' FROM customer_event ORDER BY seq";
    let rows: Vec<(Uuid, String, Option<String>)> = sqlx::query_as(rows).fetch_all(database).await.unwrap();
    let change = |(customer_id, event_type, grade): (Uuid, String, Option<String>)| {
        let grade = || grade.as_deref().and_then(Grade::named).unwrap();
        let change = match event_type.as_str() {
            "GradeAttained" => StandingChange::GradeAttained(grade()),
            "GradeLost" => StandingChange::GradeLost(grade()),
            "VipAcquired" => StandingChange::VipAcquired,
            "VipLost" => StandingChange::VipLost,
            other => panic!("{other}"),
        };
        AccountChange { customer_id, change }
    };
    rows.into_iter().map(change).collect()
}

fn standing(row: &Row) -> Standing {
    let policy = policy::of_version(row.policy_version).unwrap();
    Standing { grade: policy.grade(row.points), vip: row.vip }
}

/// What the same accounts, before and after, have gained and lost.
fn changes_between(before: &[Row], after: &[Row]) -> Vec<AccountChange> {
    let of_account = |(before, after): (&Row, &Row)| {
        changes::of_account(before.customer_id, standing(before), standing(after))
    };
    before.iter().zip(after).flat_map(of_account).collect()
}

/// Whoever follows what is published knows every account's standing: each change is there, once, in its order.
async fn what_is_published_leads_to_the_accounts(database: &mut PgConnection) {
    let mut told = BTreeMap::new();
    follow(&mut told, &published_changes(database).await);
    for row in accounts(database).await {
        let told = told.get(&row.customer_id).copied();
        assert_eq!(told.unwrap_or(Standing { grade: Grade::Bronze, vip: false }), standing(&row), "{row:?}");
    }
}

/// By the report of a rebuild.
fn nothing_is_published(report: &Value) -> bool {
    report["changes"].as_object().unwrap().values().all(|number| number == 0)
}

async fn number(database: &mut PgConnection, question: &'static str) -> i64 {
    sqlx::query_scalar(question).fetch_one(database).await.unwrap()
}

/// `customers` customers with some orders each, the oldest of them 75 days old, far from the edges of any window. By day and outcome
/// they differ, so that either policy has VIPs that the other one has not. Delivered in no particular order, one in seven events twice.
fn history(customers: u32) -> Vec<Event> {
    let now = Utc::now().trunc_subsecs(6);
    let mut events = Vec::new();
    for customer in 0..customers {
        let customer_id = Uuid::now_v7();
        for order in 0..1 + customer % 5 {
            let (order_id, days) = (Uuid::now_v7(), [5, 45, 75][((customer / 5 + order) % 3) as usize]);
            let occurred_at = now - TimeDelta::days(days);
            let event = |valued, version| credit_of(valued, (order_id, version), customer_id, occurred_at);
            events.push(event(Valued::Created, 1));
            match (customer + order) % 4 {
                0 => events.push(event(Valued::Cancelled, 3)),
                1 | 2 => events.push(event(Valued::Completed, 4)),
                _ => {}
            }
        }
    }
    let twice: Vec<Event> = events.iter().step_by(7).cloned().collect();
    events.extend(twice);
    // By the digits that are random.
    events.sort_by_key(|event| event.event_id.as_u128() & u128::from(u64::MAX));
    events
}

async fn credit(ledger: &mut LedgerConnection, events: &[Event]) {
    for batch in events.chunks(500) {
        ledger.credit(batch).await.unwrap();
    }
}

// --- the rule and the database ----------------------------------------------------------------------------------------

#[tokio::test]
async fn the_database_prices_by_the_policies_of_the_code() {
    type Columns = (i16, i64, i64, Vec<i64>, i64, PgInterval);
    let world = migrated().await;
    let mut database = world.connect().await;
    let rows = "SELECT version, created_points, completed_points, grade_bounds, vip_points, vip_window FROM policy ORDER BY version";
    let rows: Vec<Columns> = sqlx::query_as(rows).fetch_all(&mut database).await.unwrap();
    let of_code = policy::ALL.map(|policy| {
        let window = PgInterval::try_from(policy.vip_window).unwrap();
        let (bounds, vip) = (policy.grade_bounds.to_vec(), policy.vip_points);
        (policy.version, policy.created_points, policy.completed_points, bounds, vip, window)
    });
    assert_eq!(rows, of_code);
}

/// What happens between two batches.
#[derive(Debug, Clone, Copy)]
enum Act {
    Nothing,
    PutInForce(&'static Policy),
    /// One account by a step of its own.
    RebuildOne,
    Sweep,
}

fn any_act() -> impl Strategy<Value = Act> {
    select(vec![
        Act::Nothing,
        Act::PutInForce(&V1),
        Act::PutInForce(&V2),
        Act::PutInForce(&V2),
        Act::RebuildOne,
        Act::RebuildOne,
        Act::Sweep,
    ])
}

/// Each change must be the next step from what was told before.
fn follow(told: &mut BTreeMap<Uuid, Standing>, changes: &[AccountChange]) {
    for AccountChange { customer_id, change } in changes {
        let standing = told.entry(*customer_id).or_insert(Standing { grade: Grade::Bronze, vip: false });
        let rank = |grade: Grade| Grade::ALL.iter().position(|other| *other == grade).unwrap();
        match change {
            StandingChange::GradeAttained(grade) => {
                assert_eq!(rank(*grade), rank(standing.grade) + 1, "{change:?} from {standing:?}");
                standing.grade = *grade;
            }
            StandingChange::GradeLost(grade) => {
                assert_eq!(*grade, standing.grade);
                standing.grade = Grade::ALL[rank(*grade) - 1];
            }
            StandingChange::VipAcquired | StandingChange::VipLost => {
                let vip = *change == StandingChange::VipAcquired;
                assert_ne!(vip, standing.vip, "{change:?} of {customer_id}");
                standing.vip = vip;
            }
        }
    }
}

struct Model {
    in_force: &'static Policy,
    known: Vec<Event>,
    told: BTreeMap<Uuid, Standing>,
    /// Changes of a grade by a rebuild, to see that the cases have them.
    regraded: usize,
}

impl Model {
    /// Every account has the points of its own policy, and every change of its standing was told.
    async fn agrees(&self, database: &mut PgConnection, now: DateTime<Utc>) {
        for Row { customer_id, points, vip, policy_version, .. } in accounts(database).await {
            let policy = policy::of_version(policy_version).unwrap();
            let by_the_rules = by_the_rules(policy, &self.known, now);
            assert_eq!(points, by_the_rules[&customer_id].0, "{customer_id} by {policy}");
            let told = self.told.get(&customer_id).copied();
            let told = told.unwrap_or(Standing { grade: Grade::Bronze, vip: false });
            assert_eq!(told, Standing { grade: policy.grade(points), vip }, "{customer_id} by {policy}");
        }
    }

    async fn act(&mut self, database: &mut PgConnection, act: Act, now: DateTime<Utc>) {
        match act {
            Act::Nothing => {}
            Act::PutInForce(policy) => {
                let former = put_in_force(database, policy).await.unwrap();
                assert_eq!(former, self.in_force.version);
                self.in_force = policy;
            }
            Act::RebuildOne => self.rebuild(database, 1, now).await,
            Act::Sweep => {
                while let Some(swept) =
                    sweep::step(database, &outbox::appender(), 1, Some(now)).await.unwrap()
                {
                    follow(&mut self.told, &swept.changes);
                    if swept.accounts == 0 {
                        break;
                    }
                }
            }
        }
    }

    async fn rebuild(&mut self, database: &mut PgConnection, accounts_max: i64, now: DateTime<Utc>) {
        let rebuild = Rebuild { policy: self.in_force, behind_only: true, dry: false };
        let dry = Rebuild { dry: true, ..rebuild };
        let foretold =
            dry.step(database, &outbox::appender(), Uuid::nil(), accounts_max, Some(now)).await.unwrap();
        let step =
            rebuild.step(database, &outbox::appender(), Uuid::nil(), accounts_max, Some(now)).await.unwrap();
        assert_eq!(foretold.differences, step.differences);
        let changes: Vec<AccountChange> =
            step.differences.iter().flat_map(|difference| difference.changes()).collect();
        follow(&mut self.told, &changes);
        let graded = |change: &&AccountChange| {
            matches!(change.change, StandingChange::GradeAttained(_) | StandingChange::GradeLost(_))
        };
        self.regraded += changes.iter().filter(graded).count();
    }
}

#[tokio::test]
async fn whatever_arrives_while_policies_change_accounts_are_what_the_rules_say_and_each_change_is_told_once()
{
    let world = migrated().await;
    let mut database = world.connect().await;
    let seed = Uuid::new_v4().into_bytes().repeat(2);
    println!("seed: {seed:?}");
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let mut runner = TestRunner::new_with_rng(Cases::default(), rng);
    let (mut regraded, mut vips, mut behind) = (0, 0, 0);
    for case in 0..120 {
        let acts = prop::collection::vec(any_act(), 60);
        let (arrivals, acts) = (any_arrivals(), acts).new_tree(&mut runner).unwrap().current();
        println!("case {case}");
        sqlx::raw_sql("TRUNCATE ledger, account").execute(&mut database).await.unwrap();
        put_in_force(&mut database, &V1).await.unwrap();
        let mut model = Model { in_force: &V1, known: Vec::new(), told: BTreeMap::new(), regraded: 0 };
        let mut acts = acts.into_iter();
        let mut last = DateTime::UNIX_EPOCH;
        for (batch, now, _) in &arrivals {
            let new: Vec<Event> =
                batch.iter().filter(|event| !model.known.contains(event)).cloned().collect();
            let credited =
                ledger::transact(&mut database, &outbox::appender(), batch, Some(*now)).await.unwrap();
            follow(&mut model.told, &credited.changes);
            model.known.extend(new.iter().cloned());
            model.agrees(&mut database, *now).await;
            let by_the_rules = by_the_rules(model.in_force, &model.known, *now);
            let rows = accounts(&mut database).await;
            behind += rows.iter().filter(|row| row.policy_version != model.in_force.version).count();
            for row in rows.iter().filter(|row| new.iter().any(|event| event.customer_id == row.customer_id))
            {
                let (points, until) = by_the_rules[&row.customer_id];
                let credited = (row.points, row.vip, row.policy_version);
                assert_eq!(credited, (points, until.is_some(), model.in_force.version), "at {now}");
            }
            for act in acts.by_ref().take(2) {
                model.act(&mut database, act, *now).await;
                model.agrees(&mut database, *now).await;
            }
            last = *now;
        }
        model.rebuild(&mut database, 10, last).await;
        model.act(&mut database, Act::Sweep, last).await;
        model.agrees(&mut database, last).await;
        let by_the_rules = by_the_rules(model.in_force, &model.known, last);
        let rows = accounts(&mut database).await;
        assert_eq!(rows.len(), by_the_rules.len());
        for row in rows {
            let (points, until) = by_the_rules[&row.customer_id];
            let derived = (row.points, row.vip, row.policy_version);
            assert_eq!(derived, (points, until.is_some(), model.in_force.version));
            vips += usize::from(row.vip);
        }
        world.books_balance().await;
        regraded += model.regraded;
    }
    let happened =
        format!("{regraded} regraded, {vips} VIPs at the end, {behind} times an account was behind");
    assert!(regraded > 5 && vips > 10 && behind > 50, "too little has happened: {happened}");
    println!("{happened}");
}

/// One transaction, and from the former policy's standing to the new one's: no step between.
#[tokio::test]
async fn an_account_that_is_credited_before_its_turn_changes_once() {
    let world = migrated().await;
    let mut database = world.connect().await;
    let (customer, now) = (Uuid::now_v7(), Utc::now());
    let order = || {
        let id = Uuid::now_v7();
        [(Valued::Created, 1), (Valued::Completed, 4)]
            .map(|(valued, version)| credit_of(valued, (id, version), customer, now - TimeDelta::days(1)))
    };
    let changes =
        |changes: Vec<AccountChange>| changes.iter().map(|change| change.change).collect::<Vec<_>>();
    // By policy 1: 280 points, Silver and VIP.
    let credited = ledger::transact(&mut database, &outbox::appender(), &[order(), order()].concat(), None)
        .await
        .unwrap();
    use StandingChange::{GradeAttained, GradeLost, VipAcquired, VipLost};
    assert_eq!(changes(credited.changes), [GradeAttained(Grade::Silver), VipAcquired]);
    put_in_force(&mut database, &V2).await.unwrap();
    // By policy 2: 340 points were Silver and VIP too. With 20 more nothing changes, though by the bounds of policy 1 it is Gold.
    let created = credit_of(Valued::Created, (Uuid::now_v7(), 1), customer, now);
    let credited = ledger::transact(&mut database, &outbox::appender(), &[created], None).await.unwrap();
    assert_eq!((credited.points, changes(credited.changes)), (20, vec![]));
    let row = |points, vip, policy_version| Row {
        customer_id: customer,
        points,
        credited_events: 5,
        vip,
        policy_version,
    };
    assert_eq!(accounts(&mut database).await, [row(360, true, 2)]);
    put_in_force(&mut database, &V1).await.unwrap();
    // By policy 1 these are 320 points: Gold. The sweep of the moment at which the window ends finds that, and the loss of VIP, at once.
    let later = now + TimeDelta::days(70);
    let swept = sweep::step(&mut database, &outbox::appender(), 10, Some(later)).await.unwrap().unwrap();
    assert_eq!(changes(swept.changes), [GradeAttained(Grade::Gold), VipLost]);
    assert_eq!(accounts(&mut database).await, [row(320, false, 1)]);
    put_in_force(&mut database, &V2).await.unwrap();
    let rebuild = Rebuild { policy: &V2, behind_only: true, dry: false };
    let step = rebuild.step(&mut database, &outbox::appender(), Uuid::nil(), 10, Some(later)).await.unwrap();
    let lost = step.differences.iter().flat_map(|difference| difference.changes()).collect();
    assert_eq!(changes(lost), [GradeLost(Grade::Gold)]);
}

// --- beside a live service --------------------------------------------------------------------------------------------

/// Credits, sweeps and two rebuilds at once; then the rest, with forks. Against all of it under the other policy from the beginning.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_beside_credits_and_sweeps_comes_to_what_consuming_anew_comes_to() {
    let (rebuilt, anew) = (migrated().await, migrated().await);
    let events = history(3_000);
    let (before, rest) = events.split_at(events.len() / 2);
    let (during, after) = rest.split_at(rest.len() / 2);
    let forks: Vec<Event> =
        before.iter().step_by(50).map(|event| Event { event_id: Uuid::now_v7(), ..event.clone() }).collect();

    let mut at_once = consumer(&anew);
    put_in_force(&mut anew.connect().await, &V2).await.unwrap();
    credit(&mut at_once, &events).await;
    credit(&mut at_once, &forks).await;

    let mut ledger = consumer(&rebuilt);
    credit(&mut ledger, before).await;
    let (stop, batches) = (AtomicBool::new(false), AtomicUsize::new(0));
    let crediting = async {
        // What is credited is delivered again until the rebuild has ended.
        for batch in during.chunks(50).chain(std::iter::repeat(&during[..50])) {
            ledger.credit(batch).await.unwrap();
            if batches.fetch_add(1, Ordering::Relaxed) > during.len() / 50 && stop.load(Ordering::Relaxed) {
                break;
            }
        }
        ledger
    };
    let sweeping = async {
        let mut database = rebuilt.connect().await;
        while !stop.load(Ordering::Relaxed) {
            sweep::step(&mut database, &outbox::appender(), 100, None).await.unwrap();
        }
    };
    let rebuilding = async {
        eventually("credits go on", async || {
            let done = batches.load(Ordering::Relaxed);
            if done > 3 { Ok(()) } else { Err(format!("{done}")) }
        })
        .await;
        let before = batches.load(Ordering::Relaxed);
        let both = [&["--policy", "2"], &["--policy", "2"]].map(|arguments| spawn(&rebuilt, arguments));
        for child in both {
            let Ran { code, out, err } = ended(child).await;
            assert_eq!(code, 0, "{out}{err}");
            assert!(err.contains(" accounts derived"), "there is no progress: {err}");
        }
        assert!(batches.load(Ordering::Relaxed) > before, "credits have waited for the rebuild");
        // Nothing is wrong, and what is being credited is not taken for it.
        let report = rebuild(&rebuilt, &[]).await;
        // Of those that there were, and of those that were opened meanwhile.
        assert!(report["derived"].as_i64() >= report["accounts"].as_i64(), "{report}");
        assert!(report["different"] == 0 && nothing_is_published(&report), "{report}");
        stop.store(true, Ordering::Relaxed);
    };
    let (mut ledger, (), ()) = tokio::join!(crediting, sweeping, rebuilding);
    let mut database = rebuilt.connect().await;
    assert_eq!(number(&mut database, "SELECT count(*) FROM account WHERE policy_version <> 2").await, 0);
    credit(&mut ledger, after).await;
    credit(&mut ledger, &forks).await;

    let mut other = anew.connect().await;
    let rows = accounts(&mut database).await;
    assert!(rows == accounts(&mut other).await, "the accounts are not those of consuming anew");
    assert!(entries(&mut database).await == entries(&mut other).await, "the ledgers differ");
    let vips = rows.iter().filter(|row| row.vip).count();
    what_is_published_leads_to_the_accounts(&mut database).await;
    what_is_published_leads_to_the_accounts(&mut other).await;
    assert!(rows.len() == 3_000 && (100..2_900).contains(&vips), "{vips} VIPs of {}", rows.len());
    rebuilt.books_balance().await;
}

/// The other service is another group: it reads all that the topic has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_comes_to_what_a_service_makes_of_the_whole_topic() {
    let (rebuilt, mut anew) = (World::new().await, World::new().await);
    anew.topic.clone_from(&rebuilt.topic);
    let _bonus = Bonus::start_ready(&rebuilt).await;
    let (events, expected) = histories(400, 40);
    produce(&rebuilt, &events).await;
    rebuilt.points_become(&expected).await;
    rebuild(&rebuilt, &["--policy", "2"]).await;

    migrate(&anew.config()).await;
    let mut other = anew.connect().await;
    put_in_force(&mut other, &V2).await.unwrap();
    let _other_bonus = Bonus::start_ready(&anew).await;
    let mut database = rebuilt.connect().await;
    let (rows, booked) = (accounts(&mut database).await, entries(&mut database).await);
    assert!(rows.len() == expected.len() && rows.iter().all(|row| row.policy_version == 2), "{rows:?}");
    eventually("the other service has read the topic", async || {
        let there = entries(&mut other).await.len();
        if there == booked.len() { Ok(()) } else { Err(format!("{there} of {}", booked.len())) }
    })
    .await;
    assert_eq!(accounts(&mut other).await, rows);
    assert!(entries(&mut other).await == booked, "the ledgers differ");
    what_is_published_leads_to_the_accounts(&mut database).await;
    what_is_published_leads_to_the_accounts(&mut other).await;
}

/// In the middle: it waits for an account that somebody has locked, further on in the order of the customers.
#[tokio::test]
async fn a_rebuild_that_is_killed_is_continued_and_the_way_back_leads_to_the_first_state() {
    let world = migrated().await;
    credit(&mut consumer(&world), &history(1_700)).await;
    let (mut database, mut holder) = (world.connect().await, world.connect().await);
    let (first, first_entries) = (accounts(&mut database).await, entries(&mut database).await);

    let mut held = holder.begin().await.unwrap();
    let lock = "SELECT 1 FROM account WHERE customer_id = $1 FOR UPDATE";
    sqlx::query(lock).bind(first[1_200].customer_id).execute(&mut *held).await.unwrap();
    let mut child = spawn(&world, &["--policy", "2"]);
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    eventually("the rebuild waits for the account", async || {
        if number(&mut database, waits).await == 1 { Ok(()) } else { Err(String::new()) }
    })
    .await;
    child.kill().await.unwrap();
    held.rollback().await.unwrap();
    let others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'bonus%'";
    eventually("the session of the killed rebuild is gone", async || {
        if number(&mut database, others).await == 0 { Ok(()) } else { Err(String::new()) }
    })
    .await;
    let behind = number(&mut database, "SELECT count(*) FROM account WHERE policy_version <> 2").await;
    assert_eq!(behind, 1_700 - 1_000, "two steps were done, the third was not");

    what_is_published_leads_to_the_accounts(&mut database).await;
    let foretold = rebuild(&world, &["--policy", "2", "--dry-run"]).await;
    let report = rebuild(&world, &["--policy", "2"]).await;
    assert_eq!((&report["policy"], &report["policy_before"]), (&2.into(), &2.into()));
    assert_eq!((&report["accounts"], &report["behind"]), (&1_700.into(), &behind.into()));
    assert_eq!((&report["derived"], &report["changes"]), (&behind.into(), &foretold["changes"]));
    let second = accounts(&mut database).await;
    assert!(second.iter().all(|row| row.policy_version == 2));
    let changed = changes_between(&first, &second);
    let published = published_changes(&mut database).await;
    assert!(published[published.len() - changed.len()..] == changed, "what has changed is published once");
    world.books_balance().await;
    let vips = |rows: &[Row]| rows.iter().filter(|row| row.vip).count();
    assert_ne!(vips(&first), vips(&second), "the policies do not differ enough");
    let again = rebuild(&world, &["--policy", "2"]).await;
    assert_eq!((&again["behind"], &again["derived"], &again["different"]), (&0.into(), &0.into(), &0.into()));

    rebuild(&world, &["--policy", "1"]).await;
    assert!(accounts(&mut database).await == first, "the way back does not lead to the first state");
    assert!(entries(&mut database).await == first_entries);
    what_is_published_leads_to_the_accounts(&mut database).await;
}

#[tokio::test]
async fn a_dry_run_tells_what_the_rebuild_then_does_and_changes_nothing() {
    let world = migrated().await;
    credit(&mut consumer(&world), &history(300)).await;
    let mut database = world.connect().await;
    let before = accounts(&mut database).await;
    // Every version of every row, whoever wrote it.
    let versions = "SELECT coalesce(sum(xmin::text::bigint), 0)::bigint + count(*) FROM account";
    let untouched = number(&mut database, versions).await;
    let without_dry_run = |mut report: Value| {
        let object = report.as_object_mut().unwrap();
        assert!(object.remove("dry_run").unwrap().is_boolean());
        report
    };
    for (arguments, damage) in [
        (&["--policy", "2"][..], None),
        (&["--policy", "1"], None),
        (
            &[],
            Some(
                "UPDATE account SET points = points + 7 WHERE customer_id = (SELECT min(customer_id::text)::uuid FROM account)",
            ),
        ),
    ] {
        if let Some(damage) = damage {
            sqlx::raw_sql(damage).execute(&mut database).await.unwrap();
        }
        let (untouched, rows) = (number(&mut database, versions).await, accounts(&mut database).await);
        let in_force = number(&mut database, "SELECT version::bigint FROM policy_in_force").await;
        let published = number(&mut database, "SELECT count(*) FROM customer_event").await;
        let foretold = rebuild(&world, &[arguments, &["--dry-run"]].concat()).await;
        assert_eq!(number(&mut database, versions).await, untouched, "{arguments:?}: accounts were written");
        assert_eq!(number(&mut database, "SELECT version::bigint FROM policy_in_force").await, in_force);
        assert_eq!(number(&mut database, "SELECT count(*) FROM customer_event").await, published);
        let done = rebuild(&world, arguments).await;
        assert_eq!(without_dry_run(foretold), without_dry_run(done.clone()), "{arguments:?}");

        let differences = done["differences"].as_array().unwrap();
        let after = accounts(&mut database).await;
        let changed = rows.iter().zip(&after).filter(|(before, after)| before != after);
        let changed: Vec<(String, i64, i64)> = changed
            .map(|(before, after)| (before.customer_id.to_string(), before.points, after.points))
            .collect();
        let told = differences.iter().map(|told| {
            let number = |name: &str| told[name].as_i64().unwrap();
            (
                told["customer_id"].as_str().unwrap().to_owned(),
                number("points_before"),
                number("points_after"),
            )
        });
        assert_eq!(told.collect::<Vec<_>>(), changed, "{arguments:?}");
        assert!(!changed.is_empty());
    }
    assert_ne!(number(&mut database, versions).await, untouched);
    assert_eq!(accounts(&mut database).await, before);
}

/// Without a restart; and one that does not know the policy waits until it does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_instance_credits_by_the_policy_in_force_or_not_at_all() {
    let world = World::new().await;
    let bonus = Bonus::start_ready(&world).await;
    let mut database = world.connect().await;
    let [first, second, third] = [(); 3].map(|()| Uuid::now_v7());
    let created = |customer| [event("OrderCreated", Uuid::now_v7(), 1, customer)];
    produce(&world, &created(first)).await;
    world.points_become(&BTreeMap::from([(first, 40)])).await;
    rebuild(&world, &["--policy", "2"]).await;
    produce(&world, &created(second)).await;
    world.points_become(&BTreeMap::from([(first, 20), (second, 20)])).await;
    let (_, account) = bonus.get(&format!("/api/bonuses/{second}")).await;
    assert_eq!((&account["policy_version"], &account["next_grade"]["points"]), (&2.into(), &150.into()));
    let (_, ledger) = bonus.get(&format!("/api/bonuses/{first}/ledger")).await;
    let entry = &ledger["entries"][0];
    assert_eq!((&entry["points"], &entry["policy_version"]), (&20.into(), &2.into()), "booked by policy 1");

    let later = "INSERT INTO policy SELECT 99, 1, 1, grade_bounds, vip_points, vip_window FROM policy WHERE version = 1;
                 SELECT put_policy_in_force(99::smallint)";
    sqlx::raw_sql(later).execute(&mut database).await.unwrap();
    produce(&world, &created(third)).await;
    eventually("the instance says why it does not credit", async || {
        let (status, body) = bonus.get("/readyz").await;
        let cause = body["cause"].as_str().unwrap_or_default();
        let says = cause.contains("policy 99 is in force, and this program works by 1, 2");
        if status == 503 && says { Ok(()) } else { Err(body.to_string()) }
    })
    .await;
    assert_eq!(world.points().await, BTreeMap::from([(first, 20), (second, 20)]));
    let Ran { code, out, .. } = run_with(&world, &[("BONUS_AUTH", "off")], &["check"]).await;
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("policy 99 is in force, and this version does not know it"), "{out}");
    let Ran { code, err, .. } = ended(spawn(&world, &[])).await;
    assert!(code == 1 && err.contains("policy 99 is not known to this version"), "{err}");
    let Ran { code, err, .. } = ended(spawn(&world, &["--policy", "99"])).await;
    assert!(code == 2 && err.contains("this version knows 1 (created 40 points"), "{err}");

    rebuild(&world, &["--policy", "1"]).await;
    world.points_become(&BTreeMap::from([(first, 40), (second, 40), (third, 40)])).await;
    bonus.becomes_ready().await;
    world.books_balance().await;
}

// --- what was told ----------------------------------------------------------------------------------------------------

/// Nobody was told of the damage, so there is nothing to tell of the mending.
#[tokio::test]
async fn accounts_that_were_lost_or_damaged_are_mended_and_nothing_is_published() {
    let world = migrated().await;
    credit(&mut consumer(&world), &history(300)).await;
    let mut database = world.connect().await;
    let (before, published) = (accounts(&mut database).await, published_changes(&mut database).await);
    assert!(before.iter().any(|row| row.vip) && !published.is_empty());
    for damage in [
        "DELETE FROM account",
        "UPDATE account SET points = points + 1000",
        "UPDATE account SET points = 0, vip = false",
        "UPDATE account SET vip = true, vip_review_at = coalesce(vip_review_at, now() + interval '1 day')",
    ] {
        sqlx::raw_sql(damage).execute(&mut database).await.unwrap();
        let foretold = rebuild(&world, &["--dry-run"]).await;
        let done = rebuild(&world, &[]).await;
        assert_ne!(done["different"], 0, "{damage}");
        assert!(nothing_is_published(&foretold) && nothing_is_published(&done), "{damage}: {done}");
        assert!(accounts(&mut database).await == before, "{damage}");
        assert!(published_changes(&mut database).await == published, "{damage}");
        what_is_published_leads_to_the_accounts(&mut database).await;
    }
}

/// From what was told, and not from what the damaged accounts say.
#[tokio::test]
async fn another_policy_over_damaged_accounts_publishes_what_differs_from_what_was_told() {
    let world = migrated().await;
    credit(&mut consumer(&world), &history(300)).await;
    let mut database = world.connect().await;
    let (first, told) = (accounts(&mut database).await, published_changes(&mut database).await);
    let damage = "UPDATE account SET points = points + 1000, vip = false";
    sqlx::raw_sql(damage).execute(&mut database).await.unwrap();

    let foretold = rebuild(&world, &["--policy", "2", "--dry-run"]).await;
    let done = rebuild(&world, &["--policy", "2"]).await;
    assert_eq!(foretold["changes"], done["changes"]);
    let second = accounts(&mut database).await;
    let changed = changes_between(&first, &second);
    assert!(!changed.is_empty());
    let published = published_changes(&mut database).await;
    assert!(published[told.len()..] == changed, "{:?} and not {changed:?}", &published[told.len()..]);
    what_is_published_leads_to_the_accounts(&mut database).await;
    world.books_balance().await;
    let again = rebuild(&world, &[]).await;
    assert!(again["different"] == 0 && nothing_is_published(&again), "{again}");
}

// --- upgrades ---------------------------------------------------------------------------------------------------------

/// The calls of the former version: right while policy 1 is in force, refused while another one is.
#[tokio::test]
async fn an_instance_of_the_former_version_is_right_or_refused() {
    let world = migrated().await;
    let mut database = world.connect().await;
    let (customer, now) = (Uuid::now_v7(), Utc::now());
    async fn credit_as_before(
        database: &mut PgConnection,
        customer: Uuid,
    ) -> sqlx::Result<(Vec<i64>, Vec<i64>, Vec<bool>)> {
        let call = "SELECT points_before, points_after, vip_after FROM credit_events(
                        ARRAY[gen_random_uuid(), gen_random_uuid()], ARRAY[$1, $1], ARRAY[1, 4]::bigint[], ARRAY[$2, $2],
                        ARRAY['OrderCreated', 'OrderCompleted'], ARRAY[40, 100]::bigint[], ARRAY[now(), now()], 1::smallint,
                        ARRAY[100, 300, 1000]::bigint[], 200::bigint, interval '720 hours', NULL)";
        sqlx::query_as(call).bind(Uuid::now_v7()).bind(customer).fetch_one(database).await
    }
    let told = credit_as_before(&mut database, customer).await.unwrap();
    assert_eq!(told, (vec![0], vec![100], vec![false]), "Bronze to Silver");
    let told = credit_as_before(&mut database, customer).await.unwrap();
    assert_eq!(told, (vec![100], vec![100], vec![true]), "VIP");
    put_in_force(&mut database, &V2).await.unwrap();
    let refused = credit_as_before(&mut database, customer).await.unwrap_err();
    // Not one of the values: they would become dead letters.
    assert_eq!(kit::postgres::meaning(&refused), kit::postgres::Meaning::NothingWritten, "{refused}");
    assert!(refused.to_string().contains("policy 2 is in force"), "{refused}");
    let swept: Option<i64> = sqlx::query_scalar(
        "SELECT reviewed FROM sweep_vip(10::bigint, 200::bigint, interval '720 hours', $1)",
    )
    .bind(now + TimeDelta::days(90))
    .fetch_one(&mut database)
    .await
    .unwrap();
    assert_eq!(swept, None, "the newer instance sweeps");
    // Of an account that is by another policy it is told what is.
    let until = "SELECT vip_until FROM vip_standing($1, now(), 200::bigint, interval '720 hours')";
    for vip_days in [30, 60] {
        let until: DateTime<Utc> =
            sqlx::query_scalar(until).bind(customer).fetch_one(&mut database).await.unwrap();
        assert_eq!((until - now).num_hours() / 24, vip_days);
        Rebuild { policy: &V2, behind_only: true, dry: false }
            .step(&mut database, &outbox::appender(), Uuid::nil(), 10, None)
            .await
            .unwrap();
    }
}
