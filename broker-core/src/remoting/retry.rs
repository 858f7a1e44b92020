//! Messages taken back: by a consumer that failed on them (request 36), by a producer before they are due (request 370).

use super::{
    BrokerSession,
    send::{ensured, group_of},
    stored::Stored,
};
use crate::{
    answers::{Refusal, answer, not_stored, request_of, succeed},
    catalog::{self, Catalog},
    clock,
    identity::Identity,
    state_writer::StateWriter,
};
use halley_machine::{
    delay::{DELAY_MS_MAX, Due, TIMER_TOPIC},
    retries::{self, Next},
};
use halley_model::{GroupConfig, GroupName, LogOffset, RecordBody, RecordView, TopicName, id, property};
use halley_wire::{
    Frame, RecallHandle, ResponseCode, reply,
    request::{RecallMessage, SendBack},
};
use std::sync::Arc;

/// What requests that take messages back use.
pub(super) struct Retries<'a> {
    pub(super) identity: &'a Identity,
    pub(super) catalog: &'a Arc<Catalog>,
    pub(super) writer: &'a StateWriter,
    pub(super) stored: Stored<'a>,
}

impl Retries<'_> {
    /// 36: the message is stored again under the group's `%RETRY%` topic, to be delivered after a delay, or under its
    /// `%DLQ%` topic (`AbstractSendMessageProcessor.consumerSendMsgBack`, 5.5).
    pub(super) fn send_back(&self, frame: &Frame<'_>, session: &mut BrokerSession) -> Result<(), Refusal> {
        let header = SendBack::decode(&frame.ext)?;
        let group = GroupName::new(&header.group)?;
        let config = group_of(self.catalog, &group)?;
        if config.retry_queue_nums == 0 {
            succeed(frame, session, &[], b"");
            return Ok(());
        }
        let (level, max) = (header.delay_level, header.max_reconsume_times.unwrap_or(config.retry_max_times));
        let (catalog, writer) = (self.catalog.clone(), self.writer.clone());
        let offset = header.offset;
        self.stored.act_on(offset, frame, session, move |record| {
            let nowhere = |_| {
                Refusal::new(ResponseCode::SystemError, format!("look message by offset failed, {offset}"))
            };
            let record = record.map_err(nowhere)?;
            store_again(&catalog, &writer, &config, &RecordView::parse(&record)?, level, max)
        })
    }

    /// 370: stores a recall, which takes effect when the message is due (`RecallMessageProcessor`, 5.5).
    pub(super) fn recall(&self, frame: &Frame<'_>, session: &mut BrokerSession) -> Result<(), Refusal> {
        let header = RecallMessage::decode(&frame.ext)?;
        let illegal = |remark: &str| Refusal::new(ResponseCode::IllegalOperation, remark);
        if self.catalog.get(&header.topic).is_none() {
            let remark = format!("recall failed, the topic[{}] not exist", header.topic);
            return Err(Refusal::new(ResponseCode::TopicNotExist, remark));
        }
        let handle =
            RecallHandle::decode(&header.recall_handle).map_err(|error| illegal(&error.to_string()))?;
        if handle.topic != header.topic {
            return Err(illegal("recall failed, topic not match"));
        }
        if handle.broker != *self.identity.name {
            return Err(illegal("recall failed, broker service not available"));
        }
        let now = clock::now();
        let left = handle.deliver_at.saturating_sub(now);
        if left <= 0 || left > DELAY_MS_MAX {
            return Err(illegal("recall failed, timestamp invalid"));
        }
        let mut properties = Vec::new();
        let key = format!("{}_{}", handle.topic, handle.unique_key);
        let mut asked = Vec::new();
        property::push(&mut asked, property::TAGS, "_RECALL_TAG_");
        property::push(&mut asked, property::TIMER_DELETE_KEY, &key);
        property::push(&mut asked, property::UNIQUE_KEY, &handle.unique_key);
        property::push(
            &mut asked,
            property::PRODUCER_GROUP,
            header.producer_group.as_deref().unwrap_or_default(),
        );
        Due::At(handle.deliver_at).detour(&asked, &handle.topic, 0, now, &mut properties);
        let recall = RecordBody {
            topic: TIMER_TOPIC,
            queue: 0,
            flag: 0,
            system_flag: 0,
            born: now,
            born_host: session.info.peer,
            reconsume_times: 0,
            prepared_offset: 0,
            body: b"0",
            properties: &properties,
            dispatched: false,
        };
        let end = self.writer.stage_group(&[recall], now).map_err(not_stored)?;
        if !frame.is_oneway() {
            let request = request_of(frame);
            session.held.push(end, request, |out| {
                answer(
                    out,
                    request,
                    ResponseCode::Success,
                    None,
                    &[("msgId", handle.unique_key.as_str().into()), reply::REGION_FIELD],
                    b"",
                );
            });
        }
        Ok(())
    }
}

/// Stores a message again for the group, after another failed attempt.
fn store_again(
    catalog: &Catalog,
    writer: &StateWriter,
    group: &GroupConfig,
    record: &RecordView<'_>,
    level: i32,
    reconsume_max: i32,
) -> Result<LogOffset, Refusal> {
    let attempts = record.reconsume_times();
    let (topic, queues, level) = match retries::after_failure(attempts, level, reconsume_max) {
        Next::DeadLetter => (TopicName::dead_letters_of(&group.name), 1, 0),
        Next::Again { level } => (TopicName::retry_of(&group.name), group.retry_queue_nums, level),
    };
    let config = ensured(catalog, &topic, queues)?;
    if !config.permission.writable() {
        let remark = format!("the topic[{topic}] sending message is forbidden");
        return Err(Refusal::new(ResponseCode::NoPermission, remark));
    }
    let queue = catalog::next_queue(&config);
    let now = clock::now();

    let mut own = Vec::new();
    property::copy_where(record.properties(), &mut own, |key| {
        key != property::DELAY_LEVEL && key != property::WAIT_STORE
    });
    property::push(&mut own, property::WAIT_STORE, "false");
    if record.property(property::RETRY_TOPIC).is_none() {
        property::push(&mut own, property::RETRY_TOPIC, record.topic());
    }
    if record.property(property::ORIGIN_MESSAGE_ID).is_none() {
        let id = id::offset_id(record.store_host(), record.log_offset());
        property::push(&mut own, property::ORIGIN_MESSAGE_ID, &id);
    }
    let again = RecordBody { reconsume_times: attempts.saturating_add(1), ..RecordBody::of(record) };
    property::push(&mut own, property::DELAY_LEVEL, &level.to_string());
    let staged = if level > 0 {
        let due =
            Due::of(&own, now).map_err(|error| Refusal::new(ResponseCode::SystemError, error.to_string()))?;
        let mut properties = Vec::new();
        due.detour(&own, &topic, queue, now, &mut properties);
        writer.stage_group(
            &[RecordBody { topic: TIMER_TOPIC, queue: 0, properties: &properties, ..again }],
            now,
        )
    } else {
        writer.stage_group(&[RecordBody { topic: &topic, queue, properties: &own, ..again }], now)
    };
    staged.map_err(not_stored)
}
