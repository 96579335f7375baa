//! What clients do: new orders, or whole lives of orders.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use uuid::Uuid;

use super::http::{Command, Workload};

/// Orders that one connection has in hand.
const LIVE_ORDERS: usize = 20;

/// A new order each time.
pub(super) struct Creates {
    customers: Vec<Uuid>,
    next: usize,
}

impl Creates {
    pub(super) fn new(connection: usize) -> Self {
        Self { customers: (0..50).map(|_| Uuid::new_v4()).collect(), next: connection }
    }

    fn body(&mut self) -> String {
        self.next += 1;
        let customer =
            self.customers.get(self.next % self.customers.len().max(1)).copied().unwrap_or_default();
        json!({
            "customer_id": customer,
            "currency": "EUR",
            "items": [
                { "sku": "tea-green", "quantity": 2, "unit_price_minor": 450 },
                { "sku": "cup", "quantity": 1, "unit_price_minor": 1290 },
            ],
        })
        .to_string()
    }
}

impl Workload for Creates {
    fn next(&mut self) -> Command {
        Command { path: "/api/orders".to_owned(), body: self.body() }
    }

    fn answered(&mut self, _: &[u8]) {}
}

/// Create, pay, ship and complete, on a random one of the orders in hand.
pub(super) struct LifeCycles {
    creates: Creates,
    random: SmallRng,
    /// An order and the steps of its life that are behind it.
    live: Vec<(Uuid, usize)>,
    creating: bool,
}

const STEPS: [&str; 3] = ["pay", "ship", "complete"];

impl LifeCycles {
    pub(super) fn new(connection: usize) -> Self {
        let random = SmallRng::seed_from_u64(connection as u64);
        Self { creates: Creates::new(connection), random, live: Vec::new(), creating: false }
    }
}

impl Workload for LifeCycles {
    fn next(&mut self) -> Command {
        self.creating = self.live.len() < LIVE_ORDERS;
        if self.creating {
            return self.creates.next();
        }
        let at = self.random.random_range(0..self.live.len());
        let (order, done) = self.live.swap_remove(at);
        let step = STEPS.get(done).copied().unwrap_or("complete");
        if done + 1 < STEPS.len() {
            self.live.push((order, done + 1));
        }
        Command { path: format!("/api/orders/{order}/{step}"), body: "{}".to_owned() }
    }

    fn answered(&mut self, body: &[u8]) {
        if self.creating {
            let order: Value = serde_json::from_slice(body).unwrap_or_default();
            if let Some(id) = order["order_id"].as_str().and_then(|id| id.parse().ok()) {
                self.live.push((id, 0));
            }
        }
    }
}
