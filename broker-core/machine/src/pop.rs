//! POP consumption of one queue by one group: messages are given out, hidden from the group's other members for a while,
//! and finished when they are acknowledged (RocketMQ `PopMessageProcessor`, `AckMessageProcessor`,
//! `ChangeInvisibleTimeProcessor`, `PopReviveService`, 5.5).
//!
//! [`PopQueue`] knows where reading goes on and which messages are *in flight*: given out, neither acknowledged nor moved to
//! the retry topic. What lies before `next` and is not in flight is finished, so that finished messages cost nothing,
//! however long one of their neighbours stays unfinished. The group's committed offset is the lowest message that is not
//! finished; the rest goes into the commit's metadata ([`cursor`]), so that no checkpoint or acknowledgement is
//! ever a record.
//!
//! One pop at a time reads a queue: [`PopQueue::begin`] hands out the right to, [`PopQueue::pop`], [`PopQueue::pop_ordered`],
//! [`PopQueue::skip`] or [`PopQueue::abandon`] give it back. Between them the caller reads the log without a lock, and
//! acknowledgements go on.
//!
//! An ordered group's messages are not moved to a retry topic: the queue is blocked until all that were given out together
//! are acknowledged or visible again, and then gives them out once more ([`order`]).

mod canary;
pub mod cursor;
pub mod flights;
pub mod order;
pub mod plan;

#[cfg(feature = "canaries")]
pub use canary::Canary;

#[cfg(not(feature = "canaries"))]
use canary::Canary;
use canary::Planted;
use cursor::CursorError;
use flights::{Flight, Flights};
use halley_model::{Millis, QueueOffset};
use order::{Counts, OrderInfo};

/// Most messages in one pop (`PopMessageProcessor`, 5.5).
pub const RECORDS_MAX: usize = 32;

/// Most messages of one group in flight per queue; at the limit nothing more is given out until some are finished.
/// RocketMQ's limit of 10,000 is off by default (`enablePopMessageThreshold`, 5.5).
pub const FLIGHTS_MAX: usize = 65_536;

/// How a group consumes one queue by POP.
#[derive(Debug, Clone, Default)]
pub struct PopQueue {
    /// Where reading goes on. Consumed in order: the first message that is not acknowledged.
    next: QueueOffset,
    flights: Flights,
    order: Option<Box<OrderInfo>>,
    reading: Reading,
    planted: Planted,
}

/// Whether a pop is reading.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Reading {
    #[default]
    Nobody,
    Somebody,
    /// Somebody, and the offset was set since: what it found counts for nothing.
    Void,
}

/// Whether a pop may read the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// Read from this offset on, and give the right to read back.
    Read(QueueOffset),
    /// Another pop is reading; the offset that it reads from.
    Busy(QueueOffset),
    /// [`FLIGHTS_MAX`] messages are in flight; where reading will go on.
    Full(QueueOffset),
    /// Messages that must be consumed first are in flight.
    Blocked,
}

/// What an acknowledgement did to a queue that is consumed in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderedAck {
    /// Nothing: the message was acknowledged before, or given out again since.
    Ignored,
    /// The message is none of those that were given out. RocketMQ answers MESSAGE_ILLEGAL.
    Illegal,
    /// The message is finished.
    Done {
        /// The queue gives out messages again.
        unblocked: bool,
    },
}

/// A message whose time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// The message.
    pub offset: QueueOffset,
    /// When it was given out.
    pub popped: Millis,
    /// The attempt does not count.
    pub suspended: bool,
}

impl PopQueue {
    /// A queue of which nothing is in flight.
    pub fn at(next: QueueOffset) -> Self {
        Self { next, ..Self::default() }
    }

    /// A queue with these messages in flight, by offset, all before `next`. Of more than [`FLIGHTS_MAX`] the queue is read
    /// again from the first that is too much.
    pub fn in_flight_at(next: QueueOffset, flights: impl IntoIterator<Item = Flight>) -> Self {
        let mut queue = Self::at(next);
        for flight in flights {
            if flight.offset >= queue.next {
                break;
            }
            if queue.flights.len() == FLIGHTS_MAX {
                queue.next = flight.offset;
                break;
            }
            queue.flights.push(flight);
        }
        queue
    }

    /// The queue as a commit has it.
    pub fn restore(offset: QueueOffset, metadata: &str) -> Result<Self, CursorError> {
        cursor::decode(offset, metadata)
    }

    /// Where reading goes on.
    pub fn next(&self) -> QueueOffset {
        self.next
    }

    /// The first message that is not finished: the offset to commit.
    pub fn low(&self) -> QueueOffset {
        self.flights.first().map_or(self.next, |first| first.min(self.next))
    }

    /// How many messages are in flight.
    pub fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// The messages in flight, by offset. One on its way to the retry topic is due at [`Millis::MIN`].
    pub fn flights(&self) -> impl Iterator<Item = Flight> {
        self.flights.iter()
    }

    /// Plants a bug.
    #[cfg(feature = "canaries")]
    pub fn plant(&mut self, bug: Canary) {
        self.planted.plant(bug);
    }

    /// Forgets everything and goes on at `next`: someone else set the group's offset. What a pop finds that is reading counts
    /// for nothing.
    pub fn reset(&mut self, next: QueueOffset) {
        self.replace(Self::at(next));
    }

    /// Goes on from another state of the queue, see [`PopQueue::reset`].
    pub fn replace(&mut self, mut with: Self) {
        with.planted = self.planted;
        with.reading = if self.is_reading() { Reading::Void } else { Reading::Nobody };
        *self = with;
    }

    /// Whether a pop is reading.
    pub fn is_reading(&self) -> bool {
        self.reading != Reading::Nobody
    }

    /// Whether a pop may read: nobody does, and not too much is in flight.
    pub fn is_open(&self) -> bool {
        !self.is_reading() && self.flights.len() < FLIGHTS_MAX
    }

    /// Asks for the right to read.
    pub fn begin(&mut self) -> Begin {
        if self.is_reading() {
            return Begin::Busy(self.next);
        }
        if self.flights.len() >= FLIGHTS_MAX {
            return Begin::Full(self.next);
        }
        self.reading = Reading::Somebody;
        Begin::Read(self.next)
    }

    /// Asks for the right to read in order, see [`OrderInfo::blocks`]. `attempt` is the request's, and `invisible` the time that
    /// it asks for.
    pub fn begin_ordered(&mut self, now: Millis, attempt: Option<&str>, invisible: Millis) -> Begin {
        if self.is_reading() {
            return Begin::Busy(self.next);
        }
        if self.order.as_mut().is_some_and(|order| order.blocks(now, attempt, invisible)) {
            return Begin::Blocked;
        }
        self.reading = Reading::Somebody;
        Begin::Read(self.next)
    }

    /// Whether the queue is blocked for a consumer in order.
    pub fn is_blocked(&self, now: Millis, attempt: Option<&str>) -> bool {
        self.order.clone().is_some_and(|mut order| order.blocks(now, attempt, 0))
    }

    /// The messages at `offsets`, rising, are given out until `now + invisible`; what lies before `next` was looked at. `false`
    /// where the group's offset was set meanwhile: the messages are not given out.
    pub fn pop(
        &mut self,
        now: Millis,
        invisible: Millis,
        offsets: impl IntoIterator<Item = QueueOffset>,
        next: QueueOffset,
    ) -> bool {
        if !self.end_reading() {
            return false;
        }
        let visible = now.saturating_add(invisible);
        for offset in offsets {
            self.flights.push(Flight::new(offset, now, visible));
        }
        self.next = self.next.max(next);
        true
    }

    /// As [`PopQueue::pop`] for an ordered group. Returns how often the messages were given out before, `None` where they are
    /// not given out.
    pub fn pop_ordered(
        &mut self,
        now: Millis,
        attempt: Option<&str>,
        invisible: Millis,
        offsets: Vec<QueueOffset>,
    ) -> Option<Counts> {
        if !self.end_reading() {
            return None;
        }
        // Where the offset was corrected to what the queue still has.
        if let Some(first) = offsets.first() {
            self.next = self.next.max(*first);
        }
        let before = self.order.take();
        let order = self.order.insert(Box::new(OrderInfo::new(now, attempt, invisible, offsets)));
        if let Some(before) = before {
            order.count_on(&before);
        }
        Some(order.counts())
    }

    /// Nothing before `next` is for this group.
    pub fn skip(&mut self, next: QueueOffset) {
        if self.end_reading() {
            self.next = self.next.max(next);
        }
    }

    /// Nothing was read.
    pub fn abandon(&mut self) {
        self.end_reading();
    }

    /// Takes the right to read back; whether what was found counts.
    fn end_reading(&mut self) -> bool {
        std::mem::take(&mut self.reading) != Reading::Void
    }

    /// The message is finished; whether it was in flight since `popped`. If not, its handle is stale, or the
    /// message on its way to the retry topic: RocketMQ answers success, and nothing happens.
    pub fn ack(&mut self, offset: QueueOffset, popped: Millis) -> bool {
        self.flights.remove(offset, popped)
    }

    /// The message of an ordered group is finished (`AckMessageProcessor.ackOrderly`).
    pub fn ack_ordered(&mut self, now: Millis, offset: QueueOffset, popped: Millis) -> OrderedAck {
        if offset < self.next {
            return OrderedAck::Ignored;
        }
        let Some(order) = &mut self.order else {
            // Order was forgotten: RocketMQ commits what it is told.
            self.next = offset + 1;
            return OrderedAck::Done { unblocked: true };
        };
        match order.ack(offset, popped) {
            None => OrderedAck::Ignored,
            Some(None) => OrderedAck::Illegal,
            Some(Some(next)) => {
                self.next = next;
                OrderedAck::Done { unblocked: !order.blocks(now, None, 0) }
            }
        }
    }

    /// Hides the message from `now` on for `invisible`; its handle has `now` as pop time from then on. Whether it was in
    /// flight since `popped`.
    pub fn change(
        &mut self,
        now: Millis,
        offset: QueueOffset,
        popped: Millis,
        invisible: Millis,
        suspend: bool,
    ) -> bool {
        let mut flight = Flight::new(offset, now, now.saturating_add(invisible));
        flight.suspended = suspend;
        self.flights.replace(popped, flight)
    }

    /// Hides the message of an ordered group from `now` on for `invisible`: what the new handle says, `None` where the
    /// message is finished (`ChangeInvisibleTimeProcessor.processChangeInvisibleTimeForOrder`).
    pub fn change_ordered(
        &mut self,
        now: Millis,
        offset: QueueOffset,
        popped: Millis,
        invisible: Millis,
    ) -> Option<Millis> {
        self.hide_ordered(now, offset, popped, invisible, |order, visible| {
            order.hide(offset, popped, visible)
        })
    }

    /// Hides all messages that an ordered group was given last from `now` on for `invisible`; the attempt does not count. See
    /// [`PopQueue::change_ordered`] (`MemoryConsumerOrderInfoManager.suspendQueue`, 5.5).
    pub fn suspend_ordered(
        &mut self,
        now: Millis,
        offset: QueueOffset,
        popped: Millis,
        invisible: Millis,
    ) -> Option<Millis> {
        self.hide_ordered(now, offset, popped, invisible, |order, visible| order.suspend(popped, visible))
    }

    fn hide_ordered(
        &mut self,
        now: Millis,
        offset: QueueOffset,
        popped: Millis,
        invisible: Millis,
        hide: impl FnOnce(&mut OrderInfo, Millis),
    ) -> Option<Millis> {
        if offset < self.next {
            return None;
        }
        let visible = now.saturating_add(invisible);
        if let Some(order) = &mut self.order {
            hide(order, visible);
        }
        Some(visible.saturating_sub(popped))
    }

    /// Adds up to `max` messages whose time is over. Each stays in flight until [`PopQueue::revived`] or
    /// [`PopQueue::postpone`] says what became of it, and is not named again before.
    pub fn due(&mut self, now: Millis, max: usize, due: &mut Vec<Due>) {
        let now = if self.planted.is(Canary::DueTooEarly) { now + 50 } else { now };
        self.flights.take_due(now, max, |flight| {
            due.push(Due { offset: flight.offset, popped: flight.popped, suspended: flight.suspended });
        });
    }

    /// The message is in the retry topic, or no more.
    pub fn revived(&mut self, offset: QueueOffset) {
        self.flights.remove_taken(offset);
    }

    /// The message could not be moved: it is due again at `until`.
    pub fn postpone(&mut self, offset: QueueOffset, until: Millis) {
        self.flights.give_back(offset, until);
    }

    /// When time has something to do: [`PopQueue::due`], or the end of a block. It may be early.
    pub fn deadline(&self, now: Millis) -> Option<Millis> {
        let unblocked = self.order.as_ref().and_then(|order| order.blocked_until(now));
        [self.flights.earliest(), unblocked].into_iter().flatten().min()
    }

    /// The offset to commit and its metadata, empty where the offset says it all.
    pub fn cursor(&self, now: Millis) -> (QueueOffset, String) {
        if self.planted.is(Canary::CommitPastFlights) {
            return (self.next, String::new());
        }
        cursor::encode(now, self)
    }
}

#[cfg(test)]
mod tests;
