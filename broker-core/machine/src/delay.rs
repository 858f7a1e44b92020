//! Messages that are not to be delivered at once: when they are due, and how they are stored until then.
//!
//! Such a message is stored under [`TIMER_TOPIC`] with its own topic and queue among its properties; when it is due, it
//! is stored again where it belongs. RocketMQ has a topic and a queue per level beside its timer topic
//! (`ScheduleMessageService`, `TimerMessageStore`, 5.5); clients see neither, and here one queue serves both.

use crate::timers::{Batch, Timer};
use halley_model::{Millis, QueueId, RecordBody, RecordView, light, property};

/// Where messages wait that are not due. RocketMQ keeps its prefix from clients.
pub const TIMER_TOPIC: &str = "rmq_sys_wheel_timer";

/// The delays of levels 1 to 18 (`messageDelayLevel`, 5.5).
pub const LEVELS_MS: [Millis; 18] = {
    const S: Millis = 1000;
    const M: Millis = 60 * S;
    const H: Millis = 60 * M;
    [
        S,
        5 * S,
        10 * S,
        30 * S,
        M,
        2 * M,
        3 * M,
        4 * M,
        5 * M,
        6 * M,
        7 * M,
        8 * M,
        9 * M,
        10 * M,
        20 * M,
        30 * M,
        H,
        2 * H,
    ]
};

/// The longest wait of a timer message. RocketMQ's default is 3 days (`timerMaxDelaySec`, 5.5).
pub const DELAY_MS_MAX: Millis = 40 * 24 * 60 * 60 * 1000;

/// RocketMQ rounds a time down to a second that is not over when it comes, and delivers when that second is over
/// (`HookUtils.handleTimerMessage`, `TimerMessageStore.dequeue`, 5.5).
const SLOT_MS: Millis = 1000;

/// When a message is due that was put into the queue once more, in milliseconds: its own properties count from when it was
/// stored.
const DUE_MS: &str = "HALLEY_DUE_MS";

/// When a message is to be delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// At once.
    Now,
    /// After the delay of this level, 1 to 18, counted from when it is stored.
    Level(u8),
    /// At this time.
    At(Millis),
}

/// A timer message that cannot be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "timer message illegal, the delay time should not be bigger than the max delay {DELAY_MS_MAX}ms; or if set del msg, the delay time should be bigger than the current time"
)]
pub struct Illegal;

impl Due {
    /// What a producer asks for with these properties (`HookUtils.handleScheduleMessage`, 5.5): a level goes before a
    /// time, seconds before milliseconds before an absolute time; a time that has passed is now.
    pub fn of(properties: &[u8], now: Millis) -> Result<Self, Illegal> {
        let given = |key| property::get(properties, key);
        let level = given(property::DELAY_LEVEL).and_then(|level| level.parse::<i32>().ok());
        if let Some(level) = level.filter(|level| *level > 0) {
            return Ok(Self::Level(level.min(LEVELS_MS.len() as i32) as u8));
        }
        if given(property::TIMER_OUT_MS).is_some() {
            return Ok(Self::Now);
        }
        let times =
            [property::TIMER_DELAY_SEC, property::TIMER_DELAY_MS, property::TIMER_DELIVER_MS].map(given);
        let number = |text: &str| text.parse::<Millis>().map_err(|_| Illegal);
        let at = match times {
            [Some(seconds), _, _] => now.saturating_add(number(seconds)?.saturating_mul(1000)),
            [None, Some(millis), _] => now.saturating_add(number(millis)?),
            [None, None, Some(absolute)] => number(absolute)?,
            [None, None, None] => return Ok(Self::Now),
        };
        if at > now {
            return if at - now > DELAY_MS_MAX { Err(Illegal) } else { Ok(Self::At(at)) };
        }
        match given(property::TIMER_DELETE_KEY) {
            Some(_) => Err(Illegal),
            None => Ok(Self::Now),
        }
    }

    /// Appends the properties under which a message of `topic` and `queue` waits; nothing where it does not.
    pub fn detour(self, properties: &[u8], topic: &str, queue: QueueId, now: Millis, out: &mut Vec<u8>) {
        let own = [
            property::REAL_TOPIC,
            property::REAL_QUEUE,
            property::TIMER_OUT_MS,
            property::TIMER_ENQUEUE_MS,
            DUE_MS,
        ];
        let times = [property::TIMER_DELIVER_MS, property::TIMER_DELAY_MS, property::TIMER_DELAY_SEC];
        match self {
            Self::Now => return,
            Self::Level(_) => {
                property::copy_where(properties, out, |key| !own.contains(&key) && !times.contains(&key));
            }
            Self::At(at) => {
                property::copy_where(properties, out, |key| !own.contains(&key));
                property::push(out, property::TIMER_OUT_MS, &at.to_string());
                property::push(out, property::TIMER_ENQUEUE_MS, &now.to_string());
            }
        }
        property::push(out, property::REAL_TOPIC, topic);
        property::push(out, property::REAL_QUEUE, &queue.to_string());
    }
}

/// A record of [`TIMER_TOPIC`].
#[derive(Debug, Clone, Copy)]
pub struct Waiting<'a> {
    record: RecordView<'a>,
    /// When it is due; long ago for a record that does not say.
    pub at: Millis,
    /// The unique key of the message that it recalls, if that is what it is for.
    pub recalls: Option<&'a str>,
}

impl<'a> Waiting<'a> {
    /// The timer that the record is.
    pub fn timer(&self) -> Timer {
        match self.recalls {
            Some(_) => Timer::recall(self.at, self.record.queue_offset()),
            None => Timer::message(self.at, self.record.queue_offset()),
        }
    }

    /// What the record says.
    pub fn of(record: RecordView<'a>) -> Self {
        let level = record.property(property::DELAY_LEVEL).and_then(|level| level.parse::<usize>().ok());
        let again = record.property(DUE_MS).and_then(|at| at.parse().ok());
        let at = match level.filter(|level| *level > 0) {
            _ if again.is_some() => again.unwrap_or(0),
            Some(level) => record.stored() + LEVELS_MS[level.min(LEVELS_MS.len()) - 1],
            None => {
                let at = record.property(property::TIMER_OUT_MS).and_then(|at| at.parse().ok()).unwrap_or(0);
                if is_by_second(&record) { at + SLOT_MS } else { at }
            }
        };
        Self { record, at, recalls: record.property(property::TIMER_DELETE_KEY) }
    }

    /// Where the message belongs, `None` where the record does not say.
    pub fn destination(&self) -> Option<(&'a str, QueueId)> {
        let queue = self.record.property(property::REAL_QUEUE)?.parse().ok()?;
        Some((self.record.property(property::REAL_TOPIC)?, queue))
    }

    /// The record as it is put into the queue once more, to wait for the same time: `properties` holds its properties. `None`
    /// where they become too long, which only those of a message that waits for a level can, and not for longer than 2 h.
    pub fn again(&self, properties: &'a mut Vec<u8>) -> Option<RecordBody<'a>> {
        property::copy_where(self.record.properties(), properties, |key| key != DUE_MS);
        let level = self.record.property(property::DELAY_LEVEL).is_some();
        if level || is_by_second(&self.record) {
            property::push(properties, DUE_MS, &self.at.to_string());
        }
        let fits = properties.len() <= property::PROPERTIES_BYTES_MAX;
        fits.then_some(RecordBody { properties, ..RecordBody::of(&self.record) })
    }

    /// Whether a message recalled by `key` is this one (`TimerMessageStore.buildDeleteKey`, 5.5: `topic_key`, from older
    /// clients the key alone).
    pub fn is_recalled_by(&self, key: &str) -> bool {
        let Some(unique) = self.record.property(property::UNIQUE_KEY) else { return false };
        let topic = self.record.property(property::REAL_TOPIC).unwrap_or_default();
        key == unique
            || key
                .strip_prefix(topic)
                .and_then(|rest| rest.strip_prefix('_'))
                .is_some_and(|rest| rest == unique)
    }

    /// Appends the properties that the message is delivered with. They still name topic and queue
    /// (`ScheduleMessageService.messageTimeUp`, 5.5): what `TimerMessageStore.convert` clears and sets is seen only of
    /// messages that are dispatched to light queues, whose properties are written once more.
    pub fn delivered(&self, now: Millis, dispatched: bool, out: &mut Vec<u8>) {
        let properties = self.record.properties();
        let is_level = self.record.property(property::TIMER_OUT_MS).is_none();
        property::copy_where(properties, out, |key| match key {
            property::DELAY_LEVEL => !is_level,
            property::REAL_TOPIC | property::REAL_QUEUE => is_level || !dispatched,
            property::WAIT_STORE => !dispatched,
            DUE_MS => false,
            _ => true,
        });
        if dispatched {
            property::push(out, property::WAIT_STORE, "false");
        }
        if is_level {
            return;
        }
        // What a client may send must also be deliverable: at the very limit this property is left out.
        const PAIR_BYTES_MAX: usize = 40;
        if out.len() + PAIR_BYTES_MAX <= property::PROPERTIES_BYTES_MAX {
            property::push(out, property::TIMER_DEQUEUE_MS, &now.to_string());
        }
    }
}

/// The time that RocketMQ's timers have for a message that is due at `at`.
pub fn by_second(at: Millis) -> Millis {
    if at % SLOT_MS == 0 { at - SLOT_MS } else { at - at.rem_euclid(SLOT_MS) }
}

/// A due message, as it is stored where it belongs.
#[derive(Debug)]
pub struct Delivery<'a> {
    record: RecordView<'a>,
    topic: &'a str,
    queue: QueueId,
    properties: Vec<u8>,
    dispatched: bool,
}

impl<'a> Delivery<'a> {
    /// What to store.
    pub fn body(&self) -> RecordBody<'_> {
        let Self { record, topic, queue, properties, dispatched } = self;
        let (queue, dispatched) = (*queue, *dispatched);
        RecordBody { topic, queue, properties, dispatched, ..RecordBody::of(record) }
    }
}

/// What to store of due messages, and which timers are done when it is stored. `recalls` and `messages` are the records of
/// the batch's, of the messages as many as are to be delivered at once. A record that cannot be read as what it is, or does
/// not say where it belongs, is done without being delivered. With `dispatching`, messages go into light queues too where they
/// name some.
pub fn deliveries<'a, R: AsRef<[u8]>>(
    batch: &Batch,
    recalls: &[R],
    messages: &'a [R],
    now: Millis,
    dispatching: bool,
) -> (Vec<Delivery<'a>>, Vec<Timer>) {
    let recalled: Vec<_> = recalls.iter().filter_map(waiting).filter_map(|waiting| waiting.recalls).collect();
    let mut deliveries = Vec::with_capacity(messages.len());
    for waiting in messages.iter().filter_map(waiting) {
        if let Some((topic, queue)) = waiting.destination()
            && !recalled.iter().any(|key| waiting.is_recalled_by(key))
        {
            let mut properties = Vec::new();
            let dispatched = dispatching
                && light::is_allowed(topic)
                && waiting.record.property(property::MULTI_DISPATCH).is_some();
            waiting.delivered(now, dispatched, &mut properties);
            deliveries.push(Delivery { record: waiting.record, topic, queue, properties, dispatched });
        }
    }
    let mut done = batch.messages[..messages.len()].to_vec();
    if batch.recalls_end && messages.len() == batch.messages.len() {
        done.extend(&batch.recalls);
    }
    (deliveries, done)
}

/// Whether RocketMQ stored this timer: only its rolled ones say when they were taken in.
fn is_by_second(record: &RecordView<'_>) -> bool {
    record.property(property::TIMER_ENQUEUE_MS).is_none()
        || record.property(property::TIMER_ROLL_TIMES).is_some()
}

fn waiting<R: AsRef<[u8]>>(record: &R) -> Option<Waiting<'_>> {
    RecordView::parse(record.as_ref()).ok().map(Waiting::of)
}

#[cfg(test)]
mod tests;
