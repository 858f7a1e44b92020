//! Acknowledging popped messages and hiding them for longer: requests 200051, 200053 and 200151.
//!
//! A handle that is stale is answered like one that is not: RocketMQ writes acknowledgements down and finds out later that
//! they belong to nothing.

use super::{NO_REMARK, illegal_queue, no_topic, succeed_unremarked};
use crate::{
    answers::{Refusal, refuse, request_of, succeed},
    catalog::Catalog,
    clock,
    lite::LiteTopics,
    pop::{Pops, Slot},
    queues::Queues,
    remoting::BrokerSession,
};
use halley_machine::{lite, pop::OrderedAck};
use halley_model::{GroupName, QueueId, QueueOffset, TopicConfig, TopicName, light};
use halley_store::disk::RealDisk;
use halley_wire::{
    Frame, ResponseCode,
    pop::{ExtraInfo, ORDER_REVIVE_QUEUE, Retry},
    reply::ChangeInvisibleTimeResponse,
    request::{AckMessage, BatchAck, BatchAckMessage, ChangeInvisibleTime},
};
use std::sync::Arc;

/// What acknowledgements use.
pub(in crate::remoting) struct Acks<'a> {
    pub(in crate::remoting) queues: &'a Queues<RealDisk>,
    pub(in crate::remoting) catalog: &'a Catalog,
    pub(in crate::remoting) pops: &'a Pops,
    pub(in crate::remoting) lite: &'a LiteTopics,
}

impl Acks<'_> {
    /// 200051.
    pub(in crate::remoting) fn ack(
        &self,
        frame: &Frame<'_>,
        session: &mut BrokerSession,
    ) -> Result<(), Refusal> {
        let header = AckMessage::decode(&frame.ext)?;
        let (topic, queue) = self.queue_of(&header, session)?;
        if let Some(lite_topic) = &header.lite_topic {
            self.ack_lite(&header, &topic, lite_topic)?;
            succeed(frame, session, &[], b"");
            return Ok(());
        }
        let (min, max) = self.queues.bounds(&topic.name, queue);
        let offset = match u64::try_from(header.offset) {
            Ok(offset) if offset >= min && offset <= max => offset,
            _ => {
                let remark = format!(
                    "offset is illegal, key:{}@{queue}, commit:{}, store:{min}~{max}",
                    topic.name, header.offset
                );
                return Err(Refusal::new(ResponseCode::NoMessage, remark));
            }
        };
        let handle = ExtraInfo::parse(&header.extra_info)?;
        let group = GroupName::new(&header.consumer_group)?;
        if handle.is_ordered() {
            self.ack_ordered(&group, &topic, queue, offset, handle.pop_time, session)?;
        } else if let Some(slot) = self.pops.known(&group, &topic.name, queue) {
            self.pops.lock(&slot, clock::now()).ack(offset, handle.pop_time);
        }
        succeed(frame, session, &[], b"");
        Ok(())
    }

    /// 200151.
    pub(in crate::remoting) fn ack_batch(
        &self,
        frame: &Frame<'_>,
        session: &mut BrokerSession,
    ) -> Result<(), Refusal> {
        let no_message = || Refusal::new(ResponseCode::NoMessage, "");
        if frame.body.is_empty() {
            return Err(no_message());
        }
        let batch = BatchAckMessage::decode(frame.body)?;
        if batch.acks.is_empty() {
            return Err(no_message());
        }
        for ack in &batch.acks {
            self.ack_some(ack, session)?;
        }
        succeed(frame, session, &[], b"");
        Ok(())
    }

    fn ack_some(&self, ack: &BatchAck, session: &BrokerSession) -> Result<(), Refusal> {
        let Some(retry) = Retry::of_mark(&ack.retry) else {
            return Err(Refusal::new(ResponseCode::SystemError, "getRetry fail, format is wrong"));
        };
        let group = GroupName::new(&ack.consumer_group)?;
        let topic = self.catalog.get(&retry.real_topic(&ack.topic, &group));
        let (Some(topic), Ok(queue)) = (topic, QueueId::try_from(ack.queue_id)) else { return Ok(()) };
        let (min, max) = self.queues.bounds(&topic.name, queue);
        let offsets = ack.distances()?.into_iter().filter_map(|distance| {
            let offset = u64::try_from(ack.start_offset.checked_add(distance)?).ok()?;
            (offset >= min && offset <= max).then_some(offset)
        });
        if ack.revive_queue_id == ORDER_REVIVE_QUEUE {
            for offset in offsets {
                self.ack_ordered(&group, &topic, queue, offset, ack.pop_time, session)?;
            }
        } else if let Some(slot) = self.pops.known(&group, &topic.name, queue) {
            let mut machine = self.pops.lock(&slot, clock::now());
            for offset in offsets {
                machine.ack(offset, ack.pop_time);
            }
        }
        Ok(())
    }

    /// 200053.
    pub(in crate::remoting) fn change_invisible_time(
        &self,
        frame: &Frame<'_>,
        session: &mut BrokerSession,
    ) -> Result<(), Refusal> {
        let header = ChangeInvisibleTime::decode(&frame.ext)?;
        match self.change(&header, session) {
            Ok(changed) => {
                let response = changed.unwrap_or_default();
                succeed_unremarked(request_of(frame), frame.is_oneway(), session, &response.fields());
            }
            Err(refusal) => {
                refuse(frame, session, &refusal, &ChangeInvisibleTimeResponse::default().fields());
            }
        }
        Ok(())
    }

    fn change(
        &self,
        header: &ChangeInvisibleTime<'_>,
        session: &BrokerSession,
    ) -> Result<Option<ChangeInvisibleTimeResponse>, Refusal> {
        let ChangeInvisibleTime { message, invisible_time, suspend } = header;
        let (topic, queue) = self.queue_of(message, session)?;
        if let Some(lite_topic) = &message.lite_topic {
            return self.change_lite(header, &topic, lite_topic);
        }
        let (min, max) = self.queues.bounds(&topic.name, queue);
        let offset = match u64::try_from(message.offset) {
            Ok(offset) if offset >= min && offset < max => offset,
            _ => return Err(Refusal::new(ResponseCode::NoMessage, NO_REMARK)),
        };
        let handle = ExtraInfo::parse(&message.extra_info)?;
        let group = GroupName::new(&message.consumer_group)?;
        let slot = self.pops.known(&group, &topic.name, queue);
        let now = clock::now();
        let revive_queue_id = handle.revive_queue;
        if !handle.is_ordered() {
            if let Some(slot) = slot {
                let mut machine = self.pops.lock(&slot, now);
                machine.change(now, offset, handle.pop_time, *invisible_time, *suspend);
            }
            let (pop_time, invisible_time) = (now, *invisible_time);
            return Ok(Some(ChangeInvisibleTimeResponse { pop_time, invisible_time, revive_queue_id }));
        }
        let invisible_time = match slot {
            None => Some(now + invisible_time - handle.pop_time),
            Some(slot) => {
                let mut machine = self.pops.lock(&slot, now);
                machine.change_ordered(now, offset, handle.pop_time, *invisible_time)
            }
        };
        Ok(invisible_time.map(|invisible_time| ChangeInvisibleTimeResponse {
            pop_time: handle.pop_time,
            invisible_time,
            revive_queue_id,
        }))
    }

    /// Acknowledges a message of a lite topic (`AckMessageProcessor.ackLite`, 5.5).
    fn ack_lite(
        &self,
        header: &AckMessage<'_>,
        topic: &TopicConfig,
        lite_topic: &str,
    ) -> Result<(), Refusal> {
        let invalid = |remark: &str| Refusal::new(ResponseCode::InvalidParameter, remark);
        if self.lite.bind_topic(&header.consumer_group).is_none_or(|bound| bound != *topic.name) {
            return Err(invalid("group type or bind topic not match."));
        }
        let (name, offset) = self.lite_message(header, topic, lite_topic, "ack offset illegal.")?;
        let handle = ExtraInfo::parse(&header.extra_info)?;
        if header.queue_id != 0 || !handle.is_ordered() {
            return Err(invalid("ack queue illegal."));
        }
        let group = GroupName::new(&header.consumer_group)?;
        let slot = self.pops.slot(&group, &name, light::QUEUE, || offset);
        let now = clock::now();
        let acked = self.pops.lock(&slot, now).ack_ordered(now, offset, handle.pop_time);
        match acked {
            OrderedAck::Ignored | OrderedAck::Done { unblocked: false } => {}
            OrderedAck::Done { unblocked: true } => self.lite.dispatch(&group, &name),
            OrderedAck::Illegal => {
                return Err(Refusal::new(ResponseCode::MessageIllegal, "ack offset illegal."));
            }
        }
        Ok(())
    }

    /// Hides a message of a lite topic for another while (`processChangeInvisibleTimeForLite`, 5.5).
    fn change_lite(
        &self,
        header: &ChangeInvisibleTime<'_>,
        topic: &TopicConfig,
        lite_topic: &str,
    ) -> Result<Option<ChangeInvisibleTimeResponse>, Refusal> {
        let ChangeInvisibleTime { message, invisible_time, suspend } = header;
        let (name, offset) = self.lite_message(message, topic, lite_topic, NO_REMARK)?;
        let handle = ExtraInfo::parse(&message.extra_info)?;
        let group = GroupName::new(&message.consumer_group)?;
        let now = clock::now();
        let pop_time = handle.pop_time;
        let changed = match self.pops.known(&group, &name, light::QUEUE) {
            None => Some(now.saturating_add(*invisible_time).saturating_sub(pop_time)),
            Some(slot) => {
                let mut machine = self.pops.lock(&slot, now);
                match suspend {
                    true => machine.suspend_ordered(now, offset, pop_time, *invisible_time),
                    false => machine.change_ordered(now, offset, pop_time, *invisible_time),
                }
            }
        };
        Ok(changed.map(|invisible_time| ChangeInvisibleTimeResponse {
            pop_time,
            invisible_time,
            revive_queue_id: handle.revive_queue,
        }))
    }

    /// The light queue and the offset of a message of a lite topic.
    fn lite_message(
        &self,
        message: &AckMessage<'_>,
        topic: &TopicConfig,
        lite_topic: &str,
        remark: &str,
    ) -> Result<(TopicName, QueueOffset), Refusal> {
        let no_message = || Refusal::new(ResponseCode::NoMessage, remark);
        let name = lite::queue_of(&topic.name, lite_topic).ok_or_else(no_message)?;
        let offset = u64::try_from(message.offset).ok().filter(|offset| *offset <= self.lite.end(&name));
        Ok((TopicName::known(&name)?, offset.ok_or_else(no_message)?))
    }

    fn ack_ordered(
        &self,
        group: &GroupName,
        topic: &TopicConfig,
        queue: QueueId,
        offset: QueueOffset,
        popped: i64,
        session: &BrokerSession,
    ) -> Result<(), Refusal> {
        let slot: Arc<Slot> = self.pops.slot(group, &topic.name, queue, || offset);
        let now = clock::now();
        let (before, acked) = {
            let mut machine = self.pops.lock(&slot, now);
            (machine.next(), machine.ack_ordered(now, offset, popped))
        };
        match acked {
            OrderedAck::Ignored | OrderedAck::Done { unblocked: false } => {}
            OrderedAck::Done { unblocked: true } => {
                self.queues.arrivals.polling.wake_group(&topic.name, group, queue);
            }
            OrderedAck::Illegal => {
                let remark = format!(
                    "offset is illegal, key:{}@{group}@{queue}, old:{before}, commit:{offset}, next:-1, /{}",
                    topic.name, session.info.peer
                );
                return Err(Refusal::new(ResponseCode::MessageIllegal, remark));
            }
        }
        Ok(())
    }

    fn queue_of(
        &self,
        message: &AckMessage<'_>,
        session: &BrokerSession,
    ) -> Result<(Arc<TopicConfig>, QueueId), Refusal> {
        let Some(topic) = self.catalog.get(&message.topic) else { return Err(no_topic(&message.topic)) };
        let queue = QueueId::try_from(message.queue_id).ok().filter(|queue| *queue < topic.read_queues);
        let Some(queue) = queue else {
            let remark = illegal_queue(message.queue_id, &topic, session);
            return Err(Refusal::new(ResponseCode::MessageIllegal, remark));
        };
        Ok((topic, queue))
    }
}
