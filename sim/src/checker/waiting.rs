//! What becomes of messages that wait: each is delivered once or, taken back or rolled back, never, and none too early.

use super::{Check, Violation, ensure, violated};
use crate::message::{Kind, Waiting};
use std::collections::BTreeMap;

/// The checker of delayed messages and transactions, known by their event's number.
#[derive(Debug, Default)]
pub(crate) struct WaitingChecker {
    known: BTreeMap<u64, Known>,
}

#[derive(Debug)]
struct Known {
    waiting: Waiting,
    /// The group that holds the waiting record.
    group: usize,
    /// The group that holds its recall.
    recalled: Option<usize>,
    /// Whether the recall was acknowledged before it was due.
    recall_holds: bool,
    /// The group that holds the delivered message.
    delivered: Option<usize>,
}

impl WaitingChecker {
    /// A message that waits was staged.
    pub(crate) fn staged(&mut self, waiting: Waiting, group: usize) {
        let number = waiting.event.number;
        let known = Known { waiting, group, recalled: None, recall_holds: false, delivered: None };
        self.known.insert(number, known);
    }

    /// A recall was staged.
    pub(crate) fn recalled(&mut self, number: u64, group: usize) {
        if let Some(known) = self.known.get_mut(&number) {
            known.recalled = Some(group);
        }
    }

    /// Groups up to this are acknowledged at `now`: recalls among them hold from here on.
    pub(crate) fn acknowledged(&mut self, groups: usize, now: i64) {
        for known in self.known.values_mut() {
            let in_time = matches!(known.waiting.kind, Kind::Delayed { at } if now < at);
            known.recall_holds |= in_time && known.recalled.is_some_and(|group| group < groups);
        }
    }

    /// A message that waited was staged where it belongs. Gives it back.
    pub(crate) fn delivered(&mut self, number: u64, group: usize, now: i64) -> Result<Waiting, Violation> {
        let Some(known) = self.known.get_mut(&number) else {
            return violated(Check::Waiting, format!("event {number} is delivered and did not wait"));
        };
        if let Some(before) = known.delivered.replace(group) {
            return violated(
                Check::Waiting,
                format!("event {number} is delivered in group {before} and {group}"),
            );
        }
        ensure(known.may_come(now), Check::Waiting, || {
            format!("event {number} is delivered: {known:?} at {now}")
        })?;
        Ok(known.waiting.clone())
    }

    /// The log holds `groups` groups.
    pub(crate) fn recovered(&mut self, groups: usize) {
        self.known.retain(|_, known| known.group < groups);
        for known in self.known.values_mut() {
            known.delivered = known.delivered.filter(|group| *group < groups);
            known.recalled = known.recalled.filter(|group| *group < groups);
            known.recall_holds &= known.recalled.is_some();
        }
    }

    /// What the producer decided about a transaction, `None` where there is none such.
    pub(crate) fn decision(&self, number: u64) -> Option<bool> {
        match self.known.get(&number)?.waiting.kind {
            Kind::Transaction { commit } => Some(commit),
            Kind::Delayed { .. } => None,
        }
    }

    /// Nothing waits any more.
    pub(crate) fn at_the_end(&self) -> Result<(), Violation> {
        for (number, known) in &self.known {
            let must_come = match known.waiting.kind {
                Kind::Delayed { .. } => known.recalled.is_none(),
                Kind::Transaction { commit } => commit,
            };
            ensure(!must_come || known.delivered.is_some(), Check::Waiting, || {
                format!("event {number} waited and never came: {known:?}")
            })?;
        }
        Ok(())
    }
}

impl Known {
    fn may_come(&self, now: i64) -> bool {
        match self.waiting.kind {
            Kind::Delayed { at } => now >= at && !self.recall_holds,
            Kind::Transaction { commit } => commit,
        }
    }
}
