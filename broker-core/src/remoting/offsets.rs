//! Offsets: requests 14, 15, 29, 30 and 31.

use super::{
    BrokerSession,
    static_topics::{Place, StaticTopics, lead},
};
use crate::{
    answers::{Refusal, answer, request_of, succeed},
    catalog::Catalog,
    light,
    pop::Pops,
    progress::Progress,
    queues::Queues,
    settings::Settings,
};
use halley_machine::{attributes, lite, offsets::Committed};
use halley_model::{GroupName, QueueId, TopicName};
use halley_store::{Boundary, disk::RealDisk};
use halley_wire::{Frame, ResponseCode, reply::OffsetResponse, request};

/// What requests about offsets use.
pub(super) struct Offsets<'a> {
    pub(super) queues: &'a Queues<RealDisk>,
    pub(super) catalog: &'a Catalog,
    pub(super) progress: &'a Progress,
    pub(super) pops: &'a Pops,
    pub(super) settings: &'a Settings,
    pub(super) static_topics: StaticTopics<'a>,
}

impl Offsets<'_> {
    /// 14: an unknown group starts at 0 where the queue is still whole and its first message in memory
    /// (`ConsumerManageProcessor.queryConsumerOffset`, 5.5).
    pub(super) fn query(&self, frame: &Frame<'_>, session: &mut BrokerSession) -> Result<(), Refusal> {
        let mut header = request::QueryConsumerOffset::decode(&frame.ext)?;
        if let Some(mapped) = self.catalog.mapped(frame, &header.topic) {
            match lead(&mapped, header.queue_id)?.parts {
                // As any queue of this broker's.
                [only] if only.logic_offset == 0 => header.queue_id = only.queue_id,
                _ => return self.static_topics.committed(&header, &mapped, frame, session),
            }
        }
        let (group, topic) = (GroupName::new(&header.consumer_group)?, TopicName::known(&header.topic)?);
        let queue = self.queue_of_group(&group, readable(header.queue_id));
        self.pops.commit_one(&group, &topic, queue);
        if let Some(committed) = self.progress.committed(&group, &topic, queue) {
            return reply(frame, session, committed.offset);
        }
        let not_found = |remark: &str| Err(Refusal::new(ResponseCode::QueryNotFound, remark));
        if header.set_zero_if_not_found == Some(false) {
            return not_found("Not found, do not set to zero, maybe this group boot first");
        }
        if self.is_whole_and_in_memory(&topic, queue)? {
            return reply(frame, session, 0);
        }
        not_found("Not found, V3_0_6_SNAPSHOT maybe this group consumer boot first")
    }

    /// 15.
    pub(super) fn update(&self, frame: &Frame<'_>, session: &mut BrokerSession) -> Result<(), Refusal> {
        let mut header = request::UpdateConsumerOffset::decode(&frame.ext)?;
        if let Some(mapped) = self.catalog.mapped(frame, &header.topic) {
            match self.static_topics.place(&mapped, header.queue_id, header.commit_offset)? {
                Place::Here(queue, offset) => {
                    (header.queue_id, header.commit_offset) = (queue as i32, offset)
                }
                Place::There(part, offset) => {
                    return self.static_topics.commit_there(&header, part, offset, frame, session);
                }
            }
        }
        let (group, topic) = (GroupName::new(&header.consumer_group)?, TopicName::known(&header.topic)?);
        if self.catalog.group(&group).is_none() {
            let remark = format!("Group {group} not exist!");
            return Err(Refusal::new(ResponseCode::SubscriptionGroupNotExist, remark));
        }
        if self.catalog.get(&topic).is_none() {
            return Err(Refusal::new(ResponseCode::TopicNotExist, format!("Topic {topic} not exist!")));
        }
        let queue = self.queue_of_group(&group, queue_of(header.queue_id)?);
        let Ok(offset) = u64::try_from(header.commit_offset) else {
            let remark = format!("the offset {} is negative", header.commit_offset);
            return Err(Refusal::new(ResponseCode::InvalidParameter, remark));
        };
        let key = (group, topic, queue);
        if self.progress.has_reset(&key) {
            if !frame.is_oneway() {
                let remark = Some("Offset has been previously reset");
                answer(session.out.head(), request_of(frame), ResponseCode::Success, remark, &[], b"");
            }
            return Ok(());
        }
        self.progress.commit(key, Committed { offset, metadata: String::new() });
        succeed(frame, session, &[], b"");
        Ok(())
    }

    /// 29. The search reads store times, so that it may read from disk: it leaves the connection's thread.
    pub(super) fn search(&self, frame: &Frame<'_>, session: &mut BrokerSession) -> Result<(), Refusal> {
        let header = request::SearchOffset::decode(&frame.ext)?;
        if let Some(mapped) = self.catalog.mapped(frame, &header.topic) {
            return self.static_topics.search(&header, &mapped, frame, session);
        }
        let queue = readable(header.queue_id);
        let boundary = match header.boundary {
            request::Boundary::Lower => Boundary::Lower,
            request::Boundary::Upper => Boundary::Upper,
        };
        let lite_queue =
            header.lite_topic.as_deref().map(|lite| lite::queue_of(&header.topic, lite).unwrap_or_default());
        let (topic, timestamp) = (lite_queue.unwrap_or_else(|| header.topic.into_owned()), header.timestamp);
        let (reader, outbox, request) =
            (self.queues.reader.clone(), session.info.outbox.clone(), request_of(frame));
        tokio::task::spawn_blocking(move || {
            let found = reader.offset_by_time(&topic, queue, timestamp, boundary);
            let frame = crate::held::frame(|out| match found {
                Ok(offset) => {
                    let response = OffsetResponse { offset: offset as i64 };
                    answer(out, request, ResponseCode::Success, None, &response.fields(), b"");
                }
                Err(error) => {
                    answer(out, request, ResponseCode::SystemError, Some(&error.to_string()), &[], b"");
                }
            });
            outbox.send([frame]);
        });
        Ok(())
    }

    /// 30.
    pub(super) fn max(&self, frame: &Frame<'_>, session: &mut BrokerSession) -> Result<(), Refusal> {
        let header = request::GetMaxOffset::decode(&frame.ext)?;
        if let Some(mapped) = self.catalog.mapped(frame, &header.topic) {
            return self.static_topics.max(&header, &mapped, frame, session);
        }
        reply(frame, session, self.queues.bounds(&header.topic, readable(header.queue_id)).1)
    }

    /// 31.
    pub(super) fn min(&self, frame: &Frame<'_>, session: &mut BrokerSession) -> Result<(), Refusal> {
        let header = request::GetMinOffset::decode(&frame.ext)?;
        if let Some(mapped) = self.catalog.mapped(frame, &header.topic) {
            return self.static_topics.min(&header, &mapped, frame, session);
        }
        let (min, max) = self.queues.bounds(&header.topic, readable(header.queue_id));
        let topic = self.catalog.get(&header.topic).filter(|_| max == 0);
        if topic.is_some_and(|topic| attributes::takes_inner_batches(&topic.attributes)) {
            // Of a queue that never had a message (`BatchConsumeQueue.getMinOffsetInQueue`, 5.5).
            succeed(frame, session, &OffsetResponse { offset: -1 }.fields(), b"");
            return Ok(());
        }
        reply(frame, session, min)
    }

    /// A group that reads light queues has one offset in each, whatever queue its client names
    /// (`LmqConsumerOffsetManager`, 5.5).
    fn queue_of_group(&self, group: &GroupName, queue: QueueId) -> QueueId {
        if light::is_light(self.settings, group) { halley_model::light::QUEUE } else { queue }
    }

    /// Whether the queue has all its messages, and the first in memory; so has a queue without any
    /// (`checkInMemByConsumeOffset`, 5.5, answers `false` there: such a consumer starts where it is configured to).
    fn is_whole_and_in_memory(&self, topic: &str, queue: QueueId) -> Result<bool, Refusal> {
        let (min, max) = self.queues.bounds(topic, queue);
        if min > 0 || max == 0 {
            return Ok(false);
        }
        Ok(self.queues.begins_in_memory(topic, queue)?)
    }
}

fn reply(frame: &Frame<'_>, session: &mut BrokerSession, offset: u64) -> Result<(), Refusal> {
    succeed(frame, session, &OffsetResponse { offset: offset as i64 }.fields(), b"");
    Ok(())
}

/// The queue to look into: a number that no queue has stands for one without messages, as an unknown queue does
/// (`DefaultMessageStore.findConsumeQueue`, 5.5, makes an empty one).
fn readable(queue: i32) -> QueueId {
    QueueId::try_from(queue).unwrap_or(QueueId::MAX)
}

pub(super) fn queue_of(queue: i32) -> Result<QueueId, Refusal> {
    QueueId::try_from(queue)
        .map_err(|_| Refusal::new(ResponseCode::InvalidParameter, format!("queueId[{queue}] is illegal")))
}
