//! What all parts of the world share: the time, what is to come, chance, and the record of what happened.

use crate::{
    Bug,
    checker::{DeliveryChecker, LogChecker, Place, PopChecker, RetryChecker, WaitingChecker},
    faults::{Coverage, Fault},
    plan::Plan,
    random::Random,
    trace::Trace,
};
use halley_delivery::Verdict;
use halley_model::{LogOffset, Millis, QueueOffset};
use std::collections::BTreeMap;

/// Something that will happen.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// A producer sends.
    Send(usize),
    /// A producer takes a delayed message back.
    Recall { number: u64, at: Millis },
    /// A producer ends a transaction.
    End { number: u64, offset: QueueOffset },
    /// The process starts.
    Start,
    /// A fault of the broker or its machine.
    Strike(Fault),
    /// A full disk gets room.
    Room,
    /// A request reaches its target; the process that sent it may be gone.
    Arrive(Request),
    /// Something inside the process that has this number of lives.
    Inside(u64, Inside),
}

/// Something that will happen inside the process, if it still lives then.
#[derive(Debug, Clone)]
pub(crate) enum Inside {
    /// The log's thread comes round.
    WriteLog,
    /// The background syncs.
    Flush,
    /// The background logs the committed offsets.
    LogOffsets,
    /// The background takes a snapshot.
    Snapshot,
    /// Time for what waits.
    KeepTime,
    /// The consumer reads.
    Read,
    /// Consumers pop, and what is overdue is moved.
    Pop,
    /// The failing group consumes.
    Fail,
    /// The background removes old segments.
    Retain,
    /// A consumer acknowledges a popped message, or hides it for longer.
    PopAck {
        place: Place,
        offset: QueueOffset,
        popped: Millis,
        change: Option<Millis>,
    },
    /// A machine's deadline.
    Wake {
        target: usize,
        due: Millis,
    },
    /// A fetch reads, or gives up waiting.
    Fetch {
        stream: usize,
    },
    FetchTimeout {
        stream: usize,
        from: QueueOffset,
    },
    /// An attempt ends.
    Answer {
        stream: usize,
        offset: QueueOffset,
        verdict: Verdict,
    },
    /// A dead letter was refused.
    LetterRefused {
        stream: usize,
        offset: QueueOffset,
    },
    /// The process waits no longer with its orderly stop.
    StopNow,
    /// The process ends because its store stopped.
    Exit,
}

/// An event on its way to a target.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// The process that waits for the answer.
    pub(crate) life: u64,
    pub(crate) stream: usize,
    pub(crate) target: usize,
    pub(crate) offset: QueueOffset,
    pub(crate) number: u64,
    pub(crate) poison: bool,
    pub(crate) sent: Millis,
}

/// See the module's documentation.
pub(crate) struct Scene {
    pub(crate) now: Millis,
    pub(crate) plan: Plan,
    pub(crate) bug: Option<Bug>,
    pub(crate) random: Random,
    pub(crate) trace: Trace,
    pub(crate) coverage: Coverage,
    pub(crate) log: LogChecker,
    pub(crate) delivery: DeliveryChecker,
    pub(crate) pops: PopChecker,
    /// What popping consumers draw from, so that they change nothing for others.
    pub(crate) poppers: Random,
    pub(crate) retries: RetryChecker,
    /// What the failing group draws from.
    pub(crate) failing: Random,
    pub(crate) waiting: WaitingChecker,
    /// Which events are poison, by number.
    pub(crate) poison: Vec<bool>,
    /// How often the process was started.
    pub(crate) life: u64,
    /// Faults are over.
    pub(crate) healed: bool,
    /// The disk was switched off in the middle of a call: nothing works until the crash.
    pub(crate) disk_is_off: bool,
    /// The disk is slow until then.
    pub(crate) slow_until: Millis,
    /// What is wrong was noticed, by whoever says so, and is the work of a device that lies: nothing more is promised.
    pub(crate) lie_noticed: bool,
    agenda: BTreeMap<(Millis, u64), Event>,
    added: u64,
}

impl Scene {
    pub(crate) fn new(seed: u64, start: Millis, bug: Option<Bug>, keep: bool) -> Self {
        let plan = Plan::of(seed);
        Self {
            now: start,
            bug,
            random: Random::new(seed),
            trace: Trace::new(start, keep),
            coverage: Coverage::default(),
            log: LogChecker::new(plan.durability),
            delivery: DeliveryChecker::new(&plan),
            pops: PopChecker::default(),
            poppers: Random::new(seed ^ 0x706F_7073),
            retries: RetryChecker::default(),
            failing: Random::new(seed ^ 0x7472_6965),
            waiting: WaitingChecker::default(),
            poison: Vec::new(),
            life: 0,
            healed: false,
            disk_is_off: false,
            slow_until: Millis::MIN,
            lie_noticed: false,
            agenda: BTreeMap::new(),
            added: 0,
            plan,
        }
    }

    /// Lets something happen after a while.
    pub(crate) fn after(&mut self, wait: Millis, event: Event) {
        self.agenda.insert((self.now + wait.max(0), self.added), event);
        self.added += 1;
    }

    /// Lets something happen in the living process after a while.
    pub(crate) fn inside(&mut self, wait: Millis, event: Inside) {
        self.after(wait, Event::Inside(self.life, event));
    }

    /// Lets something happen in the living process after a random while.
    pub(crate) fn soon(&mut self, longest: Millis, event: Inside) {
        let wait = self.random.millis(0, longest);
        self.inside(wait, event);
    }

    /// The next thing that happens; it is then.
    pub(crate) fn next(&mut self) -> Option<Event> {
        let ((at, _), event) = self.agenda.pop_first()?;
        self.now = at;
        Some(event)
    }

    /// Whether a fault of this class may strike now.
    pub(crate) fn has(&self, fault: Fault) -> bool {
        !self.healed && self.plan.faults.has(fault)
    }

    /// Takes the store's watermarks into the books. Gives the groups that became acknowledged.
    pub(crate) fn watermarks(&mut self, acked: LogOffset, durable: LogOffset) -> std::ops::Range<usize> {
        let groups = self.log.watermarks(acked, durable);
        self.waiting.acknowledged(self.log.acknowledged(), self.now);
        groups
    }
}
