//! Transactions that are not ended: a view of the half messages' queue, less what was committed or rolled back.
//!
//! The shell follows the queue ([`Transactions::see`]). It stores the final message of a commit together with the state
//! record that ends the transaction ([`Transactions::end`]), as one group, so that a commit delivers exactly once.
//! A transaction that stays open is asked about, see [`Transactions::due`].

use crate::{
    delay::{Due, TIMER_TOPIC},
    taken_over::OpenRange,
};
use halley_model::{Millis, QueueId, QueueOffset, RecordBody, RecordView, property, record::flag};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Where half messages wait. No client may send to it.
pub const HALF_TOPIC: &str = "RMQ_SYS_TRANS_HALF_TOPIC";

/// Where half messages end that no producer wanted to decide.
pub const GIVEN_UP_TOPIC: &str = "TRANS_CHECK_MAX_TIME_TOPIC";

/// The transaction bits of a system flag for a message that was committed.
const COMMITTED: i32 = 8;

/// When a producer is asked about its open transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckPolicy {
    /// How long after it was born a transaction is left alone, unless its half message asks for longer
    /// (`transactionTimeOut`, 5.5).
    pub first_after: Millis,
    /// How long to wait after the first check (`transactionCheckInterval`, 5.5); each further wait is twice as long.
    pub interval: Millis,
    /// The longest wait between two checks.
    pub interval_max: Millis,
    /// After so many checks the half message is given up (`transactionCheckMax`, 5.5).
    pub times_max: u32,
}

impl Default for CheckPolicy {
    fn default() -> Self {
        Self { first_after: 6_000, interval: 30_000, interval_max: 120_000, times_max: 15 }
    }
}

/// The open transactions.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Transactions {
    /// The first offset of the queue not yet seen.
    next: QueueOffset,
    open: BTreeMap<QueueOffset, Open>,
    checks: BTreeSet<(Millis, QueueOffset)>,
    /// Ended, but not yet seen: the state may be folded further than the queue.
    early: BTreeSet<QueueOffset>,
    /// Asked about, but not yet seen.
    #[serde(default)]
    checked_early: BTreeMap<QueueOffset, Open>,
    /// By the offset that a producer knows: where the half message lies now.
    #[serde(default)]
    moved: BTreeMap<QueueOffset, QueueOffset>,
}

/// A half message was put into its queue once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// The offset that its producer knows, or was told last.
    pub from: QueueOffset,
    /// Where it lies now.
    pub to: QueueOffset,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Open {
    check_at: Millis,
    times: u32,
}

/// What to do about an open transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// Ask the producer; this is the n-th time.
    Ask {
        /// the half message's offset in its queue
        offset: QueueOffset,
        /// how often it was asked, this time included
        times: u32,
    },
    /// Store the half message under [`GIVEN_UP_TOPIC`] and end the transaction.
    GiveUp(QueueOffset),
}

/// That a producer was asked about a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// The half message's offset in its queue.
    pub offset: QueueOffset,
    /// How often it was asked by now.
    pub times: u32,
    /// When it is asked again.
    pub check_at: Millis,
}

impl Checked {
    /// The `times`-th check, at `now`.
    pub fn new(offset: QueueOffset, times: u32, now: Millis, policy: &CheckPolicy) -> Self {
        let doublings = times.saturating_sub(1).min(16);
        let wait = policy.interval.saturating_mul(1 << doublings).min(policy.interval_max);
        Self { offset, times, check_at: now.saturating_add(wait) }
    }
}

impl Transactions {
    /// Where to go on following the queue.
    pub fn next(&self) -> QueueOffset {
        self.next
    }

    /// The offsets of those that are open, and how often their producers were asked.
    pub fn open(&self) -> impl Iterator<Item = (QueueOffset, u32)> {
        self.open.iter().map(|(offset, open)| (*offset, open.times))
    }

    /// How many are open.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// The queue has this half message. Called for every record, in the queue's order; one that was seen before changes
    /// nothing.
    pub fn see(&mut self, half: &RecordView<'_>, policy: &CheckPolicy) {
        let offset = half.queue_offset();
        if offset < self.next {
            return;
        }
        self.next = offset + 1;
        let checked = self.checked_early.remove(&offset);
        if !self.early.remove(&offset) {
            let check_at = half.born().saturating_add(immunity(half, policy));
            let open = checked.unwrap_or(Open { check_at, times: 0 });
            self.open.insert(offset, open);
            self.checks.insert((open.check_at, offset));
        }
    }

    /// The queue begins at `begin`: what was open before was moved or ended, for its record is gone.
    pub fn begin_at(&mut self, begin: QueueOffset) {
        self.next = self.next.max(begin);
        self.open.retain(|offset, _| *offset >= begin);
        self.checks.retain(|(_, offset)| *offset >= begin);
        self.early.retain(|offset| *offset >= begin);
        self.checked_early.retain(|offset, _| *offset >= begin);
        self.moved.retain(|_, to| *to >= begin);
    }

    /// Those that are open and lie before `begin` in the queue, at most `max`, as they are to be checked.
    pub fn before(&self, begin: QueueOffset, max: usize) -> Vec<Checked> {
        let open = self.open.range(..begin).take(max);
        open.map(|(offset, open)| Checked { offset: *offset, times: open.times, check_at: open.check_at })
            .collect()
    }

    /// The one at this offset as it is to be checked, if it is open.
    pub fn open_at(&self, offset: QueueOffset) -> Option<Checked> {
        let open = self.open.get(&offset)?;
        Some(Checked { offset, times: open.times, check_at: open.check_at })
    }

    /// A half message was put into its queue once more; the old one is to be ended next.
    pub fn moved(&mut self, moved: Moved) {
        let Moved { from, to } = moved;
        self.moved.values_mut().filter(|known| **known == from).for_each(|known| *known = to);
        self.moved.insert(from, to);
    }

    /// Where the half message lies now that a producer knows at this offset.
    pub fn place(&self, offset: QueueOffset) -> QueueOffset {
        self.moved.get(&offset).copied().unwrap_or(offset)
    }

    /// All moves of open ones, for the log.
    pub fn moves(&self) -> Vec<Moved> {
        self.moved.iter().map(|(from, to)| Moved { from: *from, to: *to }).collect()
    }

    /// Whether the half message at `offset` can still be committed or rolled back.
    pub fn is_open(&self, offset: QueueOffset) -> bool {
        if offset >= self.next { !self.early.contains(&offset) } else { self.open.contains_key(&offset) }
    }

    /// How often the producer was asked.
    pub fn times(&self, offset: QueueOffset) -> u32 {
        self.open.get(&offset).map_or(0, |open| open.times)
    }

    /// The log has it that the transaction was ended.
    pub fn end(&mut self, offset: QueueOffset) {
        self.moved.retain(|_, to| *to != offset);
        self.checked_early.remove(&offset);
        if offset >= self.next {
            self.early.insert(offset);
        } else if let Some(open) = self.open.remove(&offset) {
            self.checks.remove(&(open.check_at, offset));
        }
    }

    /// Of the offsets from `range.from` to `range.to` only `range.open` are still open.
    pub fn keep(&mut self, range: &OpenRange) {
        self.open.retain(|offset, _| range.keeps(*offset));
        self.checks.retain(|(_, offset)| range.keeps(*offset));
    }

    /// When the next check is due.
    pub fn deadline(&self) -> Option<Millis> {
        self.checks.first().map(|(at, _)| *at)
    }

    /// The checks due at `now`, at most `max`. They stay due until [`Transactions::checked`] or [`Transactions::end`].
    pub fn due(&self, now: Millis, policy: &CheckPolicy, max: usize) -> Vec<Check> {
        let due = self.checks.iter().take_while(|(at, _)| *at <= now).take(max);
        due.map(|(_, offset)| match self.times(*offset) {
            times if times >= policy.times_max => Check::GiveUp(*offset),
            times => Check::Ask { offset: *offset, times: times + 1 },
        })
        .collect()
    }

    /// The producer was asked, and will be again; also found in the log.
    pub fn checked(&mut self, checked: Checked) {
        let Checked { offset, times, check_at } = checked;
        if offset >= self.next {
            self.checked_early.insert(offset, Open { check_at, times });
            return;
        }
        let Some(open) = self.open.get_mut(&offset) else { return };
        self.checks.remove(&(open.check_at, offset));
        *open = Open { check_at, times };
        self.checks.insert((check_at, offset));
    }
}

/// How long after it was born a half message is left alone (`TransactionalMessageUtil.getImmunityTime`, 5.5).
fn immunity(half: &RecordView<'_>, policy: &CheckPolicy) -> Millis {
    let asked =
        half.property(property::CHECK_IMMUNITY_SECONDS).and_then(|seconds| seconds.parse::<Millis>().ok());
    asked.map_or(policy.first_after, |seconds| seconds.saturating_mul(1000).max(policy.first_after))
}

/// Whether a producer comes too late to end a transaction unasked: with an immunity of its own it must do so within it
/// (`EndTransactionProcessor.rejectCommitOrRollback`, 5.5).
pub fn is_too_late(half: &RecordView<'_>, now: Millis, policy: &CheckPolicy) -> bool {
    half.property(property::CHECK_IMMUNITY_SECONDS).is_some() && now - half.born() > immunity(half, policy)
}

/// Where the message of a half message belongs.
pub fn destination<'a>(half: &RecordView<'a>) -> Option<(&'a str, QueueId)> {
    Some((half.property(property::REAL_TOPIC)?, half.property(property::REAL_QUEUE)?.parse().ok()?))
}

/// The message that a commit delivers, which may have to wait for its time; `properties` holds its properties, among them
/// `TRAN_MSG`, which RocketMQ leaves there too (`EndTransactionProcessor.endMessageTransaction`, 5.5). `None` where the half
/// message does not say where it belongs.
pub fn committed<'a>(
    half: &RecordView<'a>,
    checks: u32,
    now: Millis,
    properties: &'a mut Vec<u8>,
) -> Option<RecordBody<'a>> {
    let (topic, queue) = destination(half)?;
    const OF_HALVES: [&str; 2] = [property::REAL_TOPIC, property::REAL_QUEUE];
    let mut own = Vec::new();
    property::copy_where(half.properties(), &mut own, |key| !OF_HALVES.contains(&key));
    if checks > 0 {
        property::push(&mut own, property::TRANSACTION_CHECK_TIMES, &checks.to_string());
    }
    // A time that cannot be is refused with the half message; one that has passed meanwhile is now.
    let due = Due::of(&own, now).unwrap_or(Due::Now);
    let (topic, queue) = match due {
        Due::Now => {
            *properties = own;
            (topic, queue)
        }
        Due::Level(_) | Due::At(_) => {
            due.detour(&own, topic, queue, now, properties);
            (TIMER_TOPIC, 0)
        }
    };
    let system_flag = half.system_flag() & !flag::TRANSACTION | COMMITTED;
    let prepared_offset = half.log_offset();
    Some(RecordBody { topic, queue, system_flag, prepared_offset, properties, ..RecordBody::of(half) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use halley_model::{RecordBody, record::Place};

    const POLICY: CheckPolicy =
        CheckPolicy { first_after: 6_000, interval: 30_000, interval_max: 100_000, times_max: 3 };

    fn half(offset: QueueOffset, properties: &[u8]) -> Vec<u8> {
        let host = "127.0.0.1:10911".parse().unwrap();
        let body = RecordBody {
            topic: HALF_TOPIC,
            queue: 0,
            flag: 0,
            system_flag: 0,
            born: 1_000,
            born_host: host,
            reconsume_times: 0,
            prepared_offset: 0,
            body: b"x",
            properties,
            dispatched: false,
        };
        let mut out = Vec::new();
        body.encode(
            &Place { queue_offset: offset, log_offset: 0, stored: 1_000, store_host: host },
            &mut out,
        );
        out
    }

    fn see(transactions: &mut Transactions, offset: QueueOffset, properties: &[u8]) {
        let bytes = half(offset, properties);
        transactions.see(&RecordView::parse(&bytes).unwrap(), &POLICY);
    }

    #[test]
    fn an_open_transaction_is_asked_about_ever_more_rarely_and_given_up() {
        let mut open = Transactions::default();
        see(&mut open, 0, b"");
        let mut times = Vec::new();
        while let Some(now) = open.deadline() {
            match open.due(now, &POLICY, 9)[..] {
                [Check::Ask { offset: 0, times: asked }] => {
                    open.checked(Checked::new(0, asked, now, &POLICY))
                }
                [Check::GiveUp(0)] => open.end(0),
                ref other => panic!("{other:?}"),
            }
            times.push(now);
        }
        assert_eq!(times, [7_000, 37_000, 97_000, 197_000]);
        assert!(open.is_empty());
    }

    #[test]
    fn a_moved_half_message_is_found_where_it_was() {
        let mut open = Transactions::default();
        see(&mut open, 0, b"");
        see(&mut open, 1, b"");
        open.checked(Checked { offset: 0, times: 2, check_at: 50_000 });
        let old = open.before(1, 9);
        assert_eq!(old, [Checked { offset: 0, times: 2, check_at: 50_000 }]);
        // As the move is folded: live before the queue is, after a restart behind it.
        for seen_first in [true, false] {
            let mut open = open.clone();
            if seen_first {
                see(&mut open, 2, b"");
            }
            open.moved(Moved { from: 0, to: 2 });
            open.end(0);
            open.checked(Checked { offset: 2, ..old[0] });
            see(&mut open, 2, b"");
            assert_eq!((open.place(0), open.place(1), open.times(2)), (2, 1, 2));
            assert!(open.is_open(2) && !open.is_open(0) && open.before(2, 9).len() == 1);
            open.begin_at(1);
            // Once more, and further.
            open.moved(Moved { from: 2, to: 3 });
            open.end(2);
            see(&mut open, 3, b"");
            assert_eq!((open.place(0), open.place(2), open.moves().len()), (3, 3, 2));
            open.end(3);
            assert_eq!((open.place(0), open.moves().len()), (0, 0), "an ended one needs no way");
            open.begin_at(4);
            assert_eq!(open, Transactions { next: 4, ..Transactions::default() });
        }
    }

    #[test]
    fn an_ended_transaction_stays_ended_in_any_order() {
        let (mut queue_first, mut state_first) = (Transactions::default(), Transactions::default());
        see(&mut queue_first, 0, b"");
        see(&mut queue_first, 1, b"");
        assert!(queue_first.is_open(0) && queue_first.is_open(7));
        queue_first.end(0);
        queue_first.end(0);
        state_first.end(0);
        assert!(!state_first.is_open(0));
        for _ in 0..2 {
            see(&mut state_first, 0, b"");
            see(&mut state_first, 1, b"");
        }
        assert_eq!(queue_first, state_first);
        assert!(!queue_first.is_open(0) && queue_first.is_open(1) && queue_first.len() == 1);
    }

    #[test]
    fn a_producer_may_ask_for_patience() {
        let mut open = Transactions::default();
        see(&mut open, 0, b"CHECK_IMMUNITY_TIME_IN_SECONDS\x0160\x02");
        assert_eq!(open.deadline(), Some(61_000));
        let patient = half(0, b"CHECK_IMMUNITY_TIME_IN_SECONDS\x0160\x02");
        let patient = RecordView::parse(&patient).unwrap();
        assert!(!is_too_late(&patient, 61_000, &POLICY) && is_too_late(&patient, 61_001, &POLICY));
        let usual = half(0, b"");
        assert!(!is_too_late(&RecordView::parse(&usual).unwrap(), 1_000_000, &POLICY));
    }
}
