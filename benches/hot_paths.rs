//! The pure part of a command, which every one of them pays for: decide, evolve, encode, decode.
#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use chrono::Utc;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use orders::journal::wire::{decode, encode};
use orders::order::{Command, CustomerId, Item, Items, Order, OrderEvent, OrderId, decide, evolve};
use std::hint::black_box;
use uuid::Uuid;

fn create() -> Command {
    let item = |sku: &str| -> Item {
        serde_json::from_value(serde_json::json!({ "sku": sku, "quantity": 2, "unit_price_minor": 450 }))
            .unwrap()
    };
    Command::Create {
        order_id: OrderId(Uuid::now_v7()),
        customer_id: CustomerId(Uuid::now_v7()),
        currency: serde_json::from_value("EUR".into()).unwrap(),
        items: Items::parse(vec![item("tea-green"), item("cup")]).unwrap(),
    }
}

/// What happened to an order that was created, paid and shipped.
fn life() -> Vec<OrderEvent> {
    let ship = Command::Ship { tracking_number: None, carrier: None };
    let commands = [create(), Command::Pay { payment_reference: None }, ship];
    let mut order = Order::default();
    let mut events = Vec::new();
    for command in commands {
        for event in decide(&order, command, Utc::now()).unwrap() {
            order = evolve(order, &event);
            events.push(event);
        }
    }
    events
}

fn hot_paths(criterion: &mut Criterion) {
    let (command, now) = (create(), Utc::now());
    criterion.bench_function("decide a creation", |bench| {
        bench.iter_batched(
            || command.clone(),
            |command| decide(black_box(&Order::default()), command, now),
            BatchSize::SmallInput,
        );
    });
    let events = life();
    criterion.bench_function("fold three events", |bench| {
        bench.iter(|| black_box(&events).iter().fold(Order::default(), evolve));
    });
    let (event_id, created) = (Uuid::now_v7(), &events[0]);
    criterion.bench_function("encode a creation", |bench| {
        bench.iter(|| encode(event_id, black_box(created)).unwrap())
    });
    let payload = encode(event_id, created).unwrap();
    criterion.bench_function("decode a creation", |bench| {
        bench.iter(|| decode(event_id, black_box(&payload)).unwrap())
    });
}

criterion_group!(benches, hot_paths);
criterion_main!(benches);
