//! The clients: random life cycles, every request repeated with its idempotency key until the outcome is known, some
//! sent twice on purpose. Any answer that contradicts another is a violation on the spot.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use reqwest::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use super::facts::{Acknowledged, Kind};
use super::step::{STEPS, Step};
use super::told::{Known, Told, open};
use crate::secured::Callers;

/// An instance that does not answer in this time is asked no longer; another one is.
const ANSWER_PATIENCE: Duration = Duration::from_secs(2);
/// How long the outcome of one command may stay unknown, with everything that can happen to the servers meanwhile.
const OUTCOME_PATIENCE: Duration = Duration::from_secs(120);
const CUSTOMERS: u128 = 400;
/// Orders that all clients command at once.
const CONTESTED_MAX: usize = 12;

/// A command's outcome, as it will be whenever it is asked for again.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    Done { order: Uuid, version: i64 },
    Refused,
}

pub(super) struct Client {
    rng: SmallRng,
    http: reqwest::Client,
    callers: Callers,
    /// By which name it ships and completes.
    operator: String,
    instances: Arc<Vec<String>>,
    told: Arc<Told>,
    own: Vec<Known>,
    seed: u64,
}

impl Client {
    pub(super) fn new(
        seed: u64,
        number: u64,
        callers: Callers,
        instances: Arc<Vec<String>>,
        told: Arc<Told>,
    ) -> reqwest::Result<Self> {
        let http = callers.client().timeout(ANSWER_PATIENCE).build()?;
        let rng = SmallRng::seed_from_u64(seed.wrapping_add(1 + number));
        let operator = format!("operator-{number}");
        Ok(Self { rng, http, callers, operator, instances, told, own: Vec::new(), seed })
    }

    /// Sends commands until it is told that it is enough; the last one has its outcome then.
    pub(super) async fn run(mut self, pause_max: Duration) {
        while !self.told.enough.load(Ordering::Relaxed) {
            match self.rng.random_range(0..100) {
                _ if self.own.is_empty() => self.create().await,
                0..30 => self.create().await,
                30..80 => self.advance().await,
                80..93 => self.contest().await,
                _ => self.read().await,
            }
            // A client's own business between two requests.
            let pause = self.rng.random_range(0..=pause_max.as_micros());
            tokio::time::sleep(Duration::from_micros(u64::try_from(pause).unwrap_or_default())).await;
        }
    }

    async fn create(&mut self) {
        let customer = Uuid::from_u128(u128::from(self.seed) << 64 | self.rng.random_range(0..CUSTOMERS));
        let body = json!({
            "customer_id": customer,
            "currency": "EUR",
            "items": [{ "sku": "tea", "quantity": self.rng.random_range(1..9), "unit_price_minor": 150 }],
        });
        let Some((key, outcome)) = self.command("/api/orders", &body, Some(customer)).await else { return };
        let Outcome::Done { order, version } = outcome else {
            return self.told.violation(Kind::WrongAnswer, format!("creation {key} was refused"));
        };
        let last = "OrderCreated";
        self.acknowledge(key, order, customer, version, last);
        let known = Known { order, customer, version, last };
        let mut contested = open(&self.told.contested);
        if self.rng.random_bool(0.05) || contested.is_empty() {
            if contested.len() >= CONTESTED_MAX {
                contested.remove(0);
            }
            contested.push(known);
        } else {
            self.own.push(known);
        }
    }

    /// A step of an order that nobody else commands: this client knows what must be answered.
    async fn advance(&mut self) {
        let place = self.rng.random_range(0..self.own.len());
        let Some(known) = self.own.get(place).copied() else { return };
        let legal: Vec<Step> = STEPS.into_iter().filter(|step| step.is_legal_after(known.last)).collect();
        let illegal = self.rng.random_bool(0.08);
        let choice = if illegal { STEPS.choose(&mut self.rng) } else { legal.choose(&mut self.rng) };
        let Some(&step) = choice else { return };
        let Some((key, outcome)) = self.step(known, step).await else { return };
        match outcome {
            Outcome::Done { version, .. } => {
                if !step.is_legal_after(known.last) || version != known.version + 1 {
                    let text = format!("{key}: {step:?} led to version {version} after {known:?}");
                    self.told.violation(Kind::WrongAnswer, text);
                }
                self.acknowledge(key, known.order, known.customer, version, step.event_type());
                let known = Known { version, last: step.event_type(), ..known };
                if STEPS.into_iter().any(|step| step.is_legal_after(known.last)) {
                    if let Some(slot) = self.own.get_mut(place) {
                        *slot = known;
                    }
                } else {
                    self.own.swap_remove(place);
                }
            }
            Outcome::Refused if step.is_legal_after(known.last) => {
                self.told
                    .violation(Kind::WrongAnswer, format!("{key}: {step:?} was refused after {known:?}"));
            }
            Outcome::Refused => {}
        }
    }

    /// A step of an order that others command too: any answer may be right, and the checker will see.
    async fn contest(&mut self) {
        let known = open(&self.told.contested).choose(&mut self.rng).copied();
        let (Some(known), Some(&step)) = (known, STEPS.choose(&mut self.rng)) else { return };
        if let Some((key, Outcome::Done { version, .. })) = self.step(known, step).await {
            self.acknowledge(key, known.order, known.customer, version, step.event_type());
        }
    }

    /// Reads are never stale, whichever instance is asked.
    async fn read(&mut self) {
        let Some(known) = self.own.choose(&mut self.rng).copied() else { return };
        let url = format!("{}/api/orders/{}", self.instance(), known.order);
        let Ok(request) = self.callers.as_customer(self.http.get(url), known.customer) else { return };
        let Ok(answer) = request.send().await else { return };
        match answer.status() {
            StatusCode::OK => {
                let Ok(order) = answer.json::<Value>().await else { return };
                if order["version"] != known.version {
                    self.told.violation(Kind::WrongAnswer, format!("{known:?} was read as {order}"));
                }
            }
            status if status.is_server_error() => {}
            status => self.told.violation(Kind::WrongAnswer, format!("{known:?} was answered {status}")),
        }
    }

    fn instance(&mut self) -> String {
        self.instances.choose(&mut self.rng).cloned().unwrap_or_default()
    }

    fn acknowledge(&self, key: String, order: Uuid, customer: Uuid, version: i64, event_type: &'static str) {
        let command = Acknowledged { key, order, version, event_type, customer };
        open(&self.told.acknowledged).push(command);
        self.told.commands.fetch_add(1, Ordering::Relaxed);
    }

    async fn step(&mut self, known: Known, step: Step) -> Option<(String, Outcome)> {
        let customer = step.is_a_customer_s().then_some(known.customer);
        self.command(&format!("/api/orders/{}/{}", known.order, step.path()), &json!({}), customer).await
    }

    /// Sends a command under a new key, now and then twice at once to two instances, until its outcome is known. Without a customer it
    /// is an operator's. The key is as the journal has it.
    async fn command(
        &mut self,
        path: &str,
        body: &Value,
        customer: Option<Uuid>,
    ) -> Option<(String, Outcome)> {
        let (subject, role) = match customer {
            Some(customer) => (customer.to_string(), "customer"),
            None => (self.operator.clone(), "operator"),
        };
        let token = self.callers.token(&subject, role);
        let token =
            token.inspect_err(|error| self.told.violation(Kind::WrongAnswer, format!("no token: {error}")));
        let token = token.ok()?;
        let key = format!("{:032x}", self.rng.random::<u128>());
        let outcome = if self.rng.random_bool(0.05) {
            self.told.repeated.fetch_add(1, Ordering::Relaxed);
            let seeds: [u64; 2] = self.rng.random();
            let send =
                |seed| self.until_known(SmallRng::seed_from_u64(seed), path, &key, body, token.as_deref());
            let [first, second] = seeds.map(send);
            let (first, second) = tokio::join!(first, second);
            if first != second {
                let text = format!("{key} was answered {first:?} and {second:?}");
                self.told.violation(Kind::WrongAnswer, text);
            }
            first
        } else {
            let rng = SmallRng::seed_from_u64(self.rng.random());
            self.until_known(rng, path, &key, body, token.as_deref()).await
        };
        let key = self.callers.stored_key(&subject, &key);
        if outcome == Some(Outcome::Refused) {
            open(&self.told.refused).insert(key.clone());
        }
        outcome.map(|outcome| (key, outcome))
    }

    /// `None`, and a violation, when it does not become known.
    async fn until_known(
        &self,
        mut rng: SmallRng,
        path: &str,
        key: &str,
        body: &Value,
        token: Option<&str>,
    ) -> Option<Outcome> {
        let begun = Instant::now();
        while begun.elapsed() < OUTCOME_PATIENCE {
            let instance = self.instances.choose(&mut rng)?;
            let request =
                self.http.post(format!("{instance}{path}")).header("Idempotency-Key", key).json(body);
            let request = token.into_iter().fold(request, reqwest::RequestBuilder::bearer_auth);
            let answer = request.send().await;
            if answer.is_err() {
                self.told.pulse.beat(|beat| beat.unanswered += 1);
            }
            if let Ok(answer) = answer {
                let status = answer.status();
                self.told.pulse.beat(|beat| match status {
                    StatusCode::OK | StatusCode::CREATED => beat.acknowledged += 1,
                    StatusCode::SERVICE_UNAVAILABLE => beat.unavailable += 1,
                    _ if status.is_server_error() => beat.failed += 1,
                    _ => {}
                });
                if answer.headers().contains_key("idempotent-replayed") {
                    self.told.replayed.fetch_add(1, Ordering::Relaxed);
                }
                if let Ok(answer) = answer.json::<Value>().await {
                    match status {
                        StatusCode::OK | StatusCode::CREATED => {
                            let order = answer["order_id"].as_str().and_then(|id| id.parse().ok());
                            let (order, version) = (order.unwrap_or_default(), answer["version"].as_i64());
                            return Some(Outcome::Done { order, version: version.unwrap_or_default() });
                        }
                        StatusCode::CONFLICT => return Some(Outcome::Refused),
                        _ if status.is_server_error() => {}
                        _ => {
                            let text = format!("{path} with {key} was answered {status}: {answer}");
                            self.told.violation(Kind::WrongAnswer, text);
                            return None;
                        }
                    }
                }
            }
            self.told.repeated.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(rng.random_range(10..300))).await;
        }
        self.told.violation(Kind::WrongAnswer, format!("{path} with {key} has no outcome"));
        None
    }
}
