//! `replay`: sends copies of published events, in position order.
//!
//! It needs no lease. The lease protects the cursor, and the order in which events *first* appear. A replay affects neither: it
//! sends only events at or below the cursor, and none that is quarantined or discarded. So every message is a copy of one in the
//! topic. (Unless the topic was deleted; then it appears there for the first time.) A consumer recognises a copy by its event id,
//! as after a takeover.
//!
//! It sends page by page: the next page when every event of the last one is acknowledged by all in-sync replicas. So whatever
//! fails, there is one position to resume from.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;
use engine::aggregate::AggregateId;
use engine::journal::{Reader, StoredEvent};
use engine::publisher::outbox::{OutboxReader, PublicationProgress};
use engine::transport::{DeliveryReport, Signal};
use futures_util::FutureExt;
use kit::cli::{Progress, confirm, counted};
use serde::Serialize;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;
use uuid::Uuid;

use super::{OutputArgs, Service, Target};

/// How long after the delivery timeout a report may come.
const REPORT_GRACE: Duration = Duration::from_secs(3);
/// Events in flight at a time.
const PAGE: usize = 500;

#[derive(Args)]
pub struct Replay<S: Service> {
    /// First position of the journal to send
    #[arg(long, value_name = "SEQ", value_parser = clap::value_parser!(i64).range(1..))]
    from: i64,
    /// Last position to send; without it, the last one that is published
    #[arg(long, value_name = "SEQ", value_parser = clap::value_parser!(i64).range(1..))]
    to: Option<i64>,
    /// Only the events of this one
    #[arg(long = "of", value_name = "ID", alias = "order")]
    of: Option<Uuid>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    database: S::Database,
    #[command(flatten)]
    broker: S::Broker,
    #[command(flatten)]
    pub output: OutputArgs<S>,
}

#[derive(Serialize)]
struct ReplayReport {
    from: i64,
    to: i64,
    /// Whose events alone; `None`: everybody's.
    of: Option<Uuid>,
    /// Events that the broker has acknowledged.
    sent: i64,
    /// Positions left out because they are quarantined.
    quarantined: i64,
    /// Positions left out because an operator gave their events up.
    discarded: i64,
    /// What the broker refuses for the event's own sake.
    refused: Vec<RefusedEvent>,
    /// Everything below this position is done; absent when all is.
    resume_from: Option<i64>,
    /// Why it ended early.
    error: Option<String>,
    /// Whether the topic had been made anew, and has now what was published to the former one.
    restored: bool,
}

#[derive(Serialize)]
struct RefusedEvent {
    seq: i64,
    error: String,
}

impl<S: Service> Replay<S> {
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let reader = S::open(&self.database).await?;
        let outbox = OutboxReader::new(reader.clone());
        let publication = outbox.publication_progress().await?;
        let to = self.to.unwrap_or(i64::MAX).min(publication.published_seq);
        let last = publication.published_seq;
        ensure!(
            self.from <= to,
            "nothing to send: --from {} to {to}; published is up to position {last}",
            self.from
        );
        let range = self.from..=to;
        let target = S::target(&self.broker)?;
        let what = self.what(&target, outbox.name().one, &range);
        let question = format!("Send the events at positions {what} once more?");
        if let Some(code) = confirm::refused(S::PROGRAM, &question, self.yes)? {
            return Ok(code);
        }
        let mut report = self.send(&reader, &target, range, &publication).await?;
        let complete = report.resume_from.is_none() && report.refused.is_empty();
        report.restored = complete && self.of.is_none() && target.transport.replayed(reader, to).await;
        self.output.write(&report, |report| text(report, S::PROGRAM))?;
        Ok(if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn what(&self, target: &Target, one: &str, range: &RangeInclusive<i64>) -> String {
        let of = self.of.map_or(String::new(), |id| format!(" of {one} {id}"));
        let Target { topic, place, .. } = target;
        format!("{} to {}{of} to the topic {topic}, {place}", range.start(), range.end())
    }

    async fn send(
        &self,
        reader: &Reader,
        target: &Target,
        range: RangeInclusive<i64>,
        publication: &PublicationProgress,
    ) -> anyhow::Result<ReplayReport> {
        let stop = kit::stop::wanted()?;
        tokio::pin!(stop);
        let (signals, mut signalled) = unbounded_channel();
        let client = target.transport.copies(signals).await;
        let client = client.with_context(|| format!("{} does not answer for the topic", target.place))?;
        let (from, to) = (*range.start(), *range.end());
        let mut report = ReplayReport {
            from,
            to,
            of: self.of,
            sent: 0,
            quarantined: 0,
            discarded: 0,
            refused: Vec::new(),
            resume_from: None,
            error: None,
            restored: false,
        };
        let mut progress = Progress::new("positions sent again");
        let mut next = from;
        while next <= to {
            if (&mut stop).now_or_never().is_some() {
                report.resume_from = Some(next);
                report.error = Some("told to stop".to_owned());
                break;
            }
            let page = self.page(reader, next..=to).await?;
            let Some(last) = page.last().map(|event| event.seq) else { break };
            let mut seqs = BTreeSet::new();
            for event in &page {
                match publication.stage(event.seq) {
                    "quarantined" => report.quarantined += 1,
                    "discarded" => report.discarded += 1,
                    // Deferred: the publisher sends it later, in its order's order.
                    "waiting" => {}
                    _ => {
                        client.send(0, 0, event, None);
                        seqs.insert(event.seq);
                    }
                }
            }
            if let Err((resume_from, error)) =
                settle(target.delivery_timeout, &mut signalled, seqs, &mut report).await
            {
                report.resume_from = Some(resume_from);
                report.error = Some(error);
                break;
            }
            next = last + 1;
            progress.show(last - from + 1, to - from + 1);
        }
        Ok(report)
    }

    /// The next events to look at, in position order.
    async fn page(&self, reader: &Reader, range: RangeInclusive<i64>) -> anyhow::Result<Vec<StoredEvent>> {
        let events = match self.of {
            Some(id) => reader.history(AggregateId(id), i64::MAX).await?,
            None => reader.after(range.start() - 1, count(PAGE)).await?,
        };
        Ok(events.into_iter().filter(|event| range.contains(&event.seq)).take(PAGE).collect())
    }
}

/// Waits for the report of every event of a page. On failure: the first position that is not delivered, and why.
async fn settle(
    delivery_timeout: Duration,
    signalled: &mut UnboundedReceiver<Signal>,
    mut waiting: BTreeSet<i64>,
    replayed: &mut ReplayReport,
) -> Result<(), (i64, String)> {
    let mut failed: BTreeMap<i64, String> = BTreeMap::new();
    while let Some(first) = waiting.first().copied() {
        let Ok(Some(signal)) = timeout(delivery_timeout + REPORT_GRACE, signalled.recv()).await else {
            failed.insert(first, "the broker's client reports nothing".to_owned());
            break;
        };
        // Ignored: if a broker is lost the deliveries fail, and their reports count.
        let Signal::Report { seq, report, .. } = signal else { continue };
        waiting.remove(&seq);
        match report {
            DeliveryReport::Delivered => replayed.sent += 1,
            DeliveryReport::Refused(error) => replayed.refused.push(RefusedEvent { seq, error }),
            DeliveryReport::Unavailable(error) => {
                failed.insert(seq, error);
            }
        }
    }
    failed.pop_first().map_or(Ok(()), Err)
}

fn count(events: usize) -> i64 {
    i64::try_from(events).unwrap_or(i64::MAX)
}

fn text(report: &ReplayReport, program: &str) -> String {
    let mut text = format!("{} sent again.", counted(report.sent, "event"));
    if report.quarantined > 0 {
        text += &format!("\n{} left out, being quarantined.", counted(report.quarantined, "event"));
    }
    if report.discarded > 0 {
        text += &format!("\n{} left out, having been given up.", counted(report.discarded, "event"));
    }
    for RefusedEvent { seq, error } in &report.refused {
        text += &format!("\nThe broker refuses the event at position {seq}: {error}");
    }
    if report.restored {
        text += "\nThe topic had been made anew; it has now what was published to the former one.";
    }
    if let (Some(from), Some(error)) = (report.resume_from, &report.error) {
        let of = report.of.map_or(String::new(), |id| format!(" --of {id}"));
        let to = report.to;
        text +=
            &format!("\nIt ended early: {error}.\nTo resume: {program} replay --from {from} --to {to}{of}");
    }
    text
}
