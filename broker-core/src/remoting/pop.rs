//! Popping messages and acknowledging them: requests 200050 to 200055 and 200151, with long polling.

mod acks;
mod lite;
mod waiting;

pub(super) use acks::Acks;
pub(super) use waiting::{Parked, is_pop};

use super::BrokerSession;
use crate::{
    answers::{Refusal, SYSTEM_BUSY, answer, not_stored, refuse, request_of},
    catalog::Catalog,
    clock,
    cold::{Busy, ColdReads, Ticket},
    held::RequestId,
    lite::LiteTopics,
    metrics::BrokerMetrics,
    pop::{
        polling::{ANY_QUEUE, Kind, Place, PollingFull},
        take::{self, Cold, Init, Pop, Popper, RetryTopics, Taken},
    },
    queues::{Ask, Queues, Source},
    settings::{Flag, Settings},
};
use bytes::{Bytes, BytesMut};
use halley_filter::Expression;
use halley_machine::{
    pop::{RECORDS_MAX, plan},
    pull::{Answer, BYTES_MAX},
};
use halley_model::{GroupName, Millis, QueueId, TopicConfig, TopicName, name::NameError};
use halley_store::disk::RealDisk;
use halley_wire::{
    Frame, ResponseCode,
    encode::ExtField,
    encode_reply_head,
    reply::{NotificationResponse, PollingInfoResponse, PopMessageResponse},
    request::{self, PopMessage, pop::init_mode},
};
use std::{mem, sync::Arc, time::Duration};
use tokio::time::Instant;
use waiting::{Request, Waiting};

/// Longest wait for messages, whatever the client asks for.
const POLL_MAX: Duration = Duration::from_secs(60);

/// A request that arrives so late after the client's patience is answered at once (`isTimeoutTooMuch`, 5.5).
const LATE_MAX: Millis = 500;

/// A waiting request is answered so long before the client's patience ends (`PopRequest.isTimeout`, 5.5).
const ANSWER_BEFORE: Millis = 50;

/// A pop that reads from disk gives up after so many looks that found nothing; the client asks again.
const COLD_LOOKS_MAX: usize = 64;

/// A notification with an expression looks at so many messages (`NotificationProcessor.hasMsgFromQueue`, 5.5), if fewer than
/// [`FILTER_BELOW`] are left (`maxMessageFilterNumForNotification`, 5.5); else it takes it that one will match.
const NOTIFICATION_SCAN: usize = 32;

const FILTER_BELOW: u64 = 64;

/// Revive queues that handles name (`reviveQueueNum`, 5.5); Halley has none, and uses nothing of them.
const REVIVE_QUEUES: u64 = 8;

/// The remark of replies to which RocketMQ sets none (`RemotingCommand.createResponseCommand`, 5.5).
const NO_REMARK: &str = "not set any response code";

/// What pops use.
pub(super) struct PopRequests<'a> {
    pub(super) queues: &'a Queues<RealDisk>,
    pub(super) cold: &'a ColdReads,
    pub(super) catalog: &'a Catalog,
    pub(super) popper: &'a Popper,
    pub(super) settings: &'a Settings,
    pub(super) metrics: &'a Arc<BrokerMetrics>,
    pub(super) lite: &'a Arc<LiteTopics>,
}

/// Who asks for what, checked.
struct Asked {
    group: GroupName,
    topic: Arc<TopicConfig>,
    retry_topics: RetryTopics,
    /// All where `None`.
    queue: Option<QueueId>,
}

impl PopRequests<'_> {
    /// 200050.
    pub(super) fn pop(&self, frame: &Frame<'_>, session: &mut BrokerSession) -> Result<(), Refusal> {
        let header = PopMessage::decode(&frame.ext)?;
        let zeros = PopMessageResponse::default();
        match self.check_pop(&header, session) {
            Ok((pop, until)) => {
                let waiting = Waiting::new(request_of(frame), Request::Pop(Box::new(pop)), until);
                self.answer_pop(waiting, true, session);
            }
            Err(refusal) => refuse(frame, session, &refusal, &zeros.fields()),
        }
        Ok(())
    }

    /// 200054.
    pub(super) fn notification(&self, frame: &Frame<'_>, session: &mut BrokerSession) -> Result<(), Refusal> {
        let header = request::Notification::decode(&frame.ext)?;
        match self.check_notification(&header, session) {
            Ok((pop, until)) => {
                let waiting = Waiting::new(request_of(frame), Request::Notification(Box::new(pop)), until);
                self.answer_notification(waiting, true, session);
            }
            Err(refusal) => refuse(frame, session, &refusal, &NotificationResponse::default().fields()),
        }
        Ok(())
    }

    /// 200055.
    pub(super) fn polling_info(&self, frame: &Frame<'_>, session: &mut BrokerSession) -> Result<(), Refusal> {
        let header = request::PollingInfo::decode(&frame.ext)?;
        let checked = self.check(&header.consumer_group, &header.topic, header.queue_id, session);
        if let Err(refusal) = checked {
            refuse(frame, session, &refusal, &PollingInfoResponse::default().fields());
            return Ok(());
        }
        let place = Place {
            kind: Kind::Pop,
            group: &header.consumer_group,
            topic: &header.topic,
            queue: header.queue_id.max(ANY_QUEUE),
        };
        let polling_num = self.queues.arrivals.polling.waiting(place) as i32;
        let response = PollingInfoResponse { polling_num };
        succeed_unremarked(request_of(frame), frame.is_oneway(), session, &response.fields());
        Ok(())
    }

    /// 200052. What it finds may have to be read from disk: it leaves the connection's thread.
    pub(super) fn peek(&self, frame: &Frame<'_>, session: &mut BrokerSession) -> Result<(), Refusal> {
        let header = request::PeekMessage::decode(&frame.ext)?;
        let asked = match self.check(&header.consumer_group, &header.topic, header.queue_id, session) {
            Ok(asked) => asked,
            Err(refusal) => {
                refuse(frame, session, &refusal, &PopMessageResponse::default().fields());
                return Ok(());
            }
        };
        let records_max = usize::try_from(header.max_msg_nums).unwrap_or(0);
        let (popper, outbox, request) = (self.popper.clone(), session.info.outbox.clone(), request_of(frame));
        let number = session.state.pops.number();
        self.on_disk(request, session, move |ticket| {
            let (runs, rest_num) = peek(&popper, &asked, number, records_max);
            let header = PopMessageResponse { rest_num, ..PopMessageResponse::default() };
            let (code, remark) = match runs.is_empty() {
                true => (ResponseCode::PullNotFound, "NO_MESSAGE_IN_QUEUE"),
                false => (ResponseCode::Success, "FOUND"),
            };
            outbox.send(reply(request, code, remark, &header.fields(), held(runs, ticket)));
        });
        Ok(())
    }

    /// Has `read` done on a thread that may block, or refuses.
    fn on_disk(
        &self,
        request: RequestId,
        session: &mut BrokerSession,
        read: impl FnOnce(&mut Ticket) + Send + 'static,
    ) {
        if let Err(Busy) = self.cold.read(&session.state.lane, read) {
            answer(session.out.head(), request, ResponseCode::SystemBusy, Some(SYSTEM_BUSY), &[], b"");
        }
    }

    /// Messages may have come for a waiting request.
    pub(super) fn woken(&self, token: u64, session: &mut BrokerSession) {
        if let Some(waiting) = session.state.pops.remove(token) {
            // Polling has forgotten it, unless it woke itself.
            self.forget(&waiting, token);
            self.resume(waiting, true, session);
        }
    }

    /// Answers waiting requests whose time is over.
    pub(super) fn expire(&self, now: Instant, session: &mut BrokerSession) {
        while let Some((token, waiting)) = session.state.pops.take_expired(now) {
            self.forget(&waiting, token);
            self.resume(waiting, false, session);
        }
    }

    /// The connection ends: nobody need be woken for it.
    pub(super) fn forget_all(&self, session: &mut BrokerSession) {
        for (token, waiting) in session.state.pops.take_all() {
            self.forget(&waiting, token);
        }
    }

    fn resume(&self, waiting: Waiting, may_park: bool, session: &mut BrokerSession) {
        match waiting.request {
            Request::Pop(_) => self.answer_pop(waiting, may_park, session),
            Request::Notification(_) => self.answer_notification(waiting, may_park, session),
            Request::Lite(_) => self.answer_lite(waiting, may_park, session),
        }
    }

    fn forget(&self, waiting: &Waiting, token: u64) {
        self.queues.arrivals.polling.forget(waiting.place(), waiting.until, token);
    }

    /// Answers from memory, waits, or hands over to a thread that may read from disk.
    fn answer_pop(&self, waiting: Waiting, may_park: bool, session: &mut BrokerSession) {
        let Request::Pop(pop) = &waiting.request else { return };
        let number = session.state.pops.number();
        let revive_queue = session.state.pops.revive_queue();
        match self.popper.take(pop, number, revive_queue, Source::Memory) {
            Ok(mut taken) if taken.records > 0 => {
                self.metrics.popped.inc_by(taken.records as u64);
                take::pass_on(&self.queues.arrivals.polling, pop, &taken);
                let runs = mem::take(&mut taken.runs);
                let header = response_of(pop, &taken);
                let parts = reply(waiting.id, ResponseCode::Success, "FOUND", &header.fields(), runs);
                session.out.parts(parts);
            }
            Ok(taken) => {
                let parked =
                    if may_park && !taken.failed { self.park(waiting.clone(), session) } else { Ok(false) };
                let code = match parked {
                    Ok(true) => return,
                    Ok(false) => ResponseCode::PollingTimeout,
                    Err(PollingFull) => ResponseCode::PollingFull,
                };
                let header = response_of(pop, &taken);
                let remark = Some("NO_MESSAGE_IN_QUEUE");
                answer(session.out.head(), waiting.id, code, remark, &header.fields(), b"");
            }
            Err(Cold) => self.pop_from_disk(&waiting, number, revive_queue, session),
        }
    }

    /// Waits for messages; `false` where the time is over.
    fn park(&self, waiting: Waiting, session: &mut BrokerSession) -> Result<bool, PollingFull> {
        if waiting.until <= Instant::now() {
            return Ok(false);
        }
        let outbox = session.info.outbox.clone();
        let token = session.state.pops.park(waiting.clone())?;
        let retry_topics = waiting.pop().map(|pop| [&pop.retry_topics.v1, &pop.retry_topics.v2]);
        let polling = &self.queues.arrivals.polling;
        if let Err(full) = polling.wait(waiting.place(), retry_topics, waiting.until, &outbox, token) {
            session.state.pops.remove(token);
            return Err(full);
        }
        // Messages may have come between the look and the registration.
        let ready = match &waiting.request {
            Request::Pop(pop) => self.popper.is_ready(pop),
            Request::Notification(pop) => self.has_messages(pop),
            Request::Lite(pop) => self.lite.look(|lite| lite.has_events(&pop.client)),
        };
        if ready {
            outbox.wake_parked(token);
        }
        Ok(true)
    }

    fn pop_from_disk(&self, waiting: &Waiting, number: u32, revive_queue: i32, session: &mut BrokerSession) {
        self.metrics.cold_pulls.inc();
        let (popper, outbox, metrics) =
            (self.popper.clone(), session.info.outbox.clone(), self.metrics.clone());
        let Request::Pop(pop) = &waiting.request else { return };
        let (pop, id) = (pop.clone(), waiting.id);
        self.on_disk(id, session, move |ticket| {
            let mut taken = Taken::default();
            for _ in 0..COLD_LOOKS_MAX {
                taken = match popper.take(&pop, number, revive_queue, Source::Disk) {
                    Ok(taken) => taken,
                    Err(cold) => unreachable!("a look with the disk never ends with {cold:?}"),
                };
                if taken.records > 0 || taken.left.is_none() {
                    break;
                }
            }
            let runs = mem::take(&mut taken.runs);
            let header = response_of(&pop, &taken);
            let (code, remark) = match taken.records {
                // The client asks again, and then waits.
                0 => (ResponseCode::PollingTimeout, "NO_MESSAGE_IN_QUEUE"),
                _ => (ResponseCode::Success, "FOUND"),
            };
            metrics.popped.inc_by(taken.records as u64);
            take::pass_on(&popper.queues.arrivals.polling, &pop, &taken);
            outbox.send(reply(id, code, remark, &header.fields(), held(runs, ticket)));
        });
    }

    fn answer_notification(&self, waiting: Waiting, may_park: bool, session: &mut BrokerSession) {
        let Request::Notification(pop) = &waiting.request else { return };
        let mut response = NotificationResponse { has_msg: self.has_messages(pop), polling_full: false };
        if !response.has_msg && may_park {
            match self.park(waiting.clone(), session) {
                Ok(true) => return,
                Ok(false) => {}
                Err(PollingFull) => response.polling_full = true,
            }
        }
        succeed_unremarked(waiting.id, false, session, &response.fields());
    }

    /// Whether there is something to pop (`NotificationProcessor.hasMsgFromQueue`).
    fn has_messages(&self, pop: &Pop) -> bool {
        let queues = match pop.queue {
            Some(queue) => queue..queue + 1,
            None => 0..pop.topic.read_queues,
        };
        let filter = pop.filter.as_deref();
        let retried = |topic: &TopicName, queue| self.queue_has_messages(pop, topic, queue, None);
        queues.into_iter().any(|queue| self.queue_has_messages(pop, &pop.topic.name, queue, filter))
            || self.popper.any_retry(&pop.retry_topics, retried)
    }

    fn queue_has_messages(
        &self,
        pop: &Pop,
        topic: &TopicName,
        queue: QueueId,
        filter: Option<&Expression>,
    ) -> bool {
        let (min, max) = self.queues.bounds(topic, queue);
        let next = match self.popper.pops.known(&pop.group, topic, queue) {
            None => min,
            Some(slot) => {
                let machine = self.popper.pops.peek(&slot);
                if pop.ordered && machine.is_blocked(clock::now(), pop.attempt.as_deref()) {
                    return false;
                }
                machine.next()
            }
        };
        let rest = max.saturating_sub(next);
        let Some(filter) = filter.filter(|_| rest > 0 && rest < FILTER_BELOW) else { return rest > 0 };
        let mut entries = Vec::new();
        let looked_up = self.queues.reader.lookup(topic, queue, next, NOTIFICATION_SCAN, &mut entries);
        looked_up.is_err() || entries.iter().any(|entry| filter.may_match_tag(entry.tag))
    }

    fn check_pop(
        &self,
        header: &PopMessage<'_>,
        session: &mut BrokerSession,
    ) -> Result<(Pop, Instant), Refusal> {
        let now = clock::now();
        let born = if header.born_time == 0 { now } else { header.born_time };
        if now.saturating_sub(born).saturating_sub(header.poll_time) > LATE_MAX {
            let remark = format!("the broker[{}] pop message is timeout too much", self.settings.address());
            return Err(Refusal::new(ResponseCode::PollingTimeout, remark));
        }
        if !self.settings.permission().readable() {
            let remark = format!("the broker[{}] pop message is forbidden", self.settings.address());
            return Err(Refusal::new(ResponseCode::NoPermission, remark));
        }
        if header.max_msg_nums > RECORDS_MAX as i32 {
            let remark =
                format!("the broker[{}] pop message's num is greater than 32", self.settings.address());
            return Err(Refusal::new(ResponseCode::InvalidParameter, remark));
        }
        let asked = self.check(&header.consumer_group, &header.topic, header.queue_id, session)?;
        let pop = Pop {
            group: asked.group,
            topic: asked.topic,
            retry_topics: asked.retry_topics,
            queue: asked.queue,
            records_max: usize::try_from(header.max_msg_nums).unwrap_or(0),
            invisible: header.invisible_time,
            init: if header.init_mode == init_mode::MIN { Init::Min } else { Init::Max },
            filter: filter_of(header.exp_type.as_deref(), header.exp.as_deref(), session)?,
            ordered: header.order,
            attempt: header.attempt_id.as_deref().map(Box::from),
        };
        Ok((pop, until(now, born, header.poll_time)))
    }

    fn check_notification(
        &self,
        header: &request::Notification<'_>,
        session: &mut BrokerSession,
    ) -> Result<(Pop, Instant), Refusal> {
        let now = clock::now();
        let born = if header.born_time == 0 { now } else { header.born_time };
        let asked = self.check(&header.consumer_group, &header.topic, header.queue_id, session)?;
        // Without a language there is no expression (`NotificationProcessor`).
        let kind = header.exp_type.as_deref().filter(|kind| !kind.is_empty());
        let filter = match kind {
            Some(kind) => filter_of(Some(kind), header.exp.as_deref(), session)?,
            None => None,
        };
        let pop = Pop {
            group: asked.group,
            topic: asked.topic,
            retry_topics: asked.retry_topics,
            queue: asked.queue,
            records_max: 0,
            invisible: 0,
            init: Init::Min,
            filter,
            ordered: header.order,
            attempt: header.attempt_id.as_deref().map(Box::from),
        };
        Ok((pop, until(now, born, header.poll_time)))
    }

    fn check(&self, group: &str, topic: &str, queue: i32, session: &BrokerSession) -> Result<Asked, Refusal> {
        let group = GroupName::new(group)?;
        if !self.settings.permission().readable() {
            let remark = format!("the broker[{}] peeking message is forbidden", self.settings.address());
            return Err(Refusal::new(ResponseCode::NoPermission, remark));
        }
        let Some(topic) = self.catalog.get(topic) else { return Err(no_topic(topic)) };
        if !topic.permission.readable() {
            let remark = format!("the topic[{}] peeking message is forbidden", topic.name);
            return Err(Refusal::new(ResponseCode::NoPermission, remark));
        }
        if queue >= topic.read_queues as i32 {
            return Err(Refusal::new(ResponseCode::InvalidParameter, illegal_queue(queue, &topic, session)));
        }
        let config = self.catalog.ensure_group(&group).map_err(not_stored)?;
        let Some(config) = config else {
            let remark = format!("subscription group [{group}] does not exist");
            return Err(Refusal::new(ResponseCode::SubscriptionGroupNotExist, remark));
        };
        if !config.consume_enable {
            let remark = format!("subscription group no permission, {group}");
            return Err(Refusal::new(ResponseCode::NoPermission, remark));
        }
        // A group or topic whose names are too long for a retry topic could never try again.
        let too_long = |error: NameError| Refusal::new(ResponseCode::InvalidParameter, error.to_string());
        let retry_topics = RetryTopics {
            v1: TopicName::pop_retry_of(&group, &topic.name).map_err(too_long)?,
            v2: TopicName::pop_retry_v2_of(&group, &topic.name).map_err(too_long)?,
        };
        Ok(Asked { group, topic, retry_topics, queue: QueueId::try_from(queue).ok() })
    }
}

fn no_topic(topic: &str) -> Refusal {
    Refusal::new(ResponseCode::TopicNotExist, format!("topic[{topic}] not exist, apply first please!"))
}

fn illegal_queue(queue: i32, topic: &TopicConfig, session: &BrokerSession) -> String {
    format!(
        "queueId[{queue}] is illegal, topic:[{}] topicConfig.readQueueNums:[{}] consumer:[/{}]",
        topic.name, topic.read_queues, session.info.peer
    )
}

/// The compiled expression, `None` where everything matches.
fn filter_of(
    kind: Option<&str>,
    text: Option<&str>,
    session: &mut BrokerSession,
) -> Result<Option<Arc<Expression>>, Refusal> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    match session.state.filters.get(kind, text) {
        Some(filter) => Ok(Some(filter).filter(|filter| !filter.matches_all())),
        None => {
            let remark = "parse the consumer's subscription failed";
            Err(Refusal::new(ResponseCode::SubscriptionParseFailed, remark))
        }
    }
}

/// When a waiting request is answered at last.
fn until(now: Millis, born: Millis, poll: Millis) -> Instant {
    let left = born.saturating_add(poll).saturating_sub(ANSWER_BEFORE).saturating_sub(now);
    let left = if poll > 0 { u64::try_from(left).unwrap_or(0) } else { 0 };
    Instant::now() + Duration::from_millis(left).min(POLL_MAX)
}

fn response_of<'a>(pop: &Pop, taken: &'a Taken) -> PopMessageResponse<'a> {
    PopMessageResponse {
        pop_time: taken.popped,
        invisible_time: pop.invisible,
        revive_queue_id: taken.revive_queue,
        rest_num: taken.rest,
        start_offset_info: Some(taken.info.start.as_str().into()),
        msg_offset_info: Some(taken.info.messages.as_str().into()),
        order_count_info: pop.ordered.then(|| taken.info.order_counts.as_str().into()),
    }
}

/// The parts of a reply.
fn reply(
    id: RequestId,
    code: ResponseCode,
    remark: &str,
    fields: &[ExtField<'_>],
    runs: Vec<Bytes>,
) -> impl Iterator<Item = Bytes> + use<> {
    let mut head = BytesMut::with_capacity(512);
    let body_len = runs.iter().map(Bytes::len).sum();
    let written = encode_reply_head(&mut head, id.serialize, code, id.opaque, Some(remark), fields, body_len);
    let runs = match written {
        Ok(()) => runs,
        Err(error) => {
            // Several large messages; they are given out again when their time is over.
            answer(&mut head, id, ResponseCode::SystemError, Some(&error.to_string()), &[], b"");
            Vec::new()
        }
    };
    std::iter::once(head.freeze()).chain(runs)
}

/// Success, with [`NO_REMARK`].
fn succeed_unremarked(id: RequestId, oneway: bool, session: &mut BrokerSession, fields: &[ExtField<'_>]) {
    if !oneway {
        answer(session.out.head(), id, ResponseCode::Success, Some(NO_REMARK), fields, b"");
    }
}

/// What was read, held against the connection until it is written.
fn held(runs: Vec<Bytes>, ticket: &mut Ticket) -> Vec<Bytes> {
    runs.into_iter().map(|run| ticket.hold(run)).collect()
}

/// An error, with the header that RocketMQ's reply has all the same.
/// What would be popped next, without an expression, and how much is left (`PeekMessageProcessor.peekMsgFromQueue`).
fn peek(popper: &Popper, asked: &Asked, number: u32, records_max: usize) -> (Vec<Bytes>, i64) {
    // The second form only, where it is in use.
    let v2 = popper.settings.is(Flag::RetryTopicV2);
    let retry_topic = if v2 { &asked.retry_topics.v2 } else { &asked.retry_topics.v1 };
    let retry_queues = popper.catalog.get(retry_topic).map_or(0, |topic| topic.read_queues);
    let wanted =
        plan::Wanted { queue: asked.queue, ordered: false, queues: asked.topic.read_queues, retry_queues };
    let (mut runs, mut records, mut rest) = (Vec::new(), 0, 0);
    let order = plan::Order { retry_first: number.is_multiple_of(5), turn: number, descending: false };
    for stop in plan::stops(order, wanted) {
        let topic = if stop.retry { retry_topic } else { &asked.topic.name };
        let (min, max) = popper.queues.bounds(topic, stop.queue);
        let known = popper.pops.known(&asked.group, topic, stop.queue);
        let next = known.map_or(min, |slot| popper.pops.peek(&slot).next());
        rest += max.saturating_sub(next) as i64;
        if records >= records_max {
            continue;
        }
        let ask = Ask {
            topic: topic.to_arc(),
            queue: stop.queue,
            offset: next.max(min).min(max),
            records_max: records_max - records,
            bytes_max: BYTES_MAX,
            filter: None,
        };
        match popper.queues.look(&ask, Source::Disk) {
            Ok(Ok(found)) if found.answer == Answer::Found => {
                records += found.records;
                runs.extend(found.runs);
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(topic = &**topic, queue = stop.queue, %error, "a peek could not read")
            }
        }
    }
    (runs, rest)
}
