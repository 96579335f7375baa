//! The metrics with their names and descriptions. Callers have handles, so that counting an event looks up no name.

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge,
    histogram,
};

use crate::aggregate::Name;

/// Of events, however they came into the journal.
pub(super) struct OutboxMetrics {
    pub(super) journal: JournalMetrics,
    pub(super) publication: PublicationMetrics,
    pub(super) topic: TopicMetrics,
}

impl OutboxMetrics {
    pub(super) fn new(name: Name) -> Self {
        let make = HandleFactory(name);
        Self {
            journal: JournalMetrics::new(&make),
            publication: PublicationMetrics::new(&make),
            topic: TopicMetrics::new(&make),
        }
    }
}

/// Of aggregates and their commands.
pub(super) struct AggregateMetrics {
    pub(super) batches: BatchMetrics,
    pub(super) actors: ActorMetrics,
    pub(super) projection: ProjectionMetrics,
}

impl AggregateMetrics {
    pub(super) fn new(name: Name) -> Self {
        let make = HandleFactory(name);
        Self {
            batches: BatchMetrics::new(&make),
            actors: ActorMetrics::new(&make),
            projection: ProjectionMetrics::new(&make),
        }
    }
}

/// Makes handles, described, and at zero where there are no labels.
struct HandleFactory(Name);

impl HandleFactory {
    fn full(&self, rest: &str) -> String {
        format!("{}_{rest}", self.0.many)
    }

    fn counter(&self, rest: &str, text: impl Into<String>) -> Counter {
        describe_counter!(self.full(rest), text.into());
        let counter = counter!(self.full(rest));
        counter.absolute(0);
        counter
    }

    fn gauge(&self, rest: &str, text: impl Into<String>) -> Gauge {
        describe_gauge!(self.full(rest), text.into());
        let gauge = gauge!(self.full(rest));
        gauge.set(0.0);
        gauge
    }

    fn seconds(&self, rest: &str, text: &'static str) -> Histogram {
        describe_histogram!(self.full(rest), Unit::Seconds, text);
        histogram!(self.full(rest))
    }
}

/// Of the journal's actor.
pub(super) struct BatchMetrics {
    pub(super) commands: Histogram,
    pub(super) duration: Histogram,
    pub(super) queue: Gauge,
}

impl BatchMetrics {
    fn new(make: &HandleFactory) -> Self {
        let commands = super::batch_commands(make.0);
        describe_histogram!(commands.clone(), "Commands per transaction of the journal");
        Self {
            commands: histogram!(commands),
            duration: make.seconds(
                "journal_batch_duration_seconds",
                "Time of one transaction of the journal, with its commit and retries",
            ),
            queue: make.gauge("journal_queue_commands", "Commands in the journal, waiting or being written"),
        }
    }
}

pub(super) struct JournalMetrics {
    pub(super) appended: Counter,
    pub(super) eras: Counter,
    pub(super) lost: Counter,
}

impl JournalMetrics {
    fn new(make: &HandleFactory) -> Self {
        Self {
            appended: make.counter("events_appended_total", "Events committed by this instance"),
            eras: make.counter(
                "journal_eras_total",
                "Times that the database was found to be another one, or to have lost commits",
            ),
            lost: make.counter(
                "journal_lost_events_total",
                "Committed events that are gone from the journal, as far as this instance knew of them",
            ),
        }
    }
}

pub(super) struct PublicationMetrics {
    pub(super) published: Counter,
    pub(super) duration: Histogram,
    pub(super) pending: Gauge,
    pub(super) oldest: Gauge,
    pub(super) quarantined: Gauge,
    pub(super) stuck: Gauge,
    pub(super) breaker: Gauge,
    pub(super) lease: Gauge,
    /// As in [`RETRY_PLACES`].
    pub(super) retries: [Counter; 2],
    pub(super) drains: Counter,
    pub(super) drained: Counter,
}

/// Where a retry of publication waits.
pub(super) const RETRY_PLACES: [&str; 2] = ["redis", "memory"];

impl PublicationMetrics {
    fn new(make: &HandleFactory) -> Self {
        let many = make.0.many;
        let retries = make.full("publisher_retries_total");
        describe_counter!(retries.clone(), "Scheduled retries of publication, by place: redis or memory");
        let retries = RETRY_PLACES.map(|place| {
            let counter = counter!(retries.clone(), "place" => place);
            counter.absolute(0);
            counter
        });
        Self {
            published: make.counter(
                "events_published_total",
                "Deliveries acknowledged by the broker, repeated ones included",
            ),
            duration: make.seconds(
                "publish_duration_seconds",
                "Time from an event's commit to the broker's acknowledgement",
            ),
            pending: make.gauge(
                "outbox_pending_events",
                "Committed events that are not published yet, in the whole deployment",
            ),
            oldest: make.gauge(
                "outbox_oldest_pending_age_seconds",
                "Age of the oldest pending event in seconds; 0 if there is none",
            ),
            quarantined: make.gauge(
                &format!("quarantined_{many}"),
                format!("{many} that wait because the broker refused one of their events"),
            ),
            stuck: make.gauge("publisher_stuck_partitions", "Partitions that take nothing while others do"),
            breaker: make.gauge(
                "publisher_breaker_state",
                "This instance's circuit breaker: 0 closed, 1 half-open, 2 open",
            ),
            lease: make.gauge("publisher_lease_held", "1 on the publishing instance, 0 elsewhere"),
            retries,
            drains: make.counter("publisher_drains_total", "Drains that reached the end of the backlog"),
            drained: make.counter("publisher_drained_events_total", "Events in those drains"),
        }
    }
}

pub(super) struct TopicMetrics {
    pub(super) partitions: Gauge,
    pub(super) leaderless: Gauge,
    pub(super) lost: Gauge,
}

impl TopicMetrics {
    fn new(make: &HandleFactory) -> Self {
        Self {
            partitions: make.gauge("topic_partitions", "Partitions of the topic; 0 until it was seen"),
            leaderless: make.gauge(
                "topic_partitions_without_leader",
                "Partitions of the topic without a leader; their events wait",
            ),
            lost: make.gauge(
                "topic_lost_events",
                "Events published to a topic that is gone, and not sent again yet",
            ),
        }
    }
}

pub(super) struct ActorMetrics {
    /// The name of a gauge with a label.
    pub(super) live: String,
    pub(super) activated: Counter,
    pub(super) passivated: Counter,
    pub(super) conflicts: Counter,
}

impl ActorMetrics {
    fn new(make: &HandleFactory) -> Self {
        let Name { one, many } = make.0;
        let live = make.full("live_actors");
        describe_gauge!(live.clone(), format!("Actors of {many} in memory, by shard"));
        Self {
            live,
            activated: make.counter("actor_activations_total", format!("Actors of {many} started")),
            passivated: make.counter(
                "actor_passivations_total",
                format!("Actors of {many} stopped for idleness or for room"),
            ),
            conflicts: make.counter(
                "version_conflicts_total",
                format!("Decisions repeated because another instance had changed the {one}"),
            ),
        }
    }
}

pub(super) struct ProjectionMetrics {
    pub(super) lag: Gauge,
    pub(super) unknown: Counter,
}

impl ProjectionMetrics {
    fn new(make: &HandleFactory) -> Self {
        Self {
            lag: make.gauge("projection_lag_events", "Events that the projection has not applied yet"),
            unknown: make.counter(
                "projection_unknown_events_total",
                "Events that the projection skipped because this version does not know them",
            ),
        }
    }
}
