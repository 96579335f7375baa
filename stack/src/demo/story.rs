//! The teller: plays one step after the other, keeps the book, waits for what must come.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use uuid::Uuid;

use super::book::{Book, Command};
use super::clients::Clients;
use super::latency::{Latency, create_orders};
use super::report::{Figures, Report, Step};
use super::topic::{TopicSummary, check_order};
use crate::local::{LocalStack, Mq};
use crate::say;
use crate::topic::{self, Published};

/// What must come after an outage must have come within this.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(50);
pub(super) const COUNT_OUTBOX: &str = "SELECT count(*) FROM outbox_message";
pub(super) const COUNT_LEDGER: &str = "SELECT count(*) FROM bonus.ledger";

pub(super) struct Story {
    pub(super) stack: LocalStack,
    pub(super) clients: Clients,
    pub(super) book: Book,
    pub(super) report: Report,
    /// Orders of the outage, for later steps to go on with.
    pub(super) waiting: Vec<Uuid>,
    pub(super) outage_customers: Vec<Uuid>,
    /// The retry that was to come when the order service was killed.
    pub(super) attempt: u32,
}

impl Story {
    /// `mq`: the message queue's label.
    pub(super) fn new(stack: LocalStack, mq: String) -> Result<Self> {
        let clients = Clients::of(&stack)?;
        let (book, report) = (Book::default(), Report::new(mq, stack.shape.secure));
        Ok(Self {
            stack,
            clients,
            book,
            report,
            waiting: Vec::new(),
            outage_customers: Vec::new(),
            attempt: 0,
        })
    }

    /// One step. After one that failed nothing else is played.
    pub(super) async fn play(
        &mut self,
        name: &'static str,
        title: &'static str,
        step: impl AsyncFnOnce(&mut Self) -> Result<Figures>,
    ) {
        if self.report.failure().is_some() {
            return;
        }
        say::title(format_args!("{name}) {title}"));
        let begin = Instant::now();
        let (figures, why) = match step(self).await {
            Ok(figures) => (figures, None),
            Err(error) => (Figures::new(), Some(format!("{error:#}"))),
        };
        match &why {
            None => say::done("checked", ""),
            Some(why) => say::error(why),
        }
        let took_seconds = begin.elapsed().as_secs_f64();
        self.report.steps.push(Step { name, title, pass: why.is_none(), why, took_seconds, figures });
    }

    /// Creates orders as several users do, and enters them in the book.
    pub(super) async fn create(&mut self, customers: &[Uuid], count: usize) -> Result<(Vec<Uuid>, Latency)> {
        let (orders, latency) = create_orders(&self.clients, customers, count).await?;
        for (order, customer) in &orders {
            self.book.created(*order, *customer);
        }
        Ok((orders.into_iter().map(|(order, _)| order).collect(), latency))
    }

    pub(super) async fn command(&mut self, order: Uuid, commands: &[Command]) -> Result<()> {
        let customer = self.book.customer(order).context("an order that nobody has created")?;
        for command in commands {
            self.clients.command(order, customer, *command).await?;
            self.book.carried_out(order, *command);
        }
        Ok(())
    }

    /// Waits until nothing awaits publication, and says how long that took.
    pub(super) async fn outbox_empty(&self) -> Result<Duration> {
        let begin = Instant::now();
        let count = async || Ok((self.clients.count(COUNT_OUTBOX).await? == 0).then_some(()));
        eventually(PATIENCE, "the outbox to be empty", count).await?;
        Ok(begin.elapsed())
    }

    /// Waits until every customer has exactly the points that the book says, and checks that no event was credited twice.
    pub(super) async fn points_right(&self) -> Result<Duration> {
        let begin = Instant::now();
        let expected = self.book.points();
        let all_arrived = async || {
            let rows = self.clients.count(COUNT_LEDGER).await?;
            Ok((rows >= self.book.ledger_rows()).then_some(rows))
        };
        let rows = eventually(PATIENCE, "the bonus service to have every event", all_arrived).await?;
        let took = begin.elapsed();
        if rows != self.book.ledger_rows() {
            bail!("the ledger has {rows} rows, {} are right", self.book.ledger_rows());
        }
        for (customer, points) in &expected {
            let found = self.clients.points(*customer).await?.unwrap_or_default();
            if found != *points {
                bail!("customer {customer} has {found} points, {points} are right");
            }
        }
        let total: i64 = expected.values().sum();
        say::answer(format!("{} customers, {total} points, every one as the policy says", expected.len()));
        Ok(took)
    }

    pub(super) async fn topic_in_order(&self) -> Result<TopicSummary> {
        let versions: BTreeMap<Uuid, i64> = self.book.versions();
        let summary = check_order(&self.published().await?, &versions)?;
        say::answer(format!(
            "topic orders.events: {} messages, {} events of {} orders, versions in order; {} repeated",
            summary.messages, summary.events, summary.orders, summary.repeated
        ));
        Ok(summary)
    }

    async fn published(&self) -> Result<Vec<Published>> {
        match self.stack.shape.mq {
            #[cfg(feature = "kafka")]
            Mq::Kafka => {
                let access = self.stack.brokers()?.access();
                tokio::task::block_in_place(|| topic::read(&access))
            }
            #[cfg(not(feature = "kafka"))]
            Mq::Kafka => bail!("this tool was built without Kafka"),
            Mq::Redis => topic::read_streams(&mut self.clients.redis().await?).await,
        }
    }

    /// The SQL that is the demo's proof, with its answer.
    pub(super) async fn show_outbox_count(&self) -> Result<i64> {
        say::command(format_args!("psql … -c '{COUNT_OUTBOX}'"));
        let count = self.clients.count(COUNT_OUTBOX).await?;
        say::answer(count);
        Ok(count)
    }

    pub(super) async fn show_outbox(&self) -> Result<()> {
        say::command(format_args!("curl {}/api/outbox", self.stack.orders.operators_url()));
        say::answer(self.clients.outbox_text().await?);
        Ok(())
    }
}

pub(super) fn figures(figures: Value) -> Figures {
    match figures {
        Value::Object(figures) => figures,
        _ => Figures::new(),
    }
}

/// Rounded to milliseconds.
pub(super) fn in_seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1_000.0).round() / 1_000.0
}

/// Asks again and again. An error counts as "not yet": what is waited for may be a service that is coming back.
pub(crate) async fn eventually<T>(
    patience: Duration,
    what: &str,
    question: impl AsyncFn() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + patience;
    loop {
        let error = match question().await {
            Ok(Some(answer)) => return Ok(answer),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        if Instant::now() > deadline {
            let waited = format!("waited {} s in vain for {what}", patience.as_secs());
            return Err(
                error.map_or_else(|| anyhow::anyhow!("{waited}"), |error| error.context(waited.clone()))
            );
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// A log, from now on.
pub(super) struct LogWatch {
    path: PathBuf,
    from: u64,
}

impl LogWatch {
    pub(super) fn new(path: &Path) -> Result<Self> {
        let from = std::fs::metadata(path).with_context(|| format!("no log {}", path.display()))?.len();
        Ok(Self { path: path.to_owned(), from })
    }

    /// The first line that is a warning or an error and speaks of `subject`.
    pub(super) async fn complaint(&self, subject: &str) -> Result<String> {
        let look = async || {
            let mut file = File::open(&self.path)?;
            file.seek(SeekFrom::Start(self.from))?;
            let mut text = String::new();
            file.read_to_string(&mut text)?;
            let complains =
                |line: &&str| (line.contains("WARN") || line.contains("ERROR")) && line.contains(subject);
            Ok(text.lines().find(complains).map(str::to_owned))
        };
        eventually(PATIENCE, "the failed publish attempt in the log", look).await
    }
}
