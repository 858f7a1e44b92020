//! How the members of a group share queues (`AllocateMessageQueueAveragely`, `AllocateMessageQueueAveragelyByCircle`,
//! `QueryAssignmentProcessor`, RocketMQ 5.5).

use std::{collections::BTreeSet, ops::Range};

/// A way to share queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// "AVG": neighbouring queues.
    Average,
    /// "AVG_BY_CIRCLE": one queue each, in turn.
    Circle,
}

impl Strategy {
    /// The strategy of this name.
    pub fn of(name: &str) -> Option<Self> {
        match name {
            "AVG" => Some(Self::Average),
            "AVG_BY_CIRCLE" => Some(Self::Circle),
            _ => None,
        }
    }

    /// Which of `queues` queues are those of member `member` of `members`.
    pub fn allocate(self, member: usize, members: usize, queues: usize) -> Vec<usize> {
        match self {
            Self::Average => neighbours(member, members, queues).collect(),
            Self::Circle => (member..queues).step_by(members.max(1)).collect(),
        }
    }

    /// Which queues the member pops from when it shares them with `share` others; all of them, also with members that come, where
    /// that is 0 or less, or nearly all members. `None` means all.
    pub fn allocate_pop(
        self,
        member: usize,
        members: usize,
        queues: usize,
        share: i32,
    ) -> Option<Vec<usize>> {
        let share = usize::try_from(share).unwrap_or(0);
        if share == 0 || share + 1 >= members {
            return None;
        }
        if members > queues {
            return Some(vec![member % queues.max(1)]);
        }
        let with = (0..=share).map(|step| (member + step) % members);
        let shared: BTreeSet<_> = with.flat_map(|member| self.allocate(member, members, queues)).collect();
        Some(shared.into_iter().collect())
    }
}

fn neighbours(member: usize, members: usize, queues: usize) -> Range<usize> {
    let rest = queues % members.max(1);
    let more = rest > 0 && member < rest;
    let size = if queues <= members { 1 } else { queues / members.max(1) + usize::from(more) };
    let start = if more { member * size } else { member * size + rest };
    start.min(queues)..(start + size).min(queues)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_are_shared_like_in_rocketmq() {
        let check = |strategy: Strategy, members: usize, queues: usize| -> Vec<Vec<usize>> {
            (0..members).map(|member| strategy.allocate(member, members, queues)).collect()
        };
        assert_eq!(check(Strategy::Average, 3, 8), [vec![0, 1, 2], vec![3, 4, 5], vec![6, 7]]);
        assert_eq!(check(Strategy::Average, 2, 4), [vec![0, 1], vec![2, 3]]);
        assert_eq!(check(Strategy::Average, 3, 2), [vec![0], vec![1], vec![]]);
        assert_eq!(check(Strategy::Circle, 3, 8), [vec![0, 3, 6], vec![1, 4, 7], vec![2, 5]]);
        assert_eq!(Strategy::of("AVG"), Some(Strategy::Average));
        assert_eq!(Strategy::of("CONSISTENT_HASH"), None);
    }

    #[test]
    fn members_by_pop_share_more() {
        let average = Strategy::Average;
        assert_eq!(average.allocate_pop(0, 4, 8, 0), None);
        assert_eq!(average.allocate_pop(0, 4, 8, -1), None);
        assert_eq!(average.allocate_pop(0, 4, 8, 3), None);
        assert_eq!(average.allocate_pop(3, 4, 8, 1), Some(vec![0, 1, 6, 7]));
        assert_eq!(average.allocate_pop(3, 4, 2, 1), Some(vec![1]));
    }

    #[test]
    fn every_queue_is_somebodys() {
        for (members, queues) in (1..9).flat_map(|members| (0..20).map(move |queues| (members, queues))) {
            for strategy in [Strategy::Average, Strategy::Circle] {
                let mut all: Vec<_> =
                    (0..members).flat_map(|member| strategy.allocate(member, members, queues)).collect();
                all.sort_unstable();
                assert_eq!(all, (0..queues).collect::<Vec<_>>(), "{strategy:?} {members} {queues}");
            }
        }
    }
}
