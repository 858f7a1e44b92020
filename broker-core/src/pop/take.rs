//! One pop: looks into the queues it may look into, one after the other, and takes what is there for it.

use super::{Pops, polling::Polling};
use crate::{
    catalog::Catalog,
    clock,
    queues::{Ask, Found, Queues, Source},
    settings::{Flag, Number, Settings},
};
use bytes::Bytes;
use halley_filter::Expression;
use halley_machine::{
    attributes,
    pop::{
        Begin,
        plan::{self, Chances, Order, Stop, Wanted},
    },
    pull::{Answer, BYTES_MAX},
};
use halley_model::{
    GroupName, Millis, QueueId, QueueOffset, RecordView, TopicConfig, TopicName, light, property, record,
};
use halley_store::{ReadError, disk::RealDisk};
use halley_wire::pop::{ExtraInfo, ORDER_REVIVE_QUEUE, OffsetInfo, Retry};
use std::sync::Arc;

/// A pop that has so many bytes looks into no further queue, so that its reply fits a frame.
pub(crate) const REPLY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A `priority.factor` that makes every pop go by priority, the default.
const ALWAYS: u32 = 100;

/// Where a queue's group begins that never consumed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Init {
    /// At the first message.
    Min,
    /// At the last message, but at the first of a queue that is whole and in memory.
    Max,
}

/// What a pop asks for.
#[derive(Debug, Clone)]
pub(crate) struct Pop {
    pub(crate) group: GroupName,
    pub(crate) topic: Arc<TopicConfig>,
    pub(crate) retry_topics: RetryTopics,
    /// All where `None`.
    pub(crate) queue: Option<QueueId>,
    pub(crate) records_max: usize,
    pub(crate) invisible: Millis,
    pub(crate) init: Init,
    pub(crate) filter: Option<Arc<Expression>>,
    pub(crate) ordered: bool,
    pub(crate) attempt: Option<Box<str>>,
}

/// Where a group's messages of a topic are that it tries again.
#[derive(Debug, Clone)]
pub(crate) struct RetryTopics {
    pub(crate) v1: TopicName,
    pub(crate) v2: TopicName,
}

/// What a pop uses.
#[derive(Clone)]
pub(crate) struct Popper {
    pub(crate) broker_name: Arc<str>,
    pub(crate) pops: Arc<Pops>,
    pub(crate) queues: Queues<RealDisk>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) settings: Arc<Settings>,
}

/// What a pop took.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    pub(crate) popped: Millis,
    pub(crate) revive_queue: i32,
    pub(crate) runs: Vec<Bytes>,
    pub(crate) records: usize,
    pub(crate) bytes: usize,
    pub(crate) rest: i64,
    pub(crate) info: OffsetInfo,
    /// A queue that was read has more.
    pub(crate) left: Option<QueueId>,
    /// A queue could not be read.
    pub(crate) failed: bool,
}

/// Records are not in memory, and none were taken so far: ask again with [`Source::Disk`] where blocking is allowed.
#[derive(Debug)]
pub(crate) struct Cold;

enum Visited {
    Done,
    Cold,
}

impl Popper {
    /// Takes messages. `number` is from 0 to 99 and says where to begin; `revive_queue` is part of the messages' handles.
    pub(crate) fn take(
        &self,
        pop: &Pop,
        number: u32,
        revive_queue: i32,
        source: Source,
    ) -> Result<Taken, Cold> {
        self.take_at(clock::now(), pop, number, revive_queue, source)
    }

    /// The same, with this as the time of the pop.
    pub(crate) fn take_at(
        &self,
        popped: Millis,
        pop: &Pop,
        number: u32,
        revive_queue: i32,
        source: Source,
    ) -> Result<Taken, Cold> {
        let revive_queue = if pop.ordered { ORDER_REVIVE_QUEUE } else { revive_queue };
        let mut taken = Taken { popped, revive_queue, ..Taken::default() };
        let order = Order::of(number, self.chances(&pop.topic, &pop.group, pop.ordered));
        let retry_topic = self.retry_topic(&pop.retry_topics, number);
        let retry_queues = self.catalog.get(retry_topic).map_or(0, |topic| topic.read_queues);
        let wanted =
            Wanted { queue: pop.queue, ordered: pop.ordered, queues: pop.topic.read_queues, retry_queues };
        for stop in plan::stops(order, wanted) {
            if stop.retry && !order.retry_first && taken.is_full(pop) {
                break;
            }
            let topic = if stop.retry { retry_topic } else { &pop.topic.name };
            match self.visit(pop, topic, stop, &mut taken, source) {
                Visited::Done => {}
                Visited::Cold if taken.records == 0 => return Err(Cold),
                // Better some messages now than more later.
                Visited::Cold => break,
            }
        }
        Ok(taken)
    }

    /// Whether a pop that finds nothing now would find something: messages came since it looked.
    pub(crate) fn is_ready(&self, pop: &Pop) -> bool {
        if pop.records_max == 0 {
            return false;
        }
        let topic = &pop.topic.name;
        let queues = match pop.queue {
            Some(queue) => queue..queue + 1,
            None => 0..pop.topic.read_queues,
        };
        queues.into_iter().any(|queue| self.has_more(pop, topic, queue))
            || !pop.ordered
                && self.any_retry(&pop.retry_topics, |topic, queue| self.has_more(pop, topic, queue))
    }

    /// Whether something holds for a queue of a retry topic that the group pops from.
    pub(crate) fn any_retry(
        &self,
        topics: &RetryTopics,
        holds: impl Fn(&TopicName, QueueId) -> bool,
    ) -> bool {
        let v2 = self.settings.is(Flag::RetryTopicV2);
        let v1 = !v2 || self.settings.is(Flag::RetryTopicV1Popped);
        [(&topics.v1, v1), (&topics.v2, v2)].into_iter().any(|(topic, popped)| {
            let queues =
                if popped { self.catalog.get(topic).map_or(0, |topic| topic.read_queues) } else { 0 };
            (0..queues).any(|queue| holds(topic, queue))
        })
    }

    /// The retry topic that a pop looks into: one of both where both are in use.
    pub(crate) fn retry_topic<'t>(&self, topics: &'t RetryTopics, number: u32) -> &'t TopicName {
        let v2 = self.settings.is(Flag::RetryTopicV2)
            && !(self.settings.is(Flag::RetryTopicV1Popped) && number.is_multiple_of(2));
        if v2 { &topics.v2 } else { &topics.v1 }
    }

    /// How pops of a group choose among the queues of a topic.
    pub(crate) fn chances(&self, topic: &TopicConfig, group: &GroupName, ordered: bool) -> Chances {
        let percent = |number| self.settings.number(number) as u32;
        let has_priorities = !ordered
            && topic
                .attributes
                .get(attributes::MESSAGE_TYPE)
                .is_some_and(|kind| kind == attributes::PRIORITY);
        let factor = || {
            let group = self.catalog.group(group)?;
            group.attributes.get(attributes::PRIORITY_FACTOR)?.parse().ok()
        };
        Chances {
            retry_first: percent(Number::RetryFirstPercent),
            retry_first_by_priority: percent(Number::RetryFirstPercentByPriority),
            by_priority: if has_priorities { factor().unwrap_or(ALWAYS) } else { 0 },
            highest_first: self.settings.is(Flag::PriorityOrderAscending),
        }
    }

    fn has_more(&self, pop: &Pop, topic: &TopicName, queue: QueueId) -> bool {
        let Some(slot) = self.pops.known(&pop.group, topic, queue) else {
            return self.queues.bounds(topic, queue).1 > 0;
        };
        let now = clock::now();
        let machine = self.pops.peek(&slot);
        machine.is_open()
            && machine.next() < self.queues.bounds(topic, queue).1
            && !(pop.ordered && machine.is_blocked(now, pop.attempt.as_deref()))
    }

    fn visit(&self, pop: &Pop, topic: &TopicName, stop: Stop, taken: &mut Taken, source: Source) -> Visited {
        let queue = stop.queue;
        let init = if stop.retry { Init::Min } else { pop.init };
        let slot = self.pops.slot(&pop.group, topic, queue, || self.begin(topic, queue, init));
        let begin = {
            let begin = || self.begin(topic, queue, init);
            let mut machine = self.pops.lock_current(&slot, taken.popped, begin);
            if taken.is_full(pop) {
                Begin::Busy(machine.next())
            } else if pop.ordered {
                machine.begin_ordered(taken.popped, pop.attempt.as_deref(), pop.invisible)
            } else {
                machine.begin()
            }
        };
        let from = match begin {
            Begin::Read(from) => from,
            Begin::Blocked => return Visited::Done,
            Begin::Busy(_) if pop.ordered && !taken.is_full(pop) => return Visited::Done,
            Begin::Busy(next) | Begin::Full(next) => {
                taken.rest += self.queues.bounds(topic, queue).1.saturating_sub(next) as i64;
                return Visited::Done;
            }
        };
        let mut ask = Ask {
            topic: topic.to_arc(),
            queue,
            offset: from,
            records_max: pop.records_max - taken.records,
            bytes_max: BYTES_MAX,
            filter: pop.filter.clone(),
        };
        let found = match self.look(&mut ask, source) {
            Ok(Ok(found)) => found,
            failed => {
                self.pops.lock(&slot, taken.popped).abandon();
                if let Err(error) = failed {
                    tracing::warn!(topic = &**topic, queue, %error, "a pop could not read");
                    taken.failed = true;
                    return Visited::Done;
                }
                return Visited::Cold;
            }
        };
        let sparse = ask.filter.is_some() || self.queues.compactions.is_one(topic);
        let mut offsets = offsets_of(&found, sparse.then_some((topic, queue)));
        let mut machine = self.pops.lock(&slot, taken.popped);
        if found.answer == Answer::OffsetMoved {
            // Nothing is left where the group would read; `look` has gone on from there if there was something.
            machine.abandon();
        } else if offsets.is_empty() && ask.offset < from {
            // The log ends before: a tail was lost with the power.
            machine.reset(ask.offset);
            machine.abandon();
        } else if offsets.is_empty() {
            machine.skip(found.next);
        } else if pop.ordered {
            let attempt = pop.attempt.as_deref();
            match machine.pop_ordered(taken.popped, attempt, pop.invisible, offsets.clone()) {
                Some(counts) => {
                    let retry = Retry::of(topic);
                    for (offset, count) in counts.messages {
                        taken.info.push_message_count(retry, queue, offset, count);
                    }
                    taken.info.push_queue_count(retry, queue, counts.least);
                }
                None => offsets.clear(),
            }
        } else if !machine.pop(taken.popped, pop.invisible, offsets.iter().copied(), found.next) {
            offsets.clear();
        }
        drop(machine);
        let rest = found.max.saturating_sub(found.next);
        taken.rest += rest as i64;
        if rest > 0 {
            taken.left = Some(queue);
        }
        if !offsets.is_empty() {
            taken.info.push(Retry::of(topic), queue, from, offsets);
            taken.records += found.records;
            taken.bytes += found.runs.iter().map(Bytes::len).sum::<usize>();
            if stop.retry {
                self.push_retries(pop, topic, from, &found, taken);
            } else {
                taken.runs.extend(found.runs);
            }
        }
        Visited::Done
    }

    /// Looks, once more where the queue has no such offset (any more, or yet).
    fn look(&self, ask: &mut Ask, source: Source) -> Result<Result<Found, Cold>, ReadError> {
        let found = self.queues.look(ask, source)?;
        match found {
            Ok(found) if found.answer == Answer::OffsetMoved && found.max > 0 => {
                ask.offset = found.next;
                Ok(self.queues.look(ask, source)?.map_err(|_| Cold))
            }
            found => Ok(found.map_err(|_| Cold)),
        }
    }

    /// Where the group begins (`PopMessageProcessor.getInitOffset`).
    fn begin(&self, topic: &TopicName, queue: QueueId, init: Init) -> QueueOffset {
        let (min, max) = self.queues.bounds(topic, queue);
        match init {
            Init::Min => min,
            // A light queue is whole: what lies before its first message was ended with it.
            Init::Max
                if (min == 0 || light::is_light(topic))
                    && self.queues.begins_in_memory(topic, queue).unwrap_or(false) =>
            {
                min
            }
            Init::Max => max.saturating_sub(1),
        }
    }

    /// Messages of a retry topic go out under the topic that was asked for, each with its handle
    /// (`popResponseReturnActualRetryTopic`, off by default).
    fn push_retries(
        &self,
        pop: &Pop,
        topic: &TopicName,
        from: QueueOffset,
        found: &Found,
        taken: &mut Taken,
    ) {
        for record in found.runs.iter().flat_map(|run| records_of(run)) {
            let handle = ExtraInfo {
                start_offset: from as i64,
                pop_time: taken.popped,
                invisible_time: pop.invisible,
                revive_queue: taken.revive_queue,
                retry: Retry::of(topic),
                broker_name: &self.broker_name,
                queue_id: Some(record.queue() as i32),
                queue_offset: Some(record.queue_offset() as i64),
            };
            let mut properties = record.properties().to_vec();
            if property::get(&properties, property::POP_RECEIPT).is_none() {
                property::push(&mut properties, property::POP_RECEIPT, &handle.to_string());
            }
            taken.runs.push(record::readdressed(&record, &pop.topic.name, &properties));
        }
    }
}

impl Taken {
    fn is_full(&self, pop: &Pop) -> bool {
        self.records >= pop.records_max || self.bytes >= REPLY_BYTES_MAX
    }
}

/// Tells the next of the group that there is more.
pub(crate) fn pass_on(polling: &Polling, pop: &Pop, taken: &Taken) {
    if let Some(queue) = taken.left {
        polling.wake_group(&pop.topic.name, &pop.group, queue);
    }
}

/// The offsets of the records found, one behind the other unless some of this queue are left out.
fn offsets_of(found: &Found, sparse: Option<(&TopicName, QueueId)>) -> Vec<QueueOffset> {
    if let Some((topic, queue)) = sparse {
        let records = found.runs.iter().flat_map(|run| records_of(run));
        return records.filter_map(|record| light::position_of(&record, topic, queue)).collect();
    }
    (found.next - found.records as u64..found.next).collect()
}

/// The records of a run. The reader has checked them.
fn records_of(run: &[u8]) -> impl Iterator<Item = RecordView<'_>> {
    let mut rest = run;
    std::iter::from_fn(move || {
        let record = RecordView::parse(rest).ok()?;
        rest = &rest[record.total_len()..];
        Some(record)
    })
}
