//! Pulling messages: requests 11 and 361, with long polling.

use super::{
    BrokerSession,
    static_topics::{LogicalPull, Place, StaticTopics},
};
use crate::{
    answers::{Forbidden, Refusal, SYSTEM_BUSY, answer, not_stored, request_of},
    arrivals::Waiter,
    catalog::Catalog,
    cold::{Busy, ColdReads},
    held::RequestId,
    members::Members,
    metrics::BrokerMetrics,
    progress::Progress,
    queues::{Ask, Cold, Found, Queues, Source},
    settings::Settings,
    stats::{Gets, Stats},
};
use bytes::{Bytes, BytesMut};
use halley_filter::Expression;
use halley_machine::{
    lite,
    offsets::Committed,
    pull::{Answer, BYTES_MAX},
    queue_mappings::Pulled,
};
use halley_model::{GroupConfig, GroupName, QueueId, TopicConfig, TopicName};
use halley_store::disk::RealDisk;
use halley_wire::{
    Frame, ResponseCode, encode_reply_head,
    reply::PullMessageResponse,
    request::{PullMessage, pull::flag},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;

/// Most pulls parked on one connection; more are answered at once, as if there were no long polling.
const PARKED_MAX: usize = 65_536;

/// Longest wait for records, whatever the client asks for.
const SUSPEND_MAX: Duration = Duration::from_secs(60);

/// Expressions that pulls brought along, remembered per connection.
const FILTERS_MAX: usize = 64;

/// What pulls use.
pub(super) struct Pulls<'a> {
    pub(super) queues: &'a Queues<RealDisk>,
    pub(super) cold: &'a ColdReads,
    pub(super) catalog: &'a Catalog,
    pub(super) members: &'a Members,
    pub(super) progress: &'a Progress,
    pub(super) metrics: &'a BrokerMetrics,
    pub(super) stats: &'a Arc<Stats>,
    pub(super) settings: &'a Settings,
    pub(super) static_topics: StaticTopics<'a>,
}

/// Pulls of one connection that wait for records.
#[derive(Default)]
pub(super) struct Parked {
    pulls: BTreeMap<u64, ParkedPull>,
    deadlines: BTreeSet<(Instant, u64)>,
    next_token: u64,
}

#[derive(Clone)]
struct ParkedPull {
    request: RequestId,
    ask: Ask,
    group: Arc<GroupConfig>,
    /// Counts what the group is sent of the topic, and knows how far it has pulled.
    gets: Arc<Gets>,
    system_flag: i32,
    until: Instant,
    /// Of a static topic.
    logical: Option<LogicalPull>,
}

/// Compiled expressions by type and text.
#[derive(Debug, Default)]
pub(super) struct FilterCache(Vec<(Option<String>, String, Arc<Expression>)>);

impl Parked {
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(until, _)| *until)
    }

    fn remove(&mut self, token: u64) -> Option<ParkedPull> {
        let pull = self.pulls.remove(&token)?;
        self.deadlines.remove(&(pull.until, token));
        Some(pull)
    }
}

impl Pulls<'_> {
    pub(super) fn pull(&self, frame: &Frame<'_>, session: &mut BrokerSession) -> Result<(), Refusal> {
        let mut header = PullMessage::decode(&frame.ext)?;
        let group = self.group_of(&header)?;
        let topic = self.topic_of(&header)?;
        let mut logical = None;
        let mut commit = (header.queue_id, header.commit_offset);
        if let Some(mapped) = self.catalog.mapped(frame, &header.topic) {
            commit = match self.static_topics.place(&mapped, header.queue_id, header.commit_offset) {
                Ok(Place::Here(queue, offset)) => (queue as i32, offset),
                // Clients commit with requests of their own, too; those are passed on.
                Ok(Place::There(..)) | Err(_) => (-1, -1),
            };
            logical = self.static_topics.pull(&mut header, &mapped, frame, session)?;
            if logical.is_none() {
                return Ok(());
            }
        }
        let queue = queue_of(&header, &topic, session.info.peer)?;
        let filter = self.filter_of(&header, &group, session)?;
        let most = self.settings.pull_records_max();
        let records_max = usize::try_from(header.max_msg_nums).unwrap_or(0).clamp(1, most);
        let bytes_max = header.max_msg_bytes.and_then(|bytes| usize::try_from(bytes).ok());
        self.commit(&header, &topic.name, commit)?;
        let request = request_of(frame);
        // A lite topic's messages are in its light queue.
        let lite_queue = header.lite_topic.as_deref().and_then(|lite| lite::queue_of(&topic.name, lite));
        let stored_in = lite_queue.as_deref().unwrap_or(&topic.name);
        // In a compaction topic, what lies before all is read from the first message on.
        let first = (header.queue_offset < 0 && self.queues.compactions.is_one(stored_in)).then_some(0);
        let Some(offset) = first.or(u64::try_from(header.queue_offset).ok()) else {
            let found = self.queues.before_all(stored_in, queue);
            let flags = (topic.system_flag, group.system_flag);
            let outcome = outcome_of(logical.as_ref(), &found);
            write_found(session.out.head(), request, flags, outcome, &found);
            return Ok(());
        };
        let pull = ParkedPull {
            request,
            ask: Ask {
                topic: stored_in.into(),
                queue,
                offset,
                records_max,
                bytes_max: bytes_max.map_or(BYTES_MAX, |bytes| bytes.clamp(1, BYTES_MAX)),
                filter: filter.filter(|filter| !filter.matches_all()),
            },
            gets: self.stats.gets_of(&topic.name, &group.name),
            group,
            system_flag: topic.system_flag,
            until: Instant::now() + self.suspend_of(&header),
            logical,
        };
        self.answer(pull, header.has(flag::SUSPEND), session);
        Ok(())
    }

    /// Records arrived for a parked pull.
    pub(super) fn woken(&self, token: u64, session: &mut BrokerSession) {
        if let Some(pull) = session.state.parked.remove(token) {
            self.answer(pull, true, session);
        }
    }

    /// Answers parked pulls whose time is over.
    pub(super) fn expire(&self, now: Instant, session: &mut BrokerSession) {
        while let Some(&(until, token)) = session.state.parked.deadlines.first()
            && until <= now
        {
            let Some(pull) = session.state.parked.remove(token) else { continue };
            self.queues.arrivals.forget(&pull.ask.topic, pull.ask.queue, &session.info.outbox, token);
            self.answer(pull, false, session);
        }
    }

    /// The connection ends: nobody need be woken for it.
    pub(super) fn forget_all(&self, session: &mut BrokerSession) {
        for (token, pull) in std::mem::take(&mut session.state.parked.pulls) {
            self.queues.arrivals.forget(&pull.ask.topic, pull.ask.queue, &session.info.outbox, token);
        }
    }

    /// Answers from memory, parks, or hands over to a thread that may read from disk.
    fn answer(&self, pull: ParkedPull, may_park: bool, session: &mut BrokerSession) {
        if let Some(moved) = pull.logical.as_ref().filter(|logical| !logical.is_current()) {
            let (min, max) = self.queues.bounds(&pull.ask.topic, pull.ask.queue);
            let found = Found::nothing(Answer::RetryImmediately, "STATIC_QUEUE_MOVED", 0, (min, max));
            write_found(session.out.head(), pull.request, pull.flags(), moved.again(min, max), &found);
            return;
        }
        if let Some(reset) = self.reset_of(&pull) {
            let outcome = outcome_of(pull.logical.as_ref(), &reset);
            write_found(session.out.head(), pull.request, pull.flags(), outcome, &reset);
            return;
        }
        match self.queues.look(&pull.ask, Source::Memory) {
            Ok(Ok(found)) => {
                pull.gets.pulled(&pull.ask.topic, pull.ask.queue, found.next);
                let outcome = outcome_of(pull.logical.as_ref(), &found);
                if outcome.0.answer == Answer::NotFound && may_park && self.park(&pull, session) {
                    return;
                }
                self.metrics.pulled.inc_by(found.records as u64);
                pull.count(self.stats, &found);
                write_found(session.out.head(), pull.request, pull.flags(), outcome, &found);
                for run in found.runs {
                    session.out.body(run);
                }
            }
            Ok(Err(Cold)) => self.answer_from_disk(pull, session),
            Err(error) => {
                let remark = error.to_string();
                answer(session.out.head(), pull.request, ResponseCode::SystemError, Some(&remark), &[], b"");
            }
        }
    }

    /// Waits for records; `false` where the pull cannot wait and must be answered now.
    fn park(&self, pull: &ParkedPull, session: &mut BrokerSession) -> bool {
        let parked = &mut session.state.parked;
        if pull.until <= Instant::now() || parked.pulls.len() >= PARKED_MAX {
            return false;
        }
        let token = parked.next_token;
        parked.next_token += 1;
        let outbox = &session.info.outbox;
        self.queues.arrivals.wait(&pull.ask.topic, pull.ask.queue, Waiter::Parked(outbox.clone(), token));
        parked.deadlines.insert((pull.until, token));
        parked.pulls.insert(token, pull.clone());
        // Records may have come between the look and the registration, or a static topic's queue may have moved.
        if self.queues.bounds(&pull.ask.topic, pull.ask.queue).1 > pull.ask.offset
            || pull.logical.as_ref().is_some_and(|logical| !logical.is_current())
        {
            outbox.wake_parked(token);
        }
        true
    }

    fn answer_from_disk(&self, pull: ParkedPull, session: &mut BrokerSession) {
        self.metrics.cold_pulls.inc();
        let request = pull.request;
        let (queues, outbox, pulled, stats) = (
            self.queues.clone(),
            session.info.outbox.clone(),
            self.metrics.pulled.clone(),
            self.stats.clone(),
        );
        let read = self.cold.read(&session.state.lane, move |ticket| {
            let mut head = BytesMut::with_capacity(256);
            let runs = match queues.look(&pull.ask, Source::Disk) {
                Ok(Ok(found)) => {
                    pull.gets.pulled(&pull.ask.topic, pull.ask.queue, found.next);
                    pulled.inc_by(found.records as u64);
                    pull.count(&stats, &found);
                    let outcome = outcome_of(pull.logical.as_ref(), &found);
                    write_found(&mut head, pull.request, pull.flags(), outcome, &found);
                    found.runs
                }
                Ok(Err(cold)) => unreachable!("a look with the disk never ends with {cold:?}"),
                Err(error) => {
                    let remark = error.to_string();
                    answer(&mut head, pull.request, ResponseCode::SystemError, Some(&remark), &[], b"");
                    Vec::new()
                }
            };
            outbox.send(std::iter::once(head.freeze()).chain(runs.into_iter().map(|run| ticket.hold(run))));
        });
        if let Err(Busy) = read {
            let code = ResponseCode::SystemBusy;
            answer(session.out.head(), request, code, Some(SYSTEM_BUSY), &[], b"");
        }
    }

    /// Where an administrator set the group, which its client hears now (`PullMessageProcessor`, OFFSET_RESET, 5.5).
    fn reset_of(&self, pull: &ParkedPull) -> Option<Found> {
        let Ask { topic, queue, .. } = &pull.ask;
        let next = self.progress.take_reset(&pull.group.name, topic, *queue)?;
        let (min, max) = self.queues.bounds(topic, *queue);
        let (answer, remark) = (Answer::OffsetMoved, "OFFSET_RESET");
        Some(Found::nothing(answer, remark, next, (min, max)))
    }

    /// The group's settings, where it may read at all.
    fn group_of(&self, header: &PullMessage<'_>) -> Result<Arc<GroupConfig>, Refusal> {
        let name = &header.consumer_group;
        if !self.settings.permission().readable() {
            let remark = format!("the broker[{}] pulling message is forbidden", self.settings.address());
            return Err(Refusal::forbidden(Forbidden::Broker, remark));
        }
        let group = match GroupName::new(name) {
            Ok(name) => self.catalog.ensure_group(&name).map_err(not_stored)?,
            Err(_) => None,
        };
        let Some(group) = group else {
            let remark = format!("subscription group [{name}] does not exist");
            return Err(Refusal::new(ResponseCode::SubscriptionGroupNotExist, remark));
        };
        if !group.consume_enable {
            let remark = format!("subscription group no permission, {name}");
            return Err(Refusal::forbidden(Forbidden::Group, remark));
        }
        Ok(group)
    }

    /// How long the pull may wait.
    fn suspend_of(&self, header: &PullMessage<'_>) -> Duration {
        if !header.has(flag::SUSPEND) {
            return Duration::ZERO;
        }
        let millis = u64::try_from(header.suspend_timeout_millis).unwrap_or(0);
        self.settings.poll_time(Duration::from_millis(millis)).min(SUSPEND_MAX)
    }

    fn topic_of(&self, header: &PullMessage<'_>) -> Result<Arc<TopicConfig>, Refusal> {
        let Some(topic) = self.catalog.get(&header.topic) else {
            let remark = format!("topic[{}] not exist, apply first please!", header.topic);
            return Err(Refusal::new(ResponseCode::TopicNotExist, remark));
        };
        if !topic.permission.readable() {
            let remark = format!("the topic[{}] pulling message is forbidden", header.topic);
            return Err(Refusal::forbidden(Forbidden::Topic, remark));
        }
        Ok(topic)
    }

    /// The expression: from the pull itself, else from the group's last heartbeat.
    fn filter_of(
        &self,
        header: &PullMessage<'_>,
        settings: &GroupConfig,
        session: &mut BrokerSession,
    ) -> Result<Option<Arc<Expression>>, Refusal> {
        let refused = |code, remark: &str| Err(Refusal::new(code, remark));
        if header.has(flag::SUBSCRIPTION) {
            let kind = header.expression_type.as_deref();
            let text = header.subscription.as_deref().unwrap_or("*");
            return match session.state.filters.get(kind, text) {
                Some(filter) => Ok(Some(filter)),
                None => {
                    let remark = "parse the consumer's subscription failed";
                    refused(ResponseCode::SubscriptionParseFailed, remark)
                }
            };
        }
        let (group, topic) = (&*header.consumer_group, &*header.topic);
        if !settings.consume_broadcast_enable && self.members.with_groups(|all| all.is_broadcasting(group)) {
            let remark = format!("the consumer group[{group}] can not consume by broadcast way");
            return Err(Refusal::forbidden(Forbidden::Broadcasting, remark));
        }
        if self.catalog.may_not_read(group, topic) {
            let remark = format!("the consumer group[{group}] is forbidden for topic[{topic}]");
            return Err(Refusal::forbidden(Forbidden::Subscription, remark));
        }
        match self.members.subscription(group, topic) {
            None => refused(ResponseCode::SubscriptionNotExist, "the consumer's group info not exist"),
            Some(None) => {
                refused(ResponseCode::SubscriptionNotExist, "the consumer's subscription not exist")
            }
            Some(Some(subscription)) if subscription.version < header.sub_version => {
                refused(ResponseCode::SubscriptionNotLatest, "the consumer's subscription not latest")
            }
            Some(Some(subscription)) => match subscription.expression {
                Ok(filter) => Ok(Some(filter)),
                Err(reason) => {
                    let remark = format!(
                        "The broker's consumer filter data is not exist!Your expression may be wrong! {reason}"
                    );
                    refused(ResponseCode::FilterDataNotExist, &remark)
                }
            },
        }
    }

    /// Commits the offset that the pull brings along.
    fn commit(
        &self,
        header: &PullMessage<'_>,
        topic: &TopicName,
        (queue, offset): (i32, i64),
    ) -> Result<(), Refusal> {
        if header.has(flag::COMMIT_OFFSET)
            && let (Ok(queue), Ok(offset)) = (QueueId::try_from(queue), u64::try_from(offset))
        {
            let group = GroupName::new(&header.consumer_group)?;
            let key = (group, topic.clone(), queue);
            // A group that was reset hears of it first.
            if !self.progress.has_reset(&key) {
                self.progress.commit(key, Committed { offset, metadata: String::new() });
            }
        }
        Ok(())
    }
}

impl ParkedPull {
    /// The flags of topic and group.
    fn flags(&self) -> (i32, i32) {
        (self.system_flag, self.group.system_flag)
    }

    fn count(&self, stats: &Stats, found: &Found) {
        let bytes: usize = found.runs.iter().map(Bytes::len).sum();
        stats.got(&self.ask.topic, &self.gets, found.records as u64, bytes as u64);
    }
}

impl FilterCache {
    /// The compiled expression, `None` where it cannot be compiled.
    pub(super) fn get(&mut self, kind: Option<&str>, text: &str) -> Option<Arc<Expression>> {
        let known = self.0.iter().find(|(of, known, _)| of.as_deref() == kind && known == text);
        if let Some((_, _, filter)) = known {
            return Some(filter.clone());
        }
        let filter = Arc::new(Expression::parse(kind, text).ok()?);
        if self.0.len() == FILTERS_MAX {
            self.0.remove(0);
        }
        self.0.push((kind.map(str::to_owned), text.to_owned(), filter.clone()));
        Some(filter)
    }
}

/// The queue, if the topic has it.
fn queue_of(header: &PullMessage<'_>, topic: &TopicConfig, peer: SocketAddr) -> Result<QueueId, Refusal> {
    let queue = QueueId::try_from(header.queue_id).ok().filter(|queue| *queue < topic.read_queues);
    queue.ok_or_else(|| {
        let remark = format!(
            "queueId[{}] is illegal, topic:[{}] topicConfig.readQueueNums:[{}] consumer:[/{peer}]",
            header.queue_id, topic.name, topic.read_queues
        );
        Refusal::new(ResponseCode::InvalidParameter, remark)
    })
}

/// What the client is told, in offsets of the queue that it asked for, and what it adds to those in the records.
fn outcome_of(logical: Option<&LogicalPull>, found: &Found) -> (Pulled, Option<i64>) {
    match logical {
        Some(logical) => logical.whole(found),
        None => {
            let (next, min, max) = (found.next as i64, found.min as i64, found.max as i64);
            (Pulled { answer: found.answer, next, min, max }, None)
        }
    }
}

pub(super) fn code_of(answer: Answer) -> ResponseCode {
    match answer {
        Answer::Found => ResponseCode::Success,
        Answer::NotFound => ResponseCode::PullNotFound,
        Answer::RetryImmediately => ResponseCode::PullRetryImmediately,
        Answer::OffsetMoved => ResponseCode::PullOffsetMoved,
    }
}

/// Appends the reply up to its body, the runs of `found`.
fn write_found(
    out: &mut BytesMut,
    request: RequestId,
    (topic_flag, group_flag): (i32, i32),
    (pulled, offset_delta): (Pulled, Option<i64>),
    found: &Found,
) {
    let code = code_of(pulled.answer);
    let header = PullMessageResponse {
        suggest_which_broker_id: 0,
        next_begin_offset: pulled.next,
        min_offset: pulled.min,
        max_offset: pulled.max,
        topic_sys_flag: Some(topic_flag),
        group_sys_flag: Some(group_flag),
        offset_delta,
    };
    let body_len = found.runs.iter().map(Bytes::len).sum();
    let RequestId { opaque, serialize } = request;
    encode_reply_head(out, serialize, code, opaque, Some(found.remark), &header.fields(), body_len)
        .expect("a reply of at most one record or 256 KiB fits a frame");
}
