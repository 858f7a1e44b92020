//! Storing messages: requests 10, 310 and 320.
//!
//! All sends of one read are checked first, then staged under one lock; their replies are encoded at once and held
//! until the log acknowledges them.

mod place;

use super::{
    BrokerSession,
    static_topics::{lead, not_leader},
};
use crate::{
    answers::{Refusal, answer, not_sent, not_stored, request_of},
    appends::Appends,
    catalog::{self, Catalog, ChangeError, Mapped},
    held::RequestId,
    identity::Identity,
    light,
    metrics::BrokerMetrics,
    progress::Progress,
    settings::Settings,
    stats::Stats,
};
use bytes::BytesMut;
use halley_machine::{
    attributes,
    delay::Due,
    queue_mappings::{any_queue, led},
    topics::CreateError,
};
use halley_model::{
    GroupConfig, GroupName, QueueId, RecordBody, TopicConfig, TopicName, id, name, property, record,
};
use halley_store::{LogReader, Placed, Staging, disk::RealDisk};
use halley_wire::{
    BrokerCode, Frame, RecallHandle, ResponseCode, batch,
    reply::{self, SendMessageResponse},
    request::{SendForm, SendMessage},
};
use place::{Completed, Place};
use std::{mem, net::SocketAddr, ops::Range, sync::Arc};

/// Most messages in one batch.
const BATCH_MAX: usize = 65_536;

/// What sends use.
pub(super) struct Sends<'a> {
    pub(super) identity: &'a Identity,
    pub(super) appends: &'a Appends,
    pub(super) catalog: &'a Catalog,
    pub(super) progress: &'a Progress,
    pub(super) metrics: &'a BrokerMetrics,
    pub(super) stats: &'a Stats,
    pub(super) settings: &'a Settings,
    pub(super) reader: &'a LogReader<RealDisk>,
}

/// Buffers that a connection keeps from read to read.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    properties: Vec<u8>,
    id: String,
}

/// The checked sends of one read.
pub(super) struct Batch<'f> {
    sends: Vec<Checked<'f>>,
    /// Their properties without escapes, one behind the other.
    properties: Vec<u8>,
}

struct Checked<'f> {
    request: RequestId,
    oneway: bool,
    topic: Arc<TopicConfig>,
    queue: QueueId,
    place: Place,
    /// It goes into light queues too.
    dispatched: bool,
    header: SendMessage<'f>,
    properties: Range<usize>,
    body: &'f [u8],
    /// Of a static topic.
    logical: Option<Box<LogicalSend>>,
}

/// The queue of a static topic that a message is for.
struct LogicalSend {
    mapped: Arc<Mapped>,
    queue: i32,
}

impl Sends<'_> {
    /// An empty batch, with the connection's buffer.
    pub(super) fn batch<'f>(&self, session: &mut BrokerSession) -> Batch<'f> {
        let mut properties = mem::take(&mut session.state.sends.properties);
        properties.clear();
        Batch { sends: Vec::new(), properties }
    }

    /// Checks a send and adds it to the batch.
    pub(super) fn take<'f>(
        &self,
        code: BrokerCode,
        frame: &Frame<'f>,
        batch: &mut Batch<'f>,
    ) -> Result<(), Refusal> {
        let form = SendForm::of(code).unwrap_or(SendForm::Short);
        let mut header = SendMessage::decode(form, &frame.ext)?;
        let topic = self.topic_of(&header)?;
        let logical = match self.catalog.mapped(frame, &header.topic) {
            None => None,
            Some(mapped) => Some(Box::new(LogicalSend::of(mapped, &mut header)?)),
        };
        let queue = queue_of(&header, &topic)?;
        let (topic, queue, given_up) = match self.gives_up(&header)? {
            Some(topic) => (topic, 0, true),
            None => (topic, queue, false),
        };
        let start = batch.properties.len();
        header.properties.append_to(&mut batch.properties);
        if given_up {
            let given = batch.properties.split_off(start);
            property::copy_where(&given, &mut batch.properties, |key| key != property::DELAY_LEVEL);
        }
        if !header.batch
            && !topic.attributes.is_empty()
            && attributes::is_compacted(&topic.attributes)
            && property::get(&batch.properties[start..], property::KEYS)
                .is_none_or(|keys| keys.trim().is_empty())
        {
            batch.properties.truncate(start);
            return Err(Refusal::new(ResponseCode::MessageIllegal, "Required message key is missing"));
        }
        let completed = if header.batch {
            // The messages of a batch have properties of their own, and are stored with no others
            // (`MessageExtEncoder.encode`, 5.5); these are for the reply.
            let properties = start..batch.properties.len();
            Completed { place: Place::Own, queue, properties, dispatched: false }
        } else {
            let reconsume_times = header.reconsume_times;
            place::complete(self.identity, &topic, queue, reconsume_times, &mut batch.properties, start)
                .inspect_err(|_| batch.properties.truncate(start))?
        };
        let Completed { place, queue, properties, dispatched } = completed;
        let dispatched = dispatched
            && light::is_dispatching(self.settings)
            && halley_model::light::is_allowed(&topic.name);
        if dispatched
            && light::exceeds_quota(
                self.settings,
                self.reader,
                &topic.name,
                &batch.properties[properties.clone()],
            )
        {
            batch.properties.truncate(start);
            let remark = "[LMQ_CONSUME_QUEUE_NUM_EXCEEDED]lmq consume queue num exceeded.";
            return Err(Refusal::new(ResponseCode::LmqQuotaExceeded, remark));
        }
        batch.sends.push(Checked {
            request: request_of(frame),
            oneway: frame.is_oneway(),
            topic,
            queue,
            place,
            dispatched,
            header,
            properties,
            body: frame.body,
            logical,
        });
        Ok(())
    }

    /// Stages the batch and holds the replies.
    pub(super) fn stage(&self, batch: Batch<'_>, session: &mut BrokerSession) {
        let Batch { sends, properties } = batch;
        if !sends.is_empty() {
            match self.appends.stage_sent() {
                Ok(mut staging) => {
                    let mut tally = Tally::default();
                    for send in &sends {
                        let properties = &properties[send.properties.clone()];
                        if let Some(messages) = self.stage_one(send, properties, &mut staging, session) {
                            tally.add(self.stats, &send.topic, messages, send.body.len() + properties.len());
                        }
                    }
                    tally.tell(self.stats);
                }
                Err(error) => {
                    let refusal = not_sent(error, self.appends.room.percent());
                    for send in &sends {
                        self.refuse(send, &refusal, session);
                    }
                }
            }
        }
        session.state.sends.properties = properties;
    }

    /// Stages a send; how many messages it has, `None` where it was refused.
    fn stage_one(
        &self,
        send: &Checked<'_>,
        properties: &[u8],
        staging: &mut Staging<'_>,
        session: &mut BrokerSession,
    ) -> Option<u64> {
        if let Some(moved) = send.logical.as_deref().filter(|logical| !logical.mapped.is_current()) {
            // What is staged behind a change of the mapping would come behind the end that the new leader was told.
            self.refuse(send, &not_leader(&moved.mapped, moved.queue), session);
            return None;
        }
        let record = send.record(session.info.peer, send.body, properties, send.header.flag);
        staging.ask(self.appends.durability_of(&send.topic));
        let staged = if send.header.batch {
            stage_batch(send, session.info.peer, staging)
        } else {
            staging.append(&record).map(|placed| (placed, Vec::new())).map_err(not_stored)
        };
        match staged {
            Ok((first, others)) => {
                let last = others.last().unwrap_or(&first).log_offset;
                self.hold(send, properties, first, &others, last + 1, session);
                Some(1 + others.len() as u64)
            }
            Err(refusal) => {
                self.refuse(send, &refusal, session);
                None
            }
        }
    }

    /// Encodes the reply and holds it until everything before `end` is acknowledged.
    fn hold(
        &self,
        send: &Checked<'_>,
        properties: &[u8],
        first: Placed,
        others: &[Placed],
        end: u64,
        session: &mut BrokerSession,
    ) {
        if send.oneway {
            return;
        }
        let unique_id = property::get(properties, property::UNIQUE_KEY);
        // RocketMQ stores such a batch as one record, and consumers take it apart. Here each message has a record of its own,
        // which consumers do not notice; only its producer hears of one message.
        let inner_batch = send.header.batch && attributes::takes_inner_batches(&send.topic.attributes);
        let batch_unique_id = unique_id.filter(|_| inner_batch);
        let id = &mut session.state.sends.id;
        id.clear();
        id::push_offset_id(id, self.identity.address, first.log_offset);
        for placed in others.iter().filter(|_| batch_unique_id.is_none()) {
            id.push(',');
            id::push_offset_id(id, self.identity.address, placed.log_offset);
        }
        let (queue_id, queue_offset) = match &send.logical {
            None => (send.queue as i32, first.queue_offset as i64),
            Some(logical) => logical.place(first.queue_offset as i64),
        };
        let response = SendMessageResponse {
            message_id: id.as_str().into(),
            queue_id,
            queue_offset,
            transaction_id: unique_id.map(Into::into),
            recall_handle: self.recall_handle(send, properties).map(Into::into),
            batch_unique_id: batch_unique_id.map(Into::into),
        };
        let encode = |out: &mut BytesMut| {
            answer(out, send.request, ResponseCode::Success, None, &response.fields(), b"");
        };
        session.held.push(end, send.request, encode);
    }

    /// By which the client can take a timer message back (`SendMessageProcessor.attachRecallHandle`, 5.5).
    fn recall_handle(&self, send: &Checked<'_>, properties: &[u8]) -> Option<String> {
        let Place::Waiting(Due::At(deliver_at)) = send.place else { return None };
        let handle = RecallHandle {
            topic: send.topic.name.to_string(),
            broker: self.identity.name.to_string(),
            deliver_at,
            unique_key: property::get(properties, property::UNIQUE_KEY)?.to_owned(),
        };
        Some(handle.encode())
    }

    fn refuse(&self, send: &Checked<'_>, refusal: &Refusal, session: &mut BrokerSession) {
        self.metrics.refused.inc();
        self.stats.put_failed();
        if !send.oneway {
            let (code, remark) = (refusal.code, Some(&*refusal.remark));
            answer(session.out.head(), send.request, code, remark, &reply::SEND_FIELDS, b"");
        }
    }

    /// Where a message ends that a consumer could not send back and sends anew: once it was tried too often, or where its
    /// group consumes in order, in the group's dead letters (`SendMessageProcessor.handleRetryAndDLQ`, 5.5).
    fn gives_up(&self, header: &SendMessage<'_>) -> Result<Option<Arc<TopicConfig>>, Refusal> {
        let Some(group) = header.topic.strip_prefix(name::RETRY_PREFIX) else { return Ok(None) };
        let group = GroupName::new(group)?;
        let config = group_of(self.catalog, &group)?;
        let max = header.max_reconsume_times.unwrap_or(config.retry_max_times);
        if header.reconsume_times <= max && !self.progress.has_locks(&group) {
            return Ok(None);
        }
        let topic = TopicName::dead_letters_of(&group);
        ensured(self.catalog, &topic, 1).map(Some)
    }

    /// The topic's settings; it is created on first use where its pattern allows (`msgCheck`, 5.5).
    pub(super) fn topic_of(&self, header: &SendMessage<'_>) -> Result<Arc<TopicConfig>, Refusal> {
        let topic = &*header.topic;
        if is_closed(topic) {
            let remark = format!("Sending message to topic[{topic}] is forbidden.");
            return Err(Refusal::new(ResponseCode::NoPermission, remark));
        }
        if light::is_light(self.settings, topic) {
            // It is there whatever it is called, but not to be sent to (`TopicValidator.validateTopic`, 5.5).
            let name = TopicName::new(topic);
            name.map_err(|error| Refusal::new(ResponseCode::InvalidParameter, error.to_string()))?;
        }
        if let Some(config) = self.catalog.get(topic) {
            return Ok(config);
        }
        let queues = u32::try_from(header.default_topic_queue_nums).unwrap_or(0);
        self.catalog.create_on_send(topic, &header.default_topic, queues).map_err(|error| match error {
            ChangeError::Create(CreateError::Name(error)) => {
                Refusal::new(ResponseCode::InvalidParameter, error.to_string())
            }
            ChangeError::Create(error) => Refusal::new(ResponseCode::TopicNotExist, error.to_string()),
            ChangeError::Stage(error) => not_stored(error),
        })
    }
}

impl LogicalSend {
    /// Where a message for a queue of a static topic is stored; `header` then names the physical queue.
    fn of(mapped: Arc<Mapped>, header: &mut SendMessage<'_>) -> Result<Self, Refusal> {
        let queue = match header.queue_id {
            none if none < 0 => any_queue(&mapped.detail).unwrap_or(none),
            queue => queue,
        };
        header.queue_id = lead(&mapped, queue)?.leader.queue_id;
        Ok(Self { mapped, queue })
    }

    /// Queue and offset as the client sees them; -1 while the offset is not decided.
    fn place(&self, physical: i64) -> (i32, i64) {
        let part = led(&self.mapped.detail, self.queue).map(|led| led.leader);
        (self.queue, part.map_or(-1, |part| part.logical_within(physical)))
    }
}

/// Messages to one topic that are not counted yet: a run of sends to a topic costs one lookup.
#[derive(Default)]
struct Tally<'t> {
    topic: Option<&'t TopicConfig>,
    messages: u64,
    bytes: u64,
}

impl<'t> Tally<'t> {
    fn add(&mut self, stats: &Stats, topic: &'t TopicConfig, messages: u64, bytes: usize) {
        if self.topic.is_some_and(|of| of.name != topic.name) {
            self.tell(stats);
        }
        self.topic = Some(topic);
        self.messages += messages;
        self.bytes += bytes as u64;
    }

    fn tell(&mut self, stats: &Stats) {
        if let Some(topic) = self.topic.take() {
            stats.put(&topic.name, mem::take(&mut self.messages), mem::take(&mut self.bytes));
        }
    }
}

impl Checked<'_> {
    fn record<'r>(
        &'r self,
        peer: SocketAddr,
        body: &'r [u8],
        properties: &'r [u8],
        flag: i32,
    ) -> RecordBody<'r> {
        let (topic, queue) = self.place.of((&self.topic.name, self.queue));
        RecordBody {
            topic,
            queue,
            flag,
            system_flag: self.system_flag(),
            born: self.header.born_timestamp,
            born_host: peer,
            reconsume_times: self.header.reconsume_times,
            prepared_offset: 0,
            body,
            properties,
            dispatched: self.dispatched,
        }
    }

    /// A half message is stored as if it belonged to no transaction.
    fn system_flag(&self) -> i32 {
        match self.place {
            Place::Half => self.header.sys_flag & !record::flag::TRANSACTION,
            Place::Own | Place::Waiting(_) => self.header.sys_flag,
        }
    }
}

/// Stages the messages of a batch, all or none: the first's place and those of the others.
fn stage_batch(
    send: &Checked<'_>,
    peer: SocketAddr,
    staging: &mut Staging<'_>,
) -> Result<(Placed, Vec<Placed>), Refusal> {
    let illegal = |remark: String| Refusal::new(ResponseCode::MessageIllegal, remark);
    let topic = &*send.topic.name;
    if topic.starts_with(name::RETRY_PREFIX) || topic.starts_with(name::DEAD_LETTER_PREFIX) {
        return Err(illegal(format!("batch request does not support retry group {topic}")));
    }
    let mut records = Vec::new();
    for message in batch::messages(send.body) {
        let message = message.map_err(|error| illegal(error.to_string()))?;
        if records.len() == BATCH_MAX {
            return Err(illegal(format!("the batch has more than {BATCH_MAX} messages")));
        }
        records.push(send.record(peer, message.body, message.properties, message.flag));
    }
    if records.is_empty() {
        return Err(illegal("the batch has no messages".to_owned()));
    }
    let mut placed = Vec::with_capacity(records.len());
    staging.append_group(&records, &mut placed).map_err(not_stored)?;
    let first = placed.remove(0);
    Ok((first, placed))
}

/// The queue: the one asked for, or any for a negative number.
pub(super) fn queue_of(header: &SendMessage<'_>, topic: &TopicConfig) -> Result<QueueId, Refusal> {
    match u32::try_from(header.queue_id) {
        Err(_) if topic.write_queues > 0 => Ok(catalog::next_queue(topic)),
        Err(_) => Err(Refusal::new(ResponseCode::InvalidParameter, "the topic has no queues to write")),
        Ok(queue) if queue < topic.queues() => Ok(queue),
        Ok(queue) => {
            let remark =
                format!("request queueId[{queue}] is illegal, the topic has {} queues", topic.queues());
            Err(Refusal::new(ResponseCode::InvalidParameter, remark))
        }
    }
}

/// Topics that no client may send to (`TopicValidator.NOT_ALLOWED_SEND_TOPIC_SET`, 5.5, and Halley's own).
fn is_closed(topic: &str) -> bool {
    const CLOSED: [&str; 6] = [
        "SCHEDULE_TOPIC_XXXX",
        "RMQ_SYS_TRANS_HALF_TOPIC",
        "RMQ_SYS_TRANS_OP_HALF_TOPIC",
        "TRANS_CHECK_MAX_TIME_TOPIC",
        "SELF_TEST_TOPIC",
        "OFFSET_MOVED_EVENT",
    ];
    CLOSED.contains(&topic) || topic.starts_with("rmq_sys_")
}

/// The settings of a group that a message is sent back for (`SendMessageProcessor.handleRetryAndDLQ`, 5.5).
pub(super) fn group_of(catalog: &Catalog, group: &GroupName) -> Result<Arc<GroupConfig>, Refusal> {
    catalog.ensure_group(group).map_err(not_stored)?.ok_or_else(|| {
        let remark = format!("subscription group not exist, {group}");
        Refusal::new(ResponseCode::SubscriptionGroupNotExist, remark)
    })
}

/// The settings of a topic of the broker's own making, which is created where it does not exist.
pub(super) fn ensured(
    catalog: &Catalog,
    topic: &TopicName,
    queues: u32,
) -> Result<Arc<TopicConfig>, Refusal> {
    catalog.ensure(topic, queues).map_err(|error| match error {
        ChangeError::Create(error) => Refusal::new(ResponseCode::SystemError, error.to_string()),
        ChangeError::Stage(error) => not_stored(error),
    })?;
    let gone = || Refusal::new(ResponseCode::SystemError, format!("topic[{topic}] not exist"));
    catalog.get(topic).ok_or_else(gone)
}
