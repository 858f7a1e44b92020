//! Deterministic simulation of store, queues and delivery under faults.
//!
//! A seed decides everything: what is sent, when the disk fails and how, when the process is killed or the power cut, how
//! the target answers. The parts are the real ones: the store on its simulated disk, the delivery machine, and the broker's
//! state as log records. The world around them (producers, a consumer, a target, the bookkeeping of what was promised) is
//! this crate's.
//!
//! Checked, at every step or at the end when everything is healed:
//! - **C1** what was acknowledged is in the log (under `sync` after power cuts, under `os` after kills);
//! - **C2, C4** a place in a queue holds one message for ever, offsets have no gaps, groups are whole or absent;
//! - **C3** nothing appears that was not sent, and bodies are intact;
//! - **C7** what a reader saw never disappears;
//! - **C8** a persisted cursor passes no event that was neither delivered nor dead-lettered;
//! - **C12** each event in the log that matches is delivered or dead-lettered, no other is delivered;
//! - order per key, and the bound on attempts in flight;
//! - **C14** the faults really happened ([`Coverage`]).

mod books;
mod random;
mod target;
mod trace;
mod world;

pub use books::Violation;

use halley_delivery as delivery;
use halley_store as store;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A bug planted into one of the real parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// In the store.
    Store(store::Canary),
    /// In the delivery machine.
    Delivery(delivery::Canary),
}

impl Bug {
    /// All bugs that seeds of this world find. A skipped chain shows only after two crashes at one place, which random
    /// seeds hardly ever make; the store's own tests of crash histories do.
    pub fn all() -> Vec<Self> {
        let delivery = [
            delivery::Canary::DeadLetterDropped,
            delivery::Canary::CursorPastOpen,
            delivery::Canary::RetryForgetsOrder,
        ];
        let store = store::Canary::ALL.into_iter().filter(|canary| *canary != store::Canary::ChainSkipped);
        store.map(Self::Store).chain(delivery.into_iter().map(Self::Delivery)).collect()
    }
}

/// How often what happened, over a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Groups acknowledged.
    pub acknowledged: u64,
    /// Groups refused because the disk was full.
    pub refused: u64,
    /// Kills of the process.
    pub kills: u64,
    /// Power cuts.
    pub power_cuts: u64,
    /// Failed writes and syncs.
    pub disk_faults: u64,
    /// Events delivered.
    pub delivered: u64,
    /// Events dead-lettered.
    pub dead_lettered: u64,
}

impl Coverage {
    /// Adds another run's counts.
    pub fn add(&mut self, other: &Self) {
        self.acknowledged += other.acknowledged;
        self.refused += other.refused;
        self.kills += other.kills;
        self.power_cuts += other.power_cuts;
        self.disk_faults += other.disk_faults;
        self.delivered += other.delivered;
        self.dead_lettered += other.dead_lettered;
    }
}

/// The end of a run in which nothing was violated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Hash over everything that happened.
    pub hash: u64,
    /// What happened.
    pub coverage: Coverage,
    /// The history as text, where it was wanted.
    pub history: Vec<String>,
}

/// A run that violated a promise.
#[derive(Debug, Clone)]
pub struct Failure {
    /// What was violated.
    pub violation: Violation,
    /// The history as text, where it was wanted.
    pub history: Vec<String>,
}

/// Runs a seed, with a bug planted or none; `keep` says whether the history is wanted as text.
pub fn run(seed: u64, bug: Option<Bug>, keep: bool) -> Result<Outcome, Failure> {
    let mut world = world::World::new(seed, bug, keep);
    // The parts assert what must hold; an assertion that fails is a violation like any other.
    let result = catch_unwind(AssertUnwindSafe(|| world.run())).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(Violation { check: "assertion", what: text.unwrap_or_else(|| "a part panicked".to_owned()) })
    });
    match result {
        Ok(()) => Ok(world.into_outcome()),
        Err(violation) => Err(Failure { violation, history: world.into_outcome().history }),
    }
}

#[cfg(test)]
mod tests;
