//! PURE: which of the waiting commands form the next batch.
//!
//! No two commands of a batch share an aggregate or a key, because the check in the database sees committed rows only. A command
//! that clashes is passed over, and later ones are taken, so that one aggregate or one key does not cut the batch short. Commands
//! of one aggregate or one key keep their order: a command that clashes with one that was passed over is passed over too.

use std::collections::HashSet;
use std::hash::Hash;

/// How many commands are looked at for each that a batch may have. Bounds the work when the queue is full of one key.
const LOOKED_AT_PER_PLACE: usize = 4;

/// What no two commands of a batch may share.
pub(super) struct Identity<Id, Key> {
    pub(super) aggregate: Id,
    pub(super) key: Option<Key>,
}

/// For each waiting command, from the front on, whether it is in the batch. Commands that are not looked at are not in it.
pub(super) fn next_batch<Id, Key>(
    waiting: impl Iterator<Item = Identity<Id, Key>>,
    commands_max: usize,
) -> Vec<bool>
where
    Id: Hash + Eq,
    Key: Hash + Eq,
{
    let (mut aggregates, mut keys) = (HashSet::new(), HashSet::new());
    let (mut chosen, mut count) = (Vec::new(), 0);
    for Identity { aggregate, key } in waiting.take(commands_max.saturating_mul(LOOKED_AT_PER_PLACE)) {
        if count == commands_max {
            break;
        }
        // Both are kept for every command, also for one that is passed over: no later one may overtake it.
        let new_aggregate = aggregates.insert(aggregate);
        let new_key = key.is_none_or(|key| keys.insert(key));
        let taken = new_aggregate && new_key;
        count += usize::from(taken);
        chosen.push(taken);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    type Waiting = VecDeque<(usize, u8, Option<u8>)>;

    /// Number, id and key of what the next batch takes from the front of `waiting`.
    fn take(waiting: &mut Waiting, commands_max: usize) -> Vec<(usize, u8, Option<u8>)> {
        let identities = waiting.iter().map(|&(_, id, key)| Identity { aggregate: id, key });
        let chosen = next_batch(identities, commands_max);
        let all = std::mem::take(waiting);
        let mut chosen = chosen.into_iter();
        let mut batch = Vec::new();
        for command in all {
            if chosen.next() == Some(true) { batch.push(command) } else { waiting.push_back(command) }
        }
        batch
    }

    fn is_first_of_its_kind(place: usize, waiting: &Waiting) -> bool {
        let (_, id, key) = waiting[place];
        waiting.iter().take(place).all(|&(_, other, used)| other != id && (used != key || key.is_none()))
    }

    #[test]
    fn a_clash_is_passed_over() {
        let mut waiting: Waiting =
            [(0, 1, None), (1, 1, None), (2, 2, Some(7)), (3, 3, Some(7)), (4, 4, None)].into();
        let numbers = |batch: Vec<(usize, u8, Option<u8>)>| batch.into_iter().map(|(number, ..)| number);
        assert!(numbers(take(&mut waiting, 10)).eq([0, 2, 4]));
        assert!(numbers(take(&mut waiting, 10)).eq([1, 3]));
    }

    proptest! {
        #[test]
        fn everything_is_written_once_in_order_and_without_clashes(
            commands in prop::collection::vec((0_u8..6, prop::option::of(0_u8..4)), 0..60),
            commands_max in 1_usize..12,
        ) {
            let mut waiting: Waiting =
                commands.iter().enumerate().map(|(number, &(id, key))| (number, id, key)).collect();
            let mut written: Vec<(usize, u8, Option<u8>)> = Vec::new();
            while !waiting.is_empty() {
                let free = (0..waiting.len()).filter(|place| is_first_of_its_kind(*place, &waiting)).count();
                let looked_at_all = waiting.len() <= commands_max * LOOKED_AT_PER_PLACE;
                let batch = take(&mut waiting, commands_max);
                prop_assert!(!batch.is_empty(), "the front command is always taken");
                if looked_at_all {
                    prop_assert_eq!(batch.len(), free.min(commands_max), "whatever clashes with nothing before it is taken");
                }
                let aggregates: HashSet<u8> = batch.iter().map(|(_, id, _)| *id).collect();
                prop_assert_eq!(aggregates.len(), batch.len());
                let keys: Vec<u8> = batch.iter().filter_map(|(.., key)| *key).collect();
                prop_assert_eq!(keys.iter().collect::<HashSet<_>>().len(), keys.len());
                written.extend(batch);
            }
            prop_assert_eq!(written.len(), commands.len());
            for (place, (number, id, key)) in written.iter().enumerate() {
                for (earlier, other, used) in &written[..place] {
                    let related = other == id || (key.is_some() && used == key);
                    prop_assert!(!related || earlier < number, "{} was overtaken by {}", earlier, number);
                }
            }
        }
    }
}
