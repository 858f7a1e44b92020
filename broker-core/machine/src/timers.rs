//! Which messages wait for their time: a view of the timer topic's queue, less what was delivered.
//!
//! The shell follows the queue ([`Timers::see`]), and stores each due message together with a state record that says so
//! ([`Timers::finish`]), as one group: a message is delivered and done, or neither. Since both are records in the log,
//! the view is found again by folding them, in whatever order.

mod set;

use crate::taken_over::OpenRange;
use halley_model::{Millis, QueueOffset};
use serde::{Deserialize, Serialize};
use set::Set;
use std::collections::BTreeMap;

/// A waiting message: when it is due, and where it lies in the timer topic's queue. It sorts by time; of the same time,
/// recalls come before what they may recall.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Timer(Millis, u64);

/// Set in the second half of a [`Timer`] for what is not a recall.
const MESSAGE: u64 = 1 << 63;

impl Timer {
    /// A message that is due at `at`.
    pub fn message(at: Millis, offset: QueueOffset) -> Self {
        Self(at, offset | MESSAGE)
    }

    /// A recall of messages that are due at `at`.
    pub fn recall(at: Millis, offset: QueueOffset) -> Self {
        Self(at, offset & !MESSAGE)
    }

    /// When it is due.
    pub fn at(self) -> Millis {
        self.0
    }

    /// Its offset in the timer topic's queue.
    pub fn offset(self) -> QueueOffset {
        self.1 & !MESSAGE
    }

    fn is_recall(self) -> bool {
        self.1 & MESSAGE == 0
    }
}

/// The waiting messages. There can be millions.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Timers {
    /// The first offset of the queue not yet seen.
    next: QueueOffset,
    waiting: Set,
    /// Done, but not yet seen: the state may be folded further than the queue.
    early: Set,
    /// Of those that wait: which are left out until when.
    #[serde(skip)]
    postponed: BTreeMap<Timer, Millis>,
}

/// What to deliver together.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Recalls that hold for all of `messages`, which then have one time.
    pub recalls: Vec<Timer>,
    /// The messages, in the order of their times.
    pub messages: Vec<Timer>,
    /// Whether the recalls are done with this batch: no later one has messages of their time.
    pub recalls_end: bool,
}

impl Timers {
    /// Where to go on following the queue.
    pub fn next(&self) -> QueueOffset {
        self.next
    }

    /// The offsets of those that wait, by their times.
    pub fn offsets(&self) -> impl Iterator<Item = QueueOffset> {
        self.waiting.iter().map(|timer| timer.offset())
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The queue has this timer. Called for every record, in the queue's order; a record that was seen before changes
    /// nothing.
    pub fn see(&mut self, timer: Timer) {
        if timer.offset() < self.next {
            return;
        }
        self.next = timer.offset() + 1;
        if !self.early.remove(timer) {
            self.waiting.insert(timer);
        }
    }

    /// The log has it that this timer is done.
    pub fn finish(&mut self, timer: Timer) {
        if timer.offset() >= self.next {
            self.early.insert(timer);
        } else {
            self.waiting.remove(timer);
            self.postponed.remove(&timer);
        }
    }

    /// It could not be delivered: it goes on waiting, and is not due before `until`. Those behind it are.
    pub fn postpone(&mut self, timer: Timer, until: Millis) {
        self.postponed.insert(timer, until);
    }

    /// Of the offsets from `range.from` to `range.to` only `range.open` still wait.
    pub fn keep(&mut self, range: &OpenRange) {
        self.waiting.retain(|timer| range.keeps(timer.offset()));
    }

    /// The queue begins at `begin`: what was waiting before was moved or done, for its record is gone.
    pub fn begin_at(&mut self, begin: QueueOffset) {
        self.next = self.next.max(begin);
        self.waiting.retain(|timer| timer.offset() >= begin);
        self.early.retain(|timer| timer.offset() >= begin);
        self.postponed.retain(|timer, _| timer.offset() >= begin);
    }

    /// Those that wait and lie before `begin` in the queue, at most `max`.
    pub fn before(&self, begin: QueueOffset, max: usize) -> Vec<Timer> {
        self.waiting.iter().filter(|timer| timer.offset() < begin).take(max).collect()
    }

    /// Whether it waits.
    pub fn waits(&self, timer: Timer) -> bool {
        self.waiting.contains(timer)
    }

    /// When the next message is due.
    pub fn deadline(&self) -> Option<Millis> {
        let first = self.first_ready(Millis::MIN).map(Timer::at);
        first.into_iter().chain(self.postponed.values().copied()).min()
    }

    /// What is due at `now`, at most `messages_max` messages; `None` without any. It stays until it is finished.
    pub fn due(&self, now: Millis, messages_max: usize) -> Option<Batch> {
        let first = self.first_ready(now).filter(|timer| timer.at() <= now)?;
        let ready = || {
            let from_first = self.waiting.iter().skip_while(|timer| timer.at() < first.at());
            from_first.filter(|timer| !self.is_postponed(*timer, now))
        };
        let same_time = || ready().take_while(|timer| timer.at() == first.at());
        let mut batch = Batch::default();
        batch.recalls.extend(same_time().take_while(|timer| timer.is_recall()));
        if batch.recalls.is_empty() {
            let due = ready().take_while(|timer| timer.at() <= now && !timer.is_recall());
            batch.messages.extend(due.take(messages_max));
        } else {
            let mut messages = same_time().filter(|timer| !timer.is_recall());
            batch.messages.extend(messages.by_ref().take(messages_max));
            batch.recalls_end = messages.next().is_none() && !self.has_postponed(first.at(), now);
        }
        Some(batch)
    }

    /// The first that is not left out; a recall is, while all that it could recall are.
    fn first_ready(&self, now: Millis) -> Option<Timer> {
        let is_left_out = |timer: Timer| {
            self.is_postponed(timer, now) || timer.is_recall() && self.has_postponed(timer.at(), now)
        };
        self.waiting.iter().find(|timer| !is_left_out(*timer))
    }

    fn is_postponed(&self, timer: Timer, now: Millis) -> bool {
        self.postponed.get(&timer).is_some_and(|until| *until > now)
    }

    /// Whether a timer of this time is left out.
    fn has_postponed(&self, at: Millis, now: Millis) -> bool {
        self.postponed.range(Timer(at, 0)..=Timer(at, u64::MAX)).any(|(_, until)| *until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(times: &[(Millis, u64)]) -> Vec<Timer> {
        times.iter().map(|(at, offset)| Timer::message(*at, *offset)).collect()
    }

    #[test]
    fn messages_are_due_in_the_order_of_their_times() {
        let mut timers = Timers::default();
        for timer in messages(&[(30, 0), (10, 1), (20, 2), (20, 3)]) {
            timers.see(timer);
        }
        assert_eq!((timers.deadline(), timers.due(9, 10)), (Some(10), None));
        assert_eq!(timers.due(20, 2).unwrap().messages, messages(&[(10, 1), (20, 2)]));
        timers.finish(Timer::message(10, 1));
        assert_eq!(timers.due(20, 9).unwrap().messages, messages(&[(20, 2), (20, 3)]));
        assert_eq!((timers.len(), timers.next()), (3, 4));
    }

    #[test]
    fn what_cannot_be_read_holds_nothing_up() {
        let mut timers = Timers::default();
        let [lost, next, last] = messages(&[(10, 0), (10, 1), (90, 2)])[..] else { unreachable!() };
        [lost, next, last].into_iter().for_each(|timer| timers.see(timer));
        timers.postpone(lost, 50);
        assert_eq!((timers.deadline(), timers.due(20, 9).unwrap().messages), (Some(10), vec![next]));
        timers.finish(next);
        assert_eq!((timers.deadline(), timers.due(49, 9)), (Some(50), None));
        assert_eq!(timers.due(50, 9).unwrap().messages, [lost]);
        assert_eq!(timers.len(), 2, "it goes on waiting");
        timers.finish(lost);
        assert_eq!((timers.deadline(), timers.len()), (Some(90), 1));
    }

    #[test]
    fn a_recall_waits_for_what_it_could_recall() {
        let mut timers = Timers::default();
        let [lost, next] = messages(&[(10, 0), (10, 1)])[..] else { unreachable!() };
        let recall = Timer::recall(10, 2);
        [lost, next, recall].into_iter().for_each(|timer| timers.see(timer));
        timers.postpone(lost, 50);
        let batch = timers.due(20, 9).unwrap();
        assert_eq!(batch, Batch { recalls: vec![recall], messages: vec![next], recalls_end: false });
        timers.finish(next);
        assert_eq!((timers.deadline(), timers.due(49, 9)), (Some(50), None));
        let batch = timers.due(50, 9).unwrap();
        assert_eq!(batch, Batch { recalls: vec![recall], messages: vec![lost], recalls_end: true });
    }

    #[test]
    fn recalls_come_first_and_stay_until_their_time_is_through() {
        let mut timers = Timers::default();
        for timer in messages(&[(10, 0), (20, 1), (20, 2)]) {
            timers.see(timer);
        }
        let recall = Timer::recall(20, 3);
        timers.see(recall);
        assert_eq!(timers.due(30, 9).unwrap(), Batch { messages: messages(&[(10, 0)]), ..Batch::default() });
        timers.finish(Timer::message(10, 0));
        let first = timers.due(30, 1).unwrap();
        assert_eq!(
            first,
            Batch { recalls: vec![recall], messages: messages(&[(20, 1)]), recalls_end: false }
        );
        timers.finish(first.messages[0]);
        let last = timers.due(30, 1).unwrap();
        assert!(last.recalls_end && last.recalls == [recall]);
        timers.finish(last.messages[0]);
        timers.finish(recall);
        assert_eq!(timers.due(30, 1), None);
    }

    #[test]
    fn what_was_removed_waits_no_more() {
        let mut timers = Timers::default();
        messages(&[(10, 0), (30, 1), (20, 2)]).into_iter().for_each(|timer| timers.see(timer));
        timers.finish(Timer::message(40, 5));
        assert_eq!(timers.before(2, 9), messages(&[(10, 0), (30, 1)]));
        assert_eq!(timers.before(2, 1), messages(&[(10, 0)]));
        assert!(timers.waits(Timer::message(30, 1)) && !timers.waits(Timer::message(31, 1)));
        timers.begin_at(2);
        assert_eq!((timers.next(), timers.before(9, 9)), (3, messages(&[(20, 2)])));
        timers.begin_at(6);
        assert_eq!(
            timers,
            Timers { next: 6, ..Timers::default() },
            "what was done before its time is forgotten, too"
        );
    }

    #[test]
    fn any_order_of_folding_gives_the_same() {
        let seen = messages(&[(10, 0), (20, 1), (30, 2)]);
        let done = Timer::message(20, 1);
        let (mut queue_first, mut state_first) = (Timers::default(), Timers::default());
        seen.iter().for_each(|timer| queue_first.see(*timer));
        queue_first.finish(done);
        queue_first.finish(done);
        state_first.finish(done);
        seen.iter().for_each(|timer| state_first.see(*timer));
        seen.iter().for_each(|timer| state_first.see(*timer));
        assert_eq!(queue_first, state_first);
        let back: Timers = serde_json::from_str(&serde_json::to_string(&state_first).unwrap()).unwrap();
        assert_eq!(back, state_first);
    }
}
