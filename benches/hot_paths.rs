//! The pure part of a command, which every one of them pays for: decide, evolve, encode, decode.
#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use chrono::Utc;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use engine::aggregate::{AggregateId, Recorded};
use orders::order::wire::{decode, encode};
use orders::order::{Command, CustomerId, Item, Items, Order, OrderEvent, decide, evolve};
use std::hint::black_box;
use uuid::Uuid;

fn create() -> Command {
    let item = |sku: &str| -> Item {
        serde_json::from_value(serde_json::json!({ "sku": sku, "quantity": 2, "unit_price_minor": 450 }))
            .unwrap()
    };
    Command::Create {
        customer_id: CustomerId(Uuid::now_v7()),
        currency: serde_json::from_value("EUR".into()).unwrap(),
        items: Items::parse(vec![item("tea-green"), item("cup")]).unwrap(),
    }
}

/// What happened to an order that was created, paid and shipped.
fn life() -> Vec<Recorded<OrderEvent>> {
    let ship = Command::Ship { tracking_number: None, carrier: None };
    let commands = [create(), Command::Pay { payment_reference: None }, ship];
    let aggregate_id = AggregateId(Uuid::now_v7());
    let mut order = Order::default();
    let mut events = Vec::new();
    for command in commands {
        for data in decide(&order, command).unwrap() {
            let (event_id, occurred_at) = (Uuid::now_v7(), Utc::now());
            let version = order.version() + 1;
            let event = Recorded { event_id, aggregate_id, version, occurred_at, data };
            order = evolve(order, &event);
            events.push(event);
        }
    }
    events
}

fn hot_paths(criterion: &mut Criterion) {
    let command = create();
    criterion.bench_function("decide a creation", |bench| {
        bench.iter_batched(
            || command.clone(),
            |command| decide(black_box(&Order::default()), command),
            BatchSize::SmallInput,
        );
    });
    let events = life();
    criterion.bench_function("fold three events", |bench| {
        bench.iter(|| black_box(&events).iter().fold(Order::default(), evolve));
    });
    let created = &events[0];
    criterion.bench_function("encode a creation", |bench| bench.iter(|| encode(black_box(created)).unwrap()));
    let payload = encode(created).unwrap();
    criterion
        .bench_function("decode a creation", |bench| bench.iter(|| decode(black_box(&payload)).unwrap()));
}

criterion_group!(benches, hot_paths);
criterion_main!(benches);
