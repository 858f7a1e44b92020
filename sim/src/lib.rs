//! Deterministic simulation of store, queues and delivery under faults.
//!
//! A seed decides everything: the load, the rules, when and how the disk fails, when the process is killed or the power
//! cut, how targets answer. The parts are the real ones: the store on its simulated disk, the delivery machine, the
//! broker's state as records in the log. What is around them is made here and moves by virtual time: producers, a
//! consumer, targets, the shell between the parts, and the books of what was promised.
//!
//! Each seed switches classes of [`Fault`]s on or off. Trouble lasts for some seconds; then everything is healed and must
//! come to its end. Every step is checked against the promises in [`Check`], and [`Coverage`] counts what really struck.
//! A seed run twice has one hash.

mod bridge;
mod checker;
mod failures;
mod faults;
mod message;
mod node;
mod plan;
mod pops;
mod random;
mod recovery;
mod retention;
mod scene;
mod target;
mod trace;
mod waiting;
mod world;

pub use checker::{Check, Violation};
pub use faults::{Coverage, Fault, Happened};

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// A bug planted on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// In the store.
    Store(halley_store::Canary),
    /// In the delivery machine.
    Delivery(halley_delivery::Canary),
    /// In the machine of queues that are popped from.
    Pop(halley_machine::pop::Canary),
    /// In the shell round the parts, which is the simulator's own.
    Shell(ShellBug),
}

/// What a careless shell would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShellBug {
    /// That a delayed message is done is stored before the message, not with it.
    DoneBeforeDelivery,
    /// A group goes on behind a message that it could not send back.
    RefusedSendBackPassed,
    /// A committed message is stored without the end of its transaction.
    CommitWithoutEnd,
    /// What waits is not moved before its segment is removed.
    RemovedWithoutMove,
    /// State is not written again before the segments that have it are removed.
    RemovedWithoutState,
    /// Segments are removed before what is needed of them is durable at the log's end.
    RemovedBeforeDurable,
    /// Delayed messages are delivered while some of them, or their recalls, are on their way to another place in the log.
    DeliveredWhileMoved,
    /// A snapshot says how far timers are known and not which ones wait: a restart loses them.
    TimersNotInSnapshot,
    /// A snapshot of what groups have consumed is kept while the log may still lose what it knows.
    CommitsAheadOfLog,
}

impl ShellBug {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::DoneBeforeDelivery,
        Self::RefusedSendBackPassed,
        Self::CommitWithoutEnd,
        Self::RemovedWithoutMove,
        Self::RemovedWithoutState,
        Self::RemovedBeforeDurable,
        Self::DeliveredWhileMoved,
        Self::TimersNotInSnapshot,
        Self::CommitsAheadOfLog,
    ];
}

impl Bug {
    /// All bugs that can be planted here.
    pub fn all() -> Vec<Self> {
        use halley_delivery::Canary::{CursorPastOpen, DeadLetterDropped, RetryForgetsOrder};
        let delivery = [DeadLetterDropped, CursorPastOpen, RetryForgetsOrder].map(Self::Delivery);
        use halley_machine::pop::Canary::{CommitPastFlights, DueTooEarly};
        let pops = [CommitPastFlights, DueTooEarly].map(Self::Pop);
        let shell = ShellBug::ALL.map(Self::Shell);
        let store = halley_store::Canary::ALL.into_iter().map(Self::Store);
        store.chain(delivery).chain(pops).chain(shell).collect()
    }
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// The first broken promise, if any.
    pub result: Result<(), Violation>,
    /// Hash over everything that happened.
    pub hash: u64,
    /// What struck and happened.
    pub coverage: Coverage,
    /// What happened, as text; empty where it was not wanted.
    pub lines: Vec<String>,
}

/// Runs a seed, with a bug planted or none; `keep` says whether the history is wanted as text. Needs panics that unwind: an
/// assertion that fails inside the parts is a violation like any other.
pub fn run(seed: u64, bug: Option<Bug>, keep: bool) -> Report {
    let mut world = world::World::new(seed, bug, keep);
    let result = catch_unwind(AssertUnwindSafe(|| world.run()));
    let result = result
        .unwrap_or_else(|panic| Err(Violation { check: Check::Assertion, detail: message_of(&*panic) }));
    world.into_report(seed, result)
}

fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a part panicked".to_owned())
}

#[cfg(test)]
mod tests;
