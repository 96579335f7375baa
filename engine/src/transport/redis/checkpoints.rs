//! Positions up to which the streams have every event, each with the id of the event there. A journal can be set back (a backup, a
//! failover that lost commits) and go on with other events at the same positions. Then the newest position that the streams were told
//! is not the journal's any more, and the last one that both know is where its events are sent again from.
//!
//! They are in the publisher's hash, newest first. Each is at least twice as far from the newest as the one before it, so there are few of
//! them however long the journal is, and what is sent again is within a few times of what was set back. (The idea is that of the block
//! locator in Bitcoin's protocol.) `confirm.lua` writes them.

use std::collections::HashMap;

use sqlx::FromRow;
use uuid::Uuid;

use crate::journal::{ReadError, Reader};

/// How far publication is, and which event is there; none at 0.
#[derive(Debug, Clone, Copy, FromRow)]
pub(super) struct Cursor {
    #[sqlx(rename = "published_seq")]
    pub(super) seq: i64,
    pub(super) event_id: Option<Uuid>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Checkpoint {
    seq: i64,
    event_id: Uuid,
}

/// `seq:event_id`, separated by blanks.
pub(super) fn parse(text: &str) -> Vec<Checkpoint> {
    let checkpoint = |part: &str| {
        let (seq, event_id) = part.split_once(':')?;
        Some(Checkpoint { seq: seq.parse().ok()?, event_id: event_id.parse().ok()? })
    };
    text.split_whitespace().filter_map(checkpoint).collect()
}

/// What the streams and the journal have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Common {
    /// All that the streams were told of.
    Everything,
    /// The journal was set back: the events up to this position.
    UpTo(i64),
    /// It was set back further than the streams remember.
    Nothing,
}

/// `checkpoints` are newest first. Without any there is nothing to compare.
pub(super) async fn common(reader: &Reader, checkpoints: &[Checkpoint]) -> Result<Common, ReadError> {
    let seqs: Vec<i64> = checkpoints.iter().map(|checkpoint| checkpoint.seq).collect();
    let statement = reader.sql(include_str!("sql/event_ids_at.sql"));
    let there: Vec<(i64, Uuid)> = reader
        .run(async move |mut connection| {
            Ok(sqlx::query_as(statement).bind(seqs).fetch_all(&mut *connection).await?)
        })
        .await?;
    Ok(compare(checkpoints, &there.into_iter().collect()))
}

fn compare(checkpoints: &[Checkpoint], journal: &HashMap<i64, Uuid>) -> Common {
    let is_there = |checkpoint: &&Checkpoint| journal.get(&checkpoint.seq) == Some(&checkpoint.event_id);
    match (checkpoints.first(), checkpoints.iter().find(is_there)) {
        (Some(newest), Some(known)) if newest != known => Common::UpTo(known.seq),
        (Some(_), None) => Common::Nothing,
        _ => Common::Everything,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_position_that_both_know_is_found() {
        let id = Uuid::from_u128;
        let checkpoints = parse(&format!("9:{} 8:{} x 4:{} 1:y", id(90), id(80), id(40)));
        assert_eq!(checkpoints.len(), 3);
        let journal = |events: &[(i64, u128)]| events.iter().map(|(seq, of)| (*seq, id(*of))).collect();
        let with = |events: &[(i64, u128)]| compare(&checkpoints, &journal(events));
        assert_eq!(with(&[(9, 90), (8, 80), (4, 40)]), Common::Everything);
        // Shorter than it was, or with other events.
        assert_eq!(with(&[(8, 80), (4, 40)]), Common::UpTo(8));
        assert_eq!(with(&[(9, 91), (8, 81), (4, 40)]), Common::UpTo(4));
        assert_eq!(with(&[(9, 91), (8, 81), (4, 41)]), Common::Nothing);
        assert_eq!(compare(&[], &journal(&[(9, 90)])), Common::Everything);
    }
}
