//! PURE: a partition's state as the brokers report it, and why it does not accept events.

/// A partition's state, as the brokers report it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionState {
    pub partition: i32,
    /// -1 when it has none.
    pub leader: i32,
    pub replicas: usize,
    pub in_sync: usize,
}

impl PartitionState {
    pub fn has_all_replicas(&self) -> bool {
        self.leader >= 0 && self.in_sync == self.replicas
    }
}

/// The number of leaders and of replicas in sync, added up. When it grows, a broker has come back.
pub fn strength(states: &[PartitionState]) -> usize {
    states.iter().map(|state| usize::from(state.leader >= 0) + state.in_sync).sum()
}

/// Why some of these partitions take no events, in words, as far as their states show it. `min_in_sync`: the topic's
/// `min.insync.replicas`, if known.
pub fn shortage(states: &[PartitionState], min_in_sync: Option<i32>) -> Option<String> {
    let numbers = |of: &dyn Fn(&PartitionState) -> bool| -> Vec<i32> {
        states.iter().filter(|state| of(state)).map(|state| state.partition).collect()
    };
    let least = min_in_sync.and_then(|least| usize::try_from(least).ok()).unwrap_or(1);
    let leaderless = numbers(&|state| state.leader < 0);
    let short = numbers(&|state| state.leader >= 0 && state.in_sync < least);
    let leaderless = (!leaderless.is_empty()).then(|| format!("no leader for partitions {leaderless:?}"));
    let short = (!short.is_empty())
        .then(|| format!("fewer replicas in sync than min.insync.replicas={least} for partitions {short:?}"));
    let parts: Vec<String> = leaderless.into_iter().chain(short).collect();
    (!parts.is_empty()).then(|| format!("{}; start the brokers that hold them", parts.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(partition: i32, leader: i32, in_sync: usize) -> PartitionState {
        PartitionState { partition, leader, replicas: 3, in_sync }
    }

    #[test]
    fn what_a_partition_lacks_is_said_in_words() {
        let states = [state(0, 1, 3), state(1, 2, 2), state(2, 1, 1), state(3, -1, 0)];
        let said = |states: &[_], least| shortage(states, least);
        assert_eq!(said(&states[..2], Some(2)), None, "enough is enough");
        assert_eq!(said(&states[..3], None), None, "nothing is guessed");
        assert_eq!(
            said(&states, Some(3)).as_deref(),
            Some(
                "no leader for partitions [3], fewer replicas in sync than min.insync.replicas=3 for partitions [1, 2]; \
                 start the brokers that hold them"
            )
        );
    }

    #[test]
    fn what_comes_back_adds_strength() {
        let (dead, elected, whole) = (state(0, -1, 1), state(0, 2, 1), state(0, 2, 2));
        assert!(strength(&[dead]) < strength(std::slice::from_ref(&elected)));
        assert!(strength(&[elected]) < strength(&[whole]));
    }
}
