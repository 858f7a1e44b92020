//! What was under way in a store of RocketMQ's when Halley took it over.

use halley_model::QueueOffset;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Which records of a stretch of a queue are still under way. Folded once or twice, it never brings anything back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenRange {
    /// The first offset that this says something of.
    pub from: QueueOffset,
    /// The first offset behind.
    pub to: QueueOffset,
    /// Those still under way, rising.
    pub open: Vec<QueueOffset>,
}

impl OpenRange {
    /// Whether a record is still under way, as far as this can tell.
    pub(crate) fn keeps(&self, offset: QueueOffset) -> bool {
        !(self.from..self.to).contains(&offset) || self.open.binary_search(&offset).is_ok()
    }

    /// All of a queue up to `end`, in pieces of at most `open_max` records under way. `open` rises.
    pub fn pieces(end: QueueOffset, open: &[QueueOffset], open_max: usize) -> Vec<Self> {
        let mut from = 0;
        let mut pieces = Vec::new();
        for piece in open.chunks(open_max) {
            let to = piece.last().map_or(from, |last| last + 1);
            pieces.push(Self { from, to, open: piece.to_vec() });
            from = to;
        }
        if from < end {
            pieces.push(Self { from, to: end, open: Vec::new() });
        }
        pieces
    }
}

/// A part of the state record of a takeover.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TakenOver {
    /// Timers of RocketMQ's that still wait.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub timers: Vec<OpenRange>,
    /// Transactions of RocketMQ's that are still open.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub halves: Vec<OpenRange>,
    /// By level: the first delayed message that does not wait in Halley's own queue yet.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub delayed: BTreeMap<u8, QueueOffset>,
    /// All of it is taken over: what this record and those before it say is the whole.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub done: bool,
}

/// How far a takeover got.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// By level: the first delayed message that does not wait in Halley's own queue yet.
    pub delayed: BTreeMap<u8, QueueOffset>,
    /// Whether all is done.
    pub done: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timers::{Timer, Timers};

    #[test]
    fn what_is_done_stays_done() {
        let open = [2, 3, 7];
        let pieces = OpenRange::pieces(10, &open, 2);
        assert_eq!(
            pieces.iter().map(|piece| (piece.from, piece.to)).collect::<Vec<_>>(),
            [(0, 4), (4, 8), (8, 10)]
        );
        let mut timers = Timers::default();
        (0..12).for_each(|offset| timers.see(Timer::message(5, offset)));
        timers.finish(Timer::message(5, 3));
        for _ in 0..2 {
            pieces.iter().for_each(|piece| timers.keep(piece));
        }
        let left: Vec<_> = timers.due(5, 99).unwrap().messages.iter().map(|timer| timer.offset()).collect();
        assert_eq!(left, [2, 7, 10, 11]);
        assert!(OpenRange::pieces(0, &[], 2).is_empty());
    }
}
