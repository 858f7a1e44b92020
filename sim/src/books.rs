//! The bookkeeping of promises: what was sent, acknowledged, seen and finished.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The checker's name.
    pub check: &'static str,
    /// What happened.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.check, self.what)
    }
}

pub(crate) fn violation<T>(check: &'static str, what: String) -> Result<T, Violation> {
    Err(Violation { check, what })
}

/// A message's number, unique in a run.
pub(crate) type Id = u64;

/// A place: queue and offset.
pub(crate) type Place = (u32, u64);

/// What became of a group of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Staged, and nothing heard of it yet; or a crash came between: it may be there or not.
    Unknown,
    /// Acknowledged: it must be there.
    Acknowledged,
}

#[derive(Debug, Default)]
pub(crate) struct Books {
    /// Groups by number: their messages and fate.
    pub(crate) groups: BTreeMap<u64, (Vec<Id>, Option<Fate>)>,
    /// Which group a message belongs to.
    pub(crate) group_of: BTreeMap<Id, u64>,
    /// What readers saw where.
    pub(crate) seen: BTreeMap<Place, Id>,
    /// Events that the target got, and those whose dead letter is acknowledged.
    pub(crate) finished: BTreeSet<Place>,
    pub(crate) delivered: BTreeSet<Id>,
}

impl Books {
    pub(crate) fn sent(&mut self, group: u64, ids: Vec<Id>) {
        for id in &ids {
            self.group_of.insert(*id, group);
        }
        self.groups.insert(group, (ids, Some(Fate::Unknown)));
    }

    pub(crate) fn acknowledged(&mut self, group: u64) {
        if let Some((_, fate)) = self.groups.get_mut(&group) {
            *fate = Some(Fate::Acknowledged);
        }
    }

    /// A reader saw a message.
    pub(crate) fn saw(&mut self, place: Place, id: Id) -> Result<(), Violation> {
        if !self.group_of.contains_key(&id) {
            return violation("C3", format!("message {id} at {place:?} was never sent"));
        }
        match self.seen.insert(place, id) {
            Some(before) if before != id => {
                violation("C2", format!("{place:?} held message {before}, now it holds {id}"))
            }
            _ => Ok(()),
        }
    }

    /// At the end: `found` is everything in the log.
    pub(crate) fn check_log(&self, found: &BTreeMap<Place, Id>) -> Result<(), Violation> {
        let present: BTreeSet<Id> = found.values().copied().collect();
        if present.len() != found.len() {
            return violation("C2", "a message lies in two places".to_owned());
        }
        for (group, (ids, fate)) in &self.groups {
            let there = ids.iter().filter(|id| present.contains(id)).count();
            if there != 0 && there != ids.len() {
                return violation("C4", format!("group {group} is there in part: {there} of {}", ids.len()));
            }
            if *fate == Some(Fate::Acknowledged) && there == 0 {
                return violation("C1", format!("group {group} was acknowledged and is lost: {ids:?}"));
            }
        }
        for (place, id) in &self.seen {
            if found.get(place) != Some(id) {
                return violation("C7", format!("message {id} was seen at {place:?} and is gone"));
            }
        }
        Ok(())
    }
}
