//! What becomes of messages that their consumer failed on.

use super::{Check, Content, Violation, ensure};
use crate::{message::Topic, scene::Scene};
use std::collections::{BTreeMap, BTreeSet};

/// What the failing group has consumed, by the number of the event.
#[derive(Debug, Default)]
pub(crate) struct RetryChecker {
    consumed: BTreeSet<u64>,
}

impl RetryChecker {
    /// The group consumed an event.
    pub(crate) fn consumed(&mut self, number: u64) {
        self.consumed.insert(number);
    }

    /// Every event was consumed, or tried exactly as often as it may be and then given up; none was given up earlier or tried
    /// later. A crash may have had the group send an event back twice.
    pub(crate) fn at_the_end(&self, scene: &Scene) -> Result<(), Violation> {
        let Some(tries_max) = scene.plan.tries_max else { return Ok(()) };
        let mut tried: BTreeMap<u64, BTreeSet<i32>> = BTreeMap::new();
        let mut given_up = BTreeSet::new();
        for entry in scene.log.entries() {
            let Content::SentBack { number, attempts } = entry.content else { continue };
            if entry.topic == Topic::GivenUp {
                ensure(attempts == tries_max + 1, Check::Retries, || {
                    format!("event {number} is given up after {attempts} attempts, not {}", tries_max + 1)
                })?;
                given_up.insert(number);
            } else {
                tried.entry(number).or_default().insert(attempts);
            }
        }
        for entry in scene.log.entries() {
            let Content::Event(number) = entry.content else { continue };
            let tried = tried.remove(&number).unwrap_or_default();
            ensure(given_up.contains(&number) || self.consumed.contains(&number), Check::Retries, || {
                format!("event {number} was neither consumed nor given up, it was sent back as {tried:?}")
            })?;
            ensure(
                !given_up.contains(&number) || tried.into_iter().eq(1..=tries_max),
                Check::Retries,
                || format!("event {number} was given up without {tries_max} attempts before"),
            )?;
        }
        Ok(())
    }
}
