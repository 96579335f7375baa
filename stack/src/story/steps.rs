//! The steps of the story, in their order.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use uuid::Uuid;

use super::Addresses;
use super::curl::{Answer, Expected, Request};
use crate::say;

/// Publication and credits come after the answer to a command.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(100);

/// An order created is 40 points, completed 100 more; the cancellation takes back what its order gave.
const POINTS: i64 = 140;
const CANCELLATION: &str = r#"{"reason":"changed my mind"}"#;

pub(super) fn play(addresses: &Addresses) -> Result<()> {
    let mut story = Story { addresses: addresses.clone(), customer: Uuid::now_v7(), steps: 0 };
    let order = story.an_order_is_completed()?;
    story.a_repetition_and_a_refusal(&order)?;
    let another = story.another_is_cancelled()?;
    story.lists(&order, &another)?;
    story.points_arrive()
}

struct Story {
    addresses: Addresses,
    customer: Uuid,
    steps: usize,
}

impl Story {
    fn title(&mut self, title: &str) {
        self.steps += 1;
        say::title(format_args!("{}. {title}", self.steps));
    }

    /// Sends the request, shows it with its answer, and fails if that is not the expected one.
    fn ask(&mut self, title: &str, request: &Request, expected: &Expected) -> Result<Answer> {
        self.title(title);
        say::command(request);
        let answer = request.send().with_context(|| format!("step {}, {title}", self.steps))?;
        say::answer(&answer);
        answer.check(expected).with_context(|| format!("step {}, {title}", self.steps))?;
        Ok(answer)
    }

    /// Sends the request until the answer is the expected one, and shows that.
    fn ask_until(&mut self, title: &str, request: &Request, expected: &Expected) -> Result<Answer> {
        self.title(title);
        say::command(request);
        let begun = Instant::now();
        loop {
            let answer = request.send().with_context(|| format!("step {}, {title}", self.steps))?;
            match answer.check(expected) {
                Err(error) if begun.elapsed() > PATIENCE => {
                    let waited = format!("step {}, {title}, after {}", self.steps, say::seconds(PATIENCE));
                    return Err(error.context(waited));
                }
                Err(_) => sleep(PAUSE),
                Ok(()) => {
                    say::answer(&answer);
                    return Ok(answer);
                }
            }
        }
    }

    fn orders(&self, path: &str) -> String {
        format!("{}{path}", self.addresses.orders)
    }

    fn creation(&self, key: &str) -> Request {
        let order = format!(
            r#"{{"customer_id":"{}","currency":"EUR","items":[{{"sku":"tea-assam-250g","quantity":2,"unit_price_minor":1250}}]}}"#,
            self.customer
        );
        Request::post(self.orders("/api/orders"), Some(key), &order)
    }

    fn command(&self, id: &str, command: &str, body: &str) -> Request {
        Request::post(self.orders(&format!("/api/orders/{id}/{command}")), None, body)
    }

    fn an_order_is_completed(&mut self) -> Result<Order> {
        let key = Uuid::now_v7().to_string();
        let created = Expected::status(201).header("etag", "\"1\"").value("/status", "created");
        let answer = self.ask("Create an order", &self.creation(&key), &created)?;
        let order = Order::of(&answer, key)?;
        let id = &order.id;
        let read = Request::get(self.orders(&format!("/api/orders/{id}")));
        self.ask("Read it", &read, &Expected::status(200).value("", answer.body.clone()))?;
        for (title, command, body, status) in [
            ("Pay it", "pay", r#"{"payment_reference":"pi_3N8s2L"}"#, "paid"),
            ("Ship it", "ship", r#"{"carrier":"DHL","tracking_number":"JD014600003828"}"#, "shipped"),
            ("Complete it", "complete", "{}", "completed"),
        ] {
            let expected = Expected::status(200).value("/status", status);
            self.ask(title, &self.command(id, command, body), &expected)?;
        }
        let history = Request::get(self.orders(&format!("/api/orders/{id}/events")));
        let expected = Expected::status(200).value("/events/3/event_type", "OrderCompleted");
        self.ask("Its history: the events are the order", &history, &expected)?;
        Ok(order)
    }

    fn a_repetition_and_a_refusal(&mut self, order: &Order) -> Result<()> {
        let first = Expected::status(201).header("idempotent-replayed", "true");
        let first = first.value("/order_id", order.id.as_str()).value("/status", "created");
        let title = "Create it again under the same key: the first answer, and no second order";
        self.ask(title, &self.creation(&order.key), &first)?;
        let refused = Expected::status(409).value("/type", "urn:orders:problem:illegal-transition");
        let cancel = self.command(&order.id, "cancel", CANCELLATION);
        self.ask("Cancel the completed order: the rules refuse it", &cancel, &refused)?;
        Ok(())
    }

    fn another_is_cancelled(&mut self) -> Result<Order> {
        let key = Uuid::now_v7().to_string();
        let answer = self.ask("Create another order", &self.creation(&key), &Expected::status(201))?;
        let order = Order::of(&answer, key)?;
        let cancelled = Expected::status(200).value("/status", "cancelled").value("/version", 2);
        self.ask("Cancel it", &self.command(&order.id, "cancel", CANCELLATION), &cancelled)?;
        Ok(order)
    }

    fn lists(&mut self, first: &Order, second: &Order) -> Result<()> {
        let customer = self.customer;
        let list = |query: &str| format!("/api/orders?customer_id={customer}{query}");
        let range = format!("&created_from={}&created_before={}", first.created_at, second.created_at);
        let both = Expected::status(200).value("/orders/0/status", "cancelled");
        let both = both.value("/orders/1/order_id", first.id.as_str());
        let one = Expected::status(200).value("/orders/0/order_id", first.id.as_str());
        let one = one.value("/orders/1", Value::Null);
        // The list is behind the journal for some milliseconds, and says so in lag_events.
        for (title, path, expected) in [
            ("The customer's orders, newest first", list(""), &both),
            ("Those in one status", list("&status=completed"), &one),
            ("Those created in a range of time", list(&range), &one),
        ] {
            self.ask_until(title, &Request::get(self.orders(&path)), expected)?;
        }
        Ok(())
    }

    fn points_arrive(&mut self) -> Result<()> {
        let empty = Expected::status(200).value("/pending", 0).value("/breaker", "closed");
        let outbox = Request::get(self.orders("/api/outbox"));
        self.ask_until("The outbox: everything is published", &outbox, &empty)?;
        let account = format!("{}/api/bonuses/{}", self.addresses.bonus, self.customer);
        let ledger = Request::get(format!("{account}/ledger"));
        // Two events of each order have points.
        let all = Expected::status(200).there("/entries/3");
        let title = "What the customer's points are made of, in the bonus service";
        let answer = self.ask_until(title, &ledger, &all)?;
        let entries = answer.body["entries"].as_array().map(Vec::as_slice).unwrap_or_default();
        let sum: i64 = entries.iter().filter_map(|entry| entry["points"].as_i64()).sum();
        ensure!(sum == POINTS, "the ledger's entries come to {sum} points, not {POINTS}");
        let points = Expected::status(200).value("/points", sum);
        self.ask("The points: their sum", &Request::get(account), &points)?;
        Ok(())
    }
}

struct Order {
    id: String,
    key: String,
    created_at: String,
}

impl Order {
    fn of(created: &Answer, key: String) -> Result<Self> {
        let text = |place: &str| created.body[place].as_str().map(str::to_owned);
        let created_at = text("created_at").context("no created_at")?;
        Ok(Self { id: text("order_id").context("no order_id")?, key, created_at })
    }
}
