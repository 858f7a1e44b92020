//! What can go wrong, and proof that it did.

use std::fmt;

/// A class of faults. Each seed switches some on and the others off, so that rare combinations come up and common
/// faults do not hide the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The process is killed; what it wrote stays.
    Kill,
    /// The power fails: unsynced writes are lost, torn and reordered.
    PowerCut,
    /// The machine stops in the middle of a counted disk operation.
    SwitchOff,
    /// A sync fails once and succeeds the next time.
    FailedSync,
    /// A write fails after a part of it was written.
    FailedWrite,
    /// The disk is full for a while.
    FullDisk,
    /// The machine stops in the middle of recovery.
    CrashWhileOpening,
    /// An orderly stop and start.
    Restart,
    /// A bit flips in a file that is only a cache (index sidecar, snapshot).
    CacheRot,
    /// Reading events from the log fails now and then.
    FailedFetches,
    /// Targets answer 503 for a while.
    Errors,
    /// Targets answer 429 with `Retry-After` for a while.
    Throttling,
    /// Targets refuse certain events for good.
    Rejections,
    /// Targets do not answer for a while, though they may have taken the event.
    Silence,
    /// Targets refuse connections for a while.
    Outage,
    /// The disk takes its time for a while: the log's thread comes round late.
    SlowDisk,
    /// Syncs succeed and make nothing durable, until the next crash. From here on the device is not honest: what is lost
    /// may be lost, but must not be taken for something else.
    LyingSync,
    /// A write succeeds, is readable, and never reaches the medium.
    LostWrite,
    /// A write reaches the medium at another place, over what is there.
    MisdirectedWrite,
}

impl Fault {
    /// All classes.
    pub const ALL: [Self; 19] = [
        Self::Kill,
        Self::PowerCut,
        Self::SwitchOff,
        Self::FailedSync,
        Self::FailedWrite,
        Self::FullDisk,
        Self::CrashWhileOpening,
        Self::Restart,
        Self::CacheRot,
        Self::FailedFetches,
        Self::Errors,
        Self::Throttling,
        Self::Rejections,
        Self::Silence,
        Self::Outage,
        Self::SlowDisk,
        Self::LyingSync,
        Self::LostWrite,
        Self::MisdirectedWrite,
    ];

    /// The classes that any seed may have; the others are for some alone.
    pub(crate) const OF_ALL_SEEDS: usize = 15;

    /// The classes that make a device dishonest.
    pub(crate) const LIES: [Self; 3] = [Self::LyingSync, Self::LostWrite, Self::MisdirectedWrite];

    /// The classes that strike the broker as a whole, at a time of their own.
    pub(crate) const TIMED: [Self; 13] = [
        Self::Kill,
        Self::PowerCut,
        Self::SwitchOff,
        Self::FailedSync,
        Self::FailedWrite,
        Self::FullDisk,
        Self::CrashWhileOpening,
        Self::Restart,
        Self::CacheRot,
        Self::SlowDisk,
        Self::LyingSync,
        Self::LostWrite,
        Self::MisdirectedWrite,
    ];

    /// The classes that strike a target for a while.
    pub(crate) const OF_TARGETS: [Self; 4] = [Self::Errors, Self::Throttling, Self::Silence, Self::Outage];
}

/// The classes that are on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Switches(u32);

impl Switches {
    pub(crate) fn set(&mut self, fault: Fault, on: bool) {
        let bit = 1 << fault as u32;
        self.0 = if on { self.0 | bit } else { self.0 & !bit };
    }

    pub(crate) fn has(self, fault: Fault) -> bool {
        self.0 & 1 << fault as u32 != 0
    }
}

impl fmt::Display for Switches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut some = false;
        for fault in Fault::ALL.into_iter().filter(|fault| self.has(*fault)) {
            write!(f, "{}{fault:?}", if some { ", " } else { "" })?;
            some = true;
        }
        f.write_str(if some { "" } else { "none" })
    }
}

/// Something worth having happened, beside the faults themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happened {
    /// An event was acknowledged to its producer.
    Acknowledged,
    /// A send was refused for lack of room on the disk.
    RefusedFull,
    /// An event ended with an unknown outcome and was found in the log.
    UnknownKept,
    /// An event ended with an unknown outcome and was not in the log.
    UnknownLost,
    /// Recovery cut a torn tail.
    TailCut,
    /// Recovery removed whole segments behind a gap.
    SegmentDropped,
    /// State came from a snapshot.
    SnapshotUsed,
    /// A consumer read a record.
    Read,
    /// A target took an event.
    Accepted,
    /// A target was given an event that it had taken before.
    AcceptedAgain,
    /// An attempt failed and the event waits.
    Retried,
    /// A dead letter was acknowledged.
    DeadLettered,
    /// A dead letter was refused by the log and is tried again.
    DeadLetterRefused,
    /// A stream went on from a cursor with open events.
    CursorRestored,
    /// A message was popped.
    Popped,
    /// A popped message was not acknowledged in time and moved to the retry topic.
    Revived,
    /// A message was sent back for another try.
    SentBack,
    /// A message was tried as often as it may be and became a dead letter of its group.
    GivenUp,
    /// A queue went on from a commit with popped messages in flight.
    FlightsRestored,
    /// Delayed messages were due.
    TimerDue,
    /// A delayed message was due and had been recalled.
    Recalled,
    /// A producer was asked about a transaction.
    TransactionChecked,
    /// A transaction was committed or rolled back.
    TransactionEnded,
    /// Old segments were removed.
    Removed,
    /// What waited in them was moved before.
    WaitingMoved,
    /// Damage by a device that lies was noticed.
    LieNoticed,
    /// A device that lies lost acknowledged records, and nothing told.
    LieUnnoticed,
}

impl Happened {
    /// All of them.
    pub const ALL: [Self; 27] = [
        Self::Acknowledged,
        Self::RefusedFull,
        Self::UnknownKept,
        Self::UnknownLost,
        Self::TailCut,
        Self::SegmentDropped,
        Self::SnapshotUsed,
        Self::Read,
        Self::Accepted,
        Self::AcceptedAgain,
        Self::Retried,
        Self::DeadLettered,
        Self::DeadLetterRefused,
        Self::CursorRestored,
        Self::Popped,
        Self::Revived,
        Self::SentBack,
        Self::GivenUp,
        Self::FlightsRestored,
        Self::TimerDue,
        Self::Recalled,
        Self::TransactionChecked,
        Self::TransactionEnded,
        Self::Removed,
        Self::WaitingMoved,
        Self::LieNoticed,
        Self::LieUnnoticed,
    ];
}

/// How often each fault struck and each thing happened. A fault that never strikes proves nothing (C14).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Coverage {
    struck: [u64; Fault::ALL.len()],
    happened: [u64; Happened::ALL.len()],
}

impl Coverage {
    /// How often faults of this class struck.
    pub fn struck(&self, fault: Fault) -> u64 {
        self.struck[fault as usize]
    }

    /// How often this happened.
    pub fn happened(&self, what: Happened) -> u64 {
        self.happened[what as usize]
    }

    pub(crate) fn strike(&mut self, fault: Fault) {
        self.struck[fault as usize] += 1;
    }

    pub(crate) fn count(&mut self, what: Happened) {
        self.happened[what as usize] += 1;
    }

    /// Adds the counts of another run.
    pub fn add(&mut self, other: &Self) {
        let mine = self.struck.iter_mut().chain(&mut self.happened);
        for (mine, other) in mine.zip(other.struck.iter().chain(&other.happened)) {
            *mine += other;
        }
    }

    /// What never struck or happened.
    pub fn missing(&self) -> Vec<String> {
        let faults = Fault::ALL.into_iter().filter(|fault| self.struck(*fault) == 0);
        let rest = Happened::ALL.into_iter().filter(|what| self.happened(*what) == 0);
        faults.map(|fault| format!("{fault:?}")).chain(rest.map(|what| format!("{what:?}"))).collect()
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in Fault::ALL {
            write!(f, "{fault:?} {}  ", self.struck(fault))?;
        }
        for what in Happened::ALL {
            write!(f, "{what:?} {}  ", self.happened(what))?;
        }
        Ok(())
    }
}
