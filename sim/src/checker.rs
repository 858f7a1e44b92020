//! The promises, and the bookkeeping that shows one broken. Names as in reliability reference §2.2.

mod delivery;
mod log;
mod pops;
mod retries;
mod waiting;

pub(crate) use delivery::DeliveryChecker;
pub(crate) use log::{Content, Entry, Found, LogChecker};
pub(crate) use pops::{Place, PopChecker};
pub(crate) use retries::RetryChecker;
pub(crate) use waiting::WaitingChecker;

use std::fmt;

/// What is promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// C1: what was acknowledged is there after every crash that the durability covers.
    NothingLost,
    /// C2: a place in a queue holds one record for ever.
    OneRecordPerPlace,
    /// C3: nothing is there that was not sent, was refused, or was found lost before.
    NothingForeign,
    /// C4: queues have no gaps and keep the order of sends; groups are whole or absent.
    QueueOrder,
    /// C7: what a reader saw never disappears; so readers see only what is acknowledged.
    ReadsStay,
    /// C8: a cursor passes no event that is neither delivered nor dead-lettered, and commits are not forgotten.
    CursorsBehind,
    /// C12: each event that matches a rule ends delivered or dead-lettered, and no other.
    EachDelivered,
    /// C13: when all faults are over, everything comes to its end.
    Liveness,
    /// Events of one key are tried in order, one at a time.
    KeyOrder,
    /// No more attempts at once than allowed, and no event twice at once.
    InFlight,
    /// Attempts are counted over restarts, waits are kept, and nothing is given up early.
    RetryPolicy,
    /// A popped message is hidden until its time is over, and never passed by the commit before it is finished.
    Pops,
    /// A delayed message is delivered once and not before its time, one that was recalled in time never; a transaction's
    /// message once where it was committed, else never.
    Waiting,
    /// A message that its consumer failed on comes again exactly as often as it may, and then is a dead letter.
    Retries,
    /// An assertion inside the parts failed.
    Assertion,
}

impl Check {
    fn name(self) -> &'static str {
        match self {
            Self::NothingLost => "C1 nothing acknowledged is lost",
            Self::OneRecordPerPlace => "C2 one record per place for ever",
            Self::NothingForeign => "C3 nothing foreign appears",
            Self::QueueOrder => "C4 queues without gaps, groups whole",
            Self::ReadsStay => "C7 what was read stays",
            Self::CursorsBehind => "C8 cursors pass nothing unfinished",
            Self::EachDelivered => "C12 each match delivered or dead-lettered",
            Self::Liveness => "C13 all comes to its end",
            Self::KeyOrder => "order per key",
            Self::InFlight => "bound on attempts in flight",
            Self::RetryPolicy => "retry policy",
            Self::Pops => "pops are hidden, then acknowledged or moved",
            Self::Waiting => "what waits comes once, in time, or never",
            Self::Retries => "failed messages come again N times, then are dead letters",
            Self::Assertion => "assertion",
        }
    }
}

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub check: Check,
    /// What was seen.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.check.name(), self.detail)
    }
}

/// A violation where `holds` is false.
pub(crate) fn ensure(holds: bool, check: Check, detail: impl FnOnce() -> String) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(Violation { check, detail: detail() }) }
}

/// A violation.
pub(crate) fn violated<T>(check: Check, detail: String) -> Result<T, Violation> {
    Err(Violation { check, detail })
}
