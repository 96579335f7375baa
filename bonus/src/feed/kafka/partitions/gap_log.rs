//! Logs and counts a gap in the messages read.

use tracing::{error, warn};

use super::start::{Gap, Start};
use crate::telemetry::metric;

pub(super) fn log(topic: &str, partition: i32, gap: Gap, start: &Start) {
    let (offset, lost) = (start.offset, &start.lost);
    metric::gap(gap.cause(), lost.end - lost.start);
    let (lost_from, lost_to, committed) = (lost.start, lost.end, start.committed);
    match gap {
        Gap::Deleted => {
            error!(
                topic,
                partition,
                lost_from,
                lost_to,
                "Messages were removed before they were read; going on behind them"
            );
        }
        Gap::MadeAnew => {
            error!(
                topic,
                partition,
                committed,
                lost_from,
                lost_to,
                "The topic was made anew; reading it from its beginning"
            );
        }
        Gap::Truncated => {
            error!(
                topic,
                partition, committed, "The topic ends before what was read; reading it from its beginning"
            );
        }
        Gap::Added if lost.is_empty() => {
            warn!(topic, partition, offset, "A partition was added; reading it from its beginning");
        }
        Gap::Added => {
            error!(
                topic,
                partition,
                lost_from,
                lost_to,
                "A partition was added, and messages were removed from it before they were read"
            );
        }
        Gap::Forgotten => {
            warn!(
                topic,
                partition, offset, "The group's offset is gone; reading the partition from its beginning"
            );
        }
    }
}
