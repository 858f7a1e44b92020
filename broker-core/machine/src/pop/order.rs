//! What an ordered group was given last from a queue (`QueueLevelConsumerManager.OrderInfo`, 5.5).

use halley_model::{Millis, QueueOffset};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Messages that were given out together. It is stored in commits' metadata: names never change, what comes later has a
/// default.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct OrderInfo {
    /// The attempt that got them.
    #[serde(rename = "a", skip_serializing_if = "Option::is_none")]
    attempt: Option<Box<str>>,
    /// When they were given out.
    #[serde(rename = "t")]
    popped: Millis,
    /// For how long they are hidden.
    #[serde(rename = "i")]
    invisible: Millis,
    /// Which they are, rising; at most 64.
    #[serde(rename = "o")]
    offsets: Vec<QueueOffset>,
    /// A bit for each that is acknowledged, by its place in `offsets`.
    #[serde(rename = "c")]
    acked: u64,
    /// When some are visible again, where that was changed.
    #[serde(rename = "v", skip_serializing_if = "BTreeMap::is_empty")]
    visible: BTreeMap<QueueOffset, Millis>,
    /// How often some were given out before.
    #[serde(rename = "n", skip_serializing_if = "BTreeMap::is_empty")]
    given: BTreeMap<QueueOffset, u32>,
}

/// How often messages were given out before.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counts {
    /// Those that were.
    pub messages: BTreeMap<QueueOffset, u32>,
    /// Each of the pop, at least.
    pub least: u32,
}

impl OrderInfo {
    /// These messages are given out for the first time.
    pub fn new(now: Millis, attempt: Option<&str>, invisible: Millis, offsets: Vec<QueueOffset>) -> Self {
        let attempt = attempt.map(Box::from);
        Self { attempt, popped: now, invisible, offsets, ..Self::default() }
    }

    /// Counts what was given out `before`. The same attempt does not count (`mergeOffsetConsumedCount`).
    pub fn count_on(&mut self, before: &Self) {
        if before.attempt.is_some() && before.attempt == self.attempt {
            self.given = before.given.clone();
            return;
        }
        let earlier: BTreeSet<_> = before.offsets.iter().collect();
        let again = self.offsets.iter().filter(|offset| earlier.contains(offset));
        let count = |offset| before.given.get(offset).copied().unwrap_or(0).saturating_add(1);
        self.given = again.map(|offset| (*offset, count(offset))).collect();
    }

    /// See [`Counts`].
    pub fn counts(&self) -> Counts {
        let all = self.given.len() == self.offsets.len();
        let least = if all { self.given.values().copied().min().unwrap_or(0) } else { 0 };
        Counts { messages: self.given.clone(), least }
    }

    /// Whether nothing may be given out: a message is neither acknowledged nor visible again. An attempt that got the
    /// messages gets them again (`needBlock`). `invisible` stands in where the pop asked for no time.
    pub fn blocks(&mut self, now: Millis, attempt: Option<&str>, invisible: Millis) -> bool {
        if self.attempt.is_some() && self.attempt.as_deref() == attempt {
            return false;
        }
        if self.invisible <= 0 {
            self.invisible = invisible;
        }
        self.unacked().any(|(_, visible)| now < visible)
    }

    /// When the messages that are not acknowledged are all visible again, `None` where they are. (`getLockFreeTimestamp` has
    /// the first of them; the queue stays blocked until the last.)
    pub fn blocked_until(&self, now: Millis) -> Option<Millis> {
        self.unacked().map(|(_, visible)| visible).max().filter(|visible| now < *visible)
    }

    /// Whether all are acknowledged.
    pub fn is_done(&self) -> bool {
        self.unacked().next().is_none()
    }

    /// Acknowledges a message: the first that is not yet (`commitAndNext`). `None` for a handle from another pop, `Some(None)`
    /// for a message that was not given out.
    pub fn ack(&mut self, offset: QueueOffset, popped: Millis) -> Option<Option<QueueOffset>> {
        if popped != self.popped && !self.offsets.is_empty() {
            return None;
        }
        let Ok(place) = self.offsets.binary_search(&offset) else { return Some(None) };
        self.acked |= 1 << place;
        let first = self.unacked().next().map(|(offset, _)| offset);
        Some(first.or_else(|| self.offsets.last().map(|last| last + 1)))
    }

    /// The message is visible again at `visible`, if it was given out at `popped`.
    pub fn hide(&mut self, offset: QueueOffset, popped: Millis, visible: Millis) {
        if popped == self.popped && self.offsets.binary_search(&offset).is_ok() {
            self.visible.insert(offset, visible);
        }
    }

    /// All messages are visible again at `visible`, if they were given out at `popped`, and this time does not count.
    pub fn suspend(&mut self, popped: Millis, visible: Millis) {
        if popped == self.popped {
            for given in self.given.values_mut() {
                *given = given.saturating_sub(1);
            }
            self.visible.clear();
            self.invisible = visible.saturating_sub(self.popped);
        }
    }

    /// Whether it could have come from [`OrderInfo::new`] and what followed.
    pub(super) fn is_valid(&self) -> bool {
        self.offsets.len() <= u64::BITS as usize
            && self.offsets.last().is_none_or(|last| *last < u64::MAX)
            && self.offsets.is_sorted_by(|one, other| one < other)
    }

    /// Messages that are not acknowledged, and when they are visible again.
    fn unacked(&self) -> impl Iterator<Item = (QueueOffset, Millis)> {
        let usually = self.popped.saturating_add(self.invisible);
        let open = self.offsets.iter().enumerate().filter(|(place, _)| self.acked >> place & 1 == 0);
        open.map(move |(_, offset)| (*offset, self.visible.get(offset).copied().unwrap_or(usually)))
    }
}
