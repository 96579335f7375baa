//! PURE: the log against all topics that there were, one after the other.
//!
//! # Kafka
//! An event may have been published and be gone with its topic before anybody read it: one at or below the position that publication had
//! reached, and in none of the topics that were read by then. It comes again by the replay, behind later versions of its order. Only such
//! an event is excused from order. Nothing excuses an event from being in the topic of now.
//!
//! # Redis Streams
//! The services bring back themselves what streams lost, before any later event. So nothing is excused: in each history of the streams
//! ([`super::history`]), which begins with what the loss before it has left, each order's events come first as the versions 1, 2, 3, …
//! without a gap, in one stream. The history of now has every event.

use std::collections::{BTreeSet, HashMap, HashSet};

use uuid::Uuid;

use super::facts::{Evidence, Generation, Kind, Violation};
use crate::local::Mq;
use crate::topic::Published;

/// The topic of now has what the log has, and each order's events came first in the order of versions, in one partition.
pub(super) fn publication(evidence: &Evidence, found: &mut Vec<Violation>) {
    order(evidence, found);
    let present: HashSet<&str> = evidence.topic.iter().map(|message| message.event_id.as_str()).collect();
    for event in evidence.log.iter().filter(|event| !present.contains(event.event_id.as_str())) {
        found.push(Violation::new(Kind::Unpublished, format!("{event:?} is not in the topic")));
    }
    let logged: HashMap<&str, (Uuid, i64)> =
        evidence.log.iter().map(|event| (event.event_id.as_str(), (event.order, event.version))).collect();
    let is_stray = |message: &&Published| {
        logged.get(message.event_id.as_str()) != Some(&(message.order, message.version))
    };
    let strays: BTreeSet<&str> =
        evidence.messages().filter(is_stray).map(|message| message.event_id.as_str()).collect();
    for event_id in strays {
        found.push(Violation::new(Kind::Unpublished, format!("event {event_id} is only in the topic")));
    }
}

/// Messages whose event was in the same topic before, or in the same history of the streams.
pub(super) fn repeated(evidence: &Evidence) -> usize {
    let repeated = |topic: &[Published]| {
        let events: HashSet<&str> = topic.iter().map(|message| message.event_id.as_str()).collect();
        topic.len() - events.len()
    };
    let former = evidence.former.iter().map(|generation| repeated(&generation.topic));
    former.sum::<usize>() + repeated(&evidence.topic)
}

/// How many events came behind a later version of their order, and were excused.
pub(super) fn late(evidence: &Evidence) -> usize {
    order(evidence, &mut Vec::new())
}

/// As [`late`].
fn order(evidence: &Evidence, found: &mut Vec<Violation>) -> usize {
    if evidence.mq == Mq::Redis {
        let former = evidence.former.iter().map(|generation| generation.topic.as_slice());
        in_each_history("order", former.chain([evidence.topic.as_slice()]), found);
        return 0;
    }
    let mut orders = Orders::default();
    let mut reached = 0;
    for Generation { topic, until } in &evidence.former {
        topic.iter().for_each(|message| orders.first_seen(message, found));
        let until = until.unwrap_or(reached);
        for event in evidence.log.iter().filter(|event| (reached + 1..=until).contains(&event.seq)) {
            if !orders.seen.contains(event.event_id.as_str()) {
                orders.lost.insert((event.order, event.version));
            }
        }
        reached = until;
    }
    evidence.topic.iter().for_each(|message| orders.first_seen(message, found));
    orders.excused
}

/// What streams lost is no excuse. `whose`: what the versions are of.
pub(super) fn in_each_history<'a>(
    whose: &str,
    histories: impl Iterator<Item = &'a [Published]>,
    found: &mut Vec<Violation>,
) {
    let mut homes: HashMap<Uuid, i32> = HashMap::new();
    for (number, history) in (1..).zip(histories) {
        let mut latest: HashMap<Uuid, i64> = HashMap::new();
        let mut seen: HashSet<&str> = HashSet::new();
        for message in history.iter().filter(|message| seen.insert(&message.event_id)) {
            let Published { order, version, partition, .. } = *message;
            let last = latest.insert(order, version).unwrap_or_default();
            let home = *homes.entry(order).or_insert(partition);
            if version != last + 1 || home != partition {
                let text = format!(
                    "{whose} {order}: version {version} in partition {partition} follows version {last} in partition {home}, in history {number}"
                );
                found.push(Violation::new(Kind::OutOfOrder, text));
            }
        }
    }
}

/// How far each order was seen, over all topics.
#[derive(Default)]
struct Orders<'a> {
    seen: HashSet<&'a str>,
    /// Order and version of events that may have been published, and were in no topic that was read.
    lost: HashSet<(Uuid, i64)>,
    latest: HashMap<Uuid, (i64, i32)>,
    excused: usize,
}

impl<'a> Orders<'a> {
    fn first_seen(&mut self, message: &'a Published, found: &mut Vec<Violation>) {
        let Published { order, version, partition, .. } = *message;
        if !self.seen.insert(&message.event_id) {
            return;
        }
        let (last, home) = self.latest.get(&order).copied().unwrap_or((0, partition));
        let is_lost = |version| self.lost.contains(&(order, version));
        let is_next = version > last && (last + 1..version).all(is_lost);
        let is_late = version < last && is_lost(version);
        if !(is_next || is_late) || home != partition {
            let text = format!(
                "order {order}: version {version} in partition {partition} follows version {last} in partition {home}"
            );
            found.push(Violation::new(Kind::OutOfOrder, text));
        }
        self.excused += usize::from(is_late);
        let latest = if is_late { last } else { version };
        self.latest.insert(order, (latest, partition));
    }
}

#[cfg(test)]
mod tests {
    use super::super::facts::Logged;
    use super::*;

    const ORDER: Uuid = Uuid::from_u128(1);

    /// Version is position: one order has the whole log.
    fn logged(version: i64) -> Logged {
        let event_type = "of no interest".to_owned();
        Logged {
            seq: version,
            event_id: format!("event-{version}"),
            order: ORDER,
            version,
            event_type,
            key: None,
        }
    }

    fn topic(versions: &[i64]) -> Vec<Published> {
        let message = |version: &i64| Published {
            partition: 0,
            order: ORDER,
            version: *version,
            event_id: format!("event-{version}"),
        };
        versions.iter().map(message).collect()
    }

    /// What is found where four events were committed, and these versions were in the topics that were deleted, each with its last
    /// position, and in the topic of now.
    fn found(former: &[(&[i64], i64)], present: &[i64]) -> Vec<Kind> {
        found_on(Mq::Kafka, former, present)
    }

    fn found_on(mq: Mq, former: &[(&[i64], i64)], present: &[i64]) -> Vec<Kind> {
        let generation =
            |(versions, until): &(&[i64], i64)| Generation { topic: topic(versions), until: Some(*until) };
        let evidence = Evidence {
            mq,
            log: (1..=4).map(logged).collect(),
            former: former.iter().map(generation).collect(),
            topic: topic(present),
            ..Evidence::default()
        };
        let mut found = Vec::new();
        publication(&evidence, &mut found);
        found.into_iter().map(|violation| violation.kind).collect()
    }

    #[test]
    fn only_an_event_that_a_topic_lost_may_come_behind_later_versions() {
        use Kind::{OutOfOrder, Unpublished};
        type Topics<'a> = &'a [(&'a [i64], i64)];
        let cases: [(&str, Topics<'_>, &[i64], &[Kind]); 13] = [
            ("one topic, all in order", &[], &[1, 2, 2, 3, 1, 4], &[]),
            ("one topic, and nothing is excused", &[], &[1, 3, 2, 4], &[OutOfOrder, OutOfOrder, OutOfOrder]),
            ("everything was read in time, and is sent again", &[(&[1, 2], 2)], &[3, 1, 2, 3, 4], &[]),
            ("2 was lost, and comes by the replay behind 3", &[(&[1], 2)], &[3, 1, 2, 3, 4], &[]),
            ("1 and 2 were lost", &[(&[], 2)], &[3, 1, 2, 3, 4], &[]),
            (
                "2 was not published when the topic went, and comes behind 3",
                &[(&[1], 1)],
                &[3, 1, 2, 4],
                &[OutOfOrder, OutOfOrder, OutOfOrder],
            ),
            (
                "2 was lost, 3 was not, and comes behind 4",
                &[(&[1], 2)],
                &[4, 1, 2, 3],
                &[OutOfOrder, OutOfOrder],
            ),
            (
                "out of order in the topic that was deleted",
                &[(&[2, 1], 2)],
                &[3, 1, 2, 4],
                &[OutOfOrder, OutOfOrder, OutOfOrder],
            ),
            ("2 was lost, and never comes", &[(&[1], 2)], &[3, 1, 4], &[Unpublished]),
            ("2 was read in time, and is not sent again", &[(&[1, 2], 2)], &[3, 1, 4], &[Unpublished]),
            (
                "lost with the first of two topics, read in the second",
                &[(&[1], 2), (&[3, 1, 2], 3)],
                &[1, 2, 3, 4],
                &[],
            ),
            ("lost with both topics", &[(&[1], 2), (&[3], 3)], &[4, 1, 2, 3], &[]),
            ("an event that nobody committed", &[(&[1, 2, 3, 4, 5], 4)], &[1, 2, 3, 4], &[Unpublished]),
        ];
        for (what, former, present, kinds) in cases {
            assert_eq!(found(former, present), kinds, "{what}");
        }
    }

    #[test]
    fn streams_bring_back_what_they_lost_before_anything_later() {
        use Kind::{OutOfOrder, Unpublished};
        type Histories<'a> = &'a [&'a [i64]];
        let cases: [(&str, Histories<'_>, &[i64], &[Kind]); 8] = [
            ("nothing was lost", &[], &[1, 2, 2, 3, 1, 4], &[]),
            ("everything was lost twice", &[&[1, 2], &[1, 2, 3]], &[1, 2, 3, 4], &[]),
            ("the end was lost", &[&[1, 2, 3]], &[1, 2, 3, 4], &[]),
            ("the end was lost, and its beginning is sent again", &[&[1, 2, 3]], &[1, 2, 2, 3, 4], &[]),
            (
                "2 was lost, and comes behind 3",
                &[&[1, 2]],
                &[1, 3, 2, 4],
                &[OutOfOrder, OutOfOrder, OutOfOrder],
            ),
            (
                "1 was lost unread, and comes behind 2",
                &[&[]],
                &[2, 1, 3, 4],
                &[OutOfOrder, OutOfOrder, OutOfOrder],
            ),
            ("out of order before the loss", &[&[2, 1]], &[1, 2, 3, 4], &[OutOfOrder, OutOfOrder]),
            ("1 was lost, and never comes", &[&[1, 2]], &[2, 3, 4], &[OutOfOrder, Unpublished]),
        ];
        for (what, former, present, kinds) in cases {
            let former: Vec<(&[i64], i64)> = former.iter().map(|versions| (*versions, 4)).collect();
            assert_eq!(found_on(Mq::Redis, &former, present), kinds, "{what}");
        }
    }

    #[test]
    fn an_order_stays_in_its_partition_over_all_topics() {
        for mq in [Mq::Kafka, Mq::Redis] {
            an_order_stays_in_its_partition(mq);
        }
    }

    fn an_order_stays_in_its_partition(mq: Mq) {
        let mut evidence = Evidence {
            mq,
            log: (1..=2).map(logged).collect(),
            former: vec![Generation { topic: topic(&[1]), until: Some(1) }],
            topic: topic(&[1, 2]),
            ..Evidence::default()
        };
        let mut found = Vec::new();
        publication(&evidence, &mut found);
        assert_eq!(found, []);
        evidence.topic.iter_mut().for_each(|message| message.partition = 1);
        publication(&evidence, &mut found);
        assert!(
            found.iter().all(|violation| violation.kind == Kind::OutOfOrder) && !found.is_empty(),
            "{found:?}"
        );
    }
}
