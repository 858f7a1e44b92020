//! Queues and how far groups are in them: requests 32, 43, 202, 208, 222, 300, 303, 308, 314, 317 and 343.

use super::{BrokerSession, static_topics::StaticTopics};
use crate::{
    answers::{Later, Refusal, answer_later, succeed},
    catalog::Catalog,
    clock, held,
    identity::Identity,
    members::Members,
    progress::Progress,
    queues::Queues,
    settings::Settings,
    stats::Stats,
};
use halley_machine::offsets::{Committed, Offsets};
use halley_model::{DataVersion, GroupName, Millis, QueueId, QueueOffset, TopicConfig, TopicName};
use halley_store::{Boundary, ReadError, disk::RealDisk};
use halley_wire::{
    ClientCode, Frame, ResponseCode,
    body::{
        self, figures,
        progress::{BrokerConsumeStats, ConsumeStats, QueueProgress, QueueStats, QueueTimeSpan, TopicStats},
    },
    encode, language,
    request::{
        MessageQueue,
        admin::{
            CloneGroupOffset, GetConsumeStats, GetEarliestStoreTime, GroupAndTopic, GroupOnly,
            QueryCorrectionOffset, ResetOffset, TopicOnly,
        },
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// What requests about consumption use; moved to threads that may block on the disk.
pub(super) struct Consumption {
    pub(super) identity: Identity,
    pub(super) queues: Queues<RealDisk>,
    pub(super) catalog: Arc<Catalog>,
    pub(super) progress: Arc<Progress>,
    pub(super) members: Arc<Members>,
    pub(super) stats: Arc<Stats>,
    pub(super) settings: Arc<Settings>,
}

impl Consumption {
    /// 202.
    pub(super) fn topic_stats(self, frame: &Frame<'_>, session: &BrokerSession) -> Result<(), Refusal> {
        let topic = self.topic(&TopicOnly::decode(&frame.ext)?.topic)?;
        answer_later(frame, session, move || {
            let mut stats =
                TopicStats { topic_put_tps: self.stats.put_rate(&topic.name), ..TopicStats::default() };
            for queue in 0..topic.queues() {
                let (min, max) = self.queues.bounds(&topic.name, queue);
                let last =
                    max.checked_sub(1).map_or(Ok(None), |last| self.stored(&topic.name, queue, last))?;
                let of_queue = QueueStats {
                    last_update: last.unwrap_or(0),
                    max_offset: max as i64,
                    min_offset: min as i64,
                };
                stats.offset_table.insert(self.queue(&topic.name, queue), of_queue);
            }
            Ok(Later { body: stats.encode(), ..Later::default() })
        });
        Ok(())
    }

    /// 208.
    pub(super) fn consume_stats(self, frame: &Frame<'_>, session: &BrokerSession) -> Result<(), Refusal> {
        let header = GetConsumeStats::decode(&frame.ext)?;
        let group = GroupName::new(&header.consumer_group)?;
        let listed = header.topic_list.as_deref().unwrap_or_default();
        let listed: BTreeSet<String> =
            listed.split(';').filter(|topic| !topic.trim().is_empty()).map(str::to_owned).collect();
        let topics = if !listed.is_empty() {
            listed
        } else {
            let mut topics = match header.topic.as_deref().filter(|topic| !topic.trim().is_empty()) {
                Some(topic) => BTreeSet::from([topic.to_owned()]),
                None => self.topics_consumed(&group),
            };
            topics.retain(|topic| self.is_wanted(&group, topic));
            topics
        };
        answer_later(frame, session, move || {
            let mut stats = ConsumeStats::default();
            for topic in topics {
                let Some(topic) = self.catalog.get(&topic) else { continue };
                let of_topic = self.stats_of(&group, &topic, topic.read_queues, true)?;
                stats.consume_tps += of_topic.consume_tps;
                stats.offset_table.extend(of_topic.offset_table);
            }
            Ok(Later { body: stats.encode(), ..Later::default() })
        });
        Ok(())
    }

    /// 317.
    pub(super) fn broker_consume_stats(
        self,
        frame: &Frame<'_>,
        session: &BrokerSession,
    ) -> Result<(), Refusal> {
        let [ordered] = frame.ext.pick(["isOrder"]);
        let ordered = ordered.bool_opt().unwrap_or(false);
        answer_later(frame, session, move || {
            let names = self
                .catalog
                .with_tables(|_, groups| groups.all().map(|group| group.name.clone()).collect::<Vec<_>>());
            let mut groups = Vec::new();
            for group in names {
                let mut of_group = Vec::new();
                for topic in self.topics_consumed(&group) {
                    let Some(topic) = self.catalog.get(&topic) else { continue };
                    if (!ordered || topic.ordered) && self.is_wanted(&group, &topic.name) {
                        of_group.push(self.stats_of(&group, &topic, topic.write_queues, false)?);
                    }
                }
                groups.push((group.to_string(), of_group));
            }
            let broker_address = self.identity.address.to_string();
            Ok(Later { body: BrokerConsumeStats { broker_address, groups }.encode(), ..Later::default() })
        });
        Ok(())
    }

    /// 303.
    pub(super) fn time_span(self, frame: &Frame<'_>, session: &BrokerSession) -> Result<(), Refusal> {
        let header = GroupAndTopic::decode(&frame.ext)?;
        let topic = self.topic(&header.topic)?;
        let group = GroupName::new(&header.group)?;
        answer_later(frame, session, move || {
            let mut spans = Vec::new();
            for queue in 0..topic.write_queues {
                spans.push(self.span_of(&group, &topic.name, queue)?);
            }
            Ok(Later { body: body::progress::encode_time_spans(&spans), ..Later::default() })
        });
        Ok(())
    }

    /// 32: -1 for a queue without messages.
    pub(super) fn earliest(
        self,
        static_topics: &StaticTopics<'_>,
        frame: &Frame<'_>,
        session: &BrokerSession,
    ) -> Result<(), Refusal> {
        let header = GetEarliestStoreTime::decode(&frame.ext)?;
        let mut queue = super::offsets::queue_of(header.queue_id)?;
        if let Some(mapped) = self.catalog.mapped(frame, &header.topic) {
            match static_topics.earliest(&header, &mapped, frame, session)? {
                Some(here) => queue = here,
                None => return Ok(()),
            }
        }
        let topic = header.topic.into_owned();
        answer_later(frame, session, move || {
            let (min, _) = self.queues.bounds(&topic, queue);
            let stored = self.stored(&topic, queue, min)?.unwrap_or(-1);
            Ok(Later { fields: vec![("timestamp", stored.into())], ..Later::default() })
        });
        Ok(())
    }

    /// 43.
    pub(super) fn all_offsets(self, frame: &Frame<'_>, session: &mut BrokerSession) -> Result<(), Refusal> {
        let mut all = body::progress::Offsets::new();
        self.progress.with_offsets(|offsets| {
            for ((group, topic, queue), committed) in offsets.iter() {
                let of_group = all.entry((topic.to_string(), group.to_string())).or_default();
                of_group.insert(u64::from(*queue), committed.offset as i64);
            }
        });
        let version = DataVersion {
            counter: self.progress.changes() as i64,
            state_version: 0,
            timestamp: self.stats.started(),
        };
        succeed(frame, session, &[], &body::progress::encode_all_offsets(version, &all));
        Ok(())
    }

    /// 308 (`ConsumerOffsetManager.queryMinOffsetInAllGroup`, 5.5), but groups that are left out keep their offsets.
    pub(super) fn corrections(self, frame: &Frame<'_>, session: &mut BrokerSession) -> Result<(), Refusal> {
        let header = QueryCorrectionOffset::decode(&frame.ext)?;
        let topic = TopicName::known(&header.topic)?;
        let compared = GroupName::new(&header.compare_group)?;
        let left_out = header.filter_groups.unwrap_or_default();
        let left_out: BTreeSet<&str> = left_out.split(',').collect();
        let mut lowest: BTreeMap<u64, i64> = BTreeMap::new();
        let mut of_compared: BTreeMap<u64, i64> = BTreeMap::new();
        self.progress.with_offsets(|offsets| {
            for ((group, _, queue), committed) in offsets.iter().filter(|(key, _)| key.1 == topic) {
                let (queue_key, offset) = (u64::from(*queue), committed.offset as i64);
                if *group == compared {
                    of_compared.insert(queue_key, offset);
                }
                if !left_out.contains(&**group) && committed.offset >= self.queues.bounds(&topic, *queue).0 {
                    lowest.entry(queue_key).and_modify(|low| *low = (*low).min(offset)).or_insert(offset);
                }
            }
        });
        for (queue, offset) in of_compared {
            if lowest.get(&queue).is_some_and(|low| *low > offset) {
                lowest.insert(queue, i64::MAX);
            }
        }
        succeed(frame, session, &[], &body::progress::encode_corrections(&lowest));
        Ok(())
    }

    /// 314.
    pub(super) fn clone_offsets(self, frame: &Frame<'_>, session: &mut BrokerSession) -> Result<(), Refusal> {
        let header = CloneGroupOffset::decode(&frame.ext)?;
        let (from, to) = (GroupName::new(&header.src_group)?, GroupName::new(&header.dest_group)?);
        let topics = match header.topic.as_deref().filter(|topic| !topic.trim().is_empty()) {
            Some(topic) => BTreeSet::from([topic.to_owned()]),
            None => self.topics_consumed(&from),
        };
        let cloned = |topic: &str| {
            self.catalog.get(topic).is_some() && (header.offline || self.is_wanted(&from, topic))
        };
        let topics: BTreeSet<String> = topics.into_iter().filter(|topic| cloned(topic)).collect();
        let copied = self.progress.with_offsets(|offsets| {
            let of_topics = offsets.of_group(&from).filter(|(key, _)| topics.contains(&*key.1));
            of_topics.map(|(key, committed)| (key.clone(), committed.offset)).collect::<Vec<_>>()
        });
        for ((_, topic, queue), offset) in copied {
            self.progress.commit((to.clone(), topic, queue), Committed { offset, metadata: String::new() });
        }
        succeed(frame, session, &[], b"");
        Ok(())
    }

    /// 222: the broker sets the group, and its clients hear of it at their next pull; or, where it is told to, has its clients
    /// do so (`AdminBrokerProcessor.resetOffset`, 5.5).
    pub(super) fn reset(self, frame: &Frame<'_>, session: &BrokerSession) -> Result<(), Refusal> {
        let header = ResetOffset::decode(&frame.ext)?;
        let group = GroupName::new(&header.group)?;
        let cpp = frame.language == language::CPP;
        let refused = |code, remark: String| Err(Refusal::new(code, remark));
        let (timestamp, force) = (header.timestamp, header.is_force);
        let Some(topic) = self.catalog.get(&header.topic) else {
            let remark = format!("Topic {} does not exist", header.topic);
            return refused(ResponseCode::TopicNotExist, remark);
        };
        if !self.settings.server_side_reset() {
            answer_later(frame, session, move || self.reset_clients(&group, &topic, timestamp, force, cpp));
            return Ok(());
        }
        if self.catalog.group(&group).is_none() {
            let remark = format!("Group {group} does not exist");
            return refused(ResponseCode::SubscriptionGroupNotExist, remark);
        }
        let queue = header.queue_id.and_then(|queue| QueueId::try_from(queue).ok());
        let offset = header.offset.filter(|offset| *offset != -1);
        answer_later(frame, session, move || {
            let mut set = BTreeMap::new();
            match (queue, offset) {
                (Some(queue), Some(offset)) => {
                    let (min, max) = self.queues.bounds(&topic.name, queue);
                    let reached =
                        u64::try_from(offset).ok().filter(|offset| (min..=max + 1).contains(offset));
                    let Some(offset) = reached else {
                        let remark =
                            format!("Target offset {offset} not in consume queue range [{min}-{max}]");
                        return Err(Refusal::new(ResponseCode::SystemError, remark));
                    };
                    set.insert(queue, offset);
                }
                (Some(queue), None) => {
                    set.insert(queue, self.offset_at(&topic.name, queue, timestamp)?);
                }
                (None, _) => {
                    for queue in 0..topic.read_queues {
                        set.insert(queue, self.offset_at(&topic.name, queue, timestamp)?);
                    }
                }
            }
            if set.is_empty() {
                return Err(Refusal::new(ResponseCode::SystemError, "No queues to reset."));
            }
            let mut answered = BTreeMap::new();
            for (queue, offset) in &set {
                self.progress.reset((group.clone(), topic.name.clone(), *queue), *offset);
                answered.insert(self.queue(&topic.name, *queue), *offset as i64);
            }
            // Clients that wait for messages hear of it now.
            self.queues.arrivals.notify(set.keys().map(|queue| (topic.name.as_str(), *queue)));
            Ok(Later { body: body::progress::encode_offsets(&answered), ..Later::default() })
        });
        Ok(())
    }

    /// 343.
    pub(super) fn topics_of(self, frame: &Frame<'_>, session: &mut BrokerSession) -> Result<(), Refusal> {
        let group = GroupName::new(&GroupOnly::decode(&frame.ext)?.group)?;
        let topics = self.topics_consumed(&group);
        let address = self.identity.address.to_string();
        let body = body::topics::encode_of_broker(&address, topics.iter().map(String::as_str));
        succeed(frame, session, &[], &body);
        Ok(())
    }

    /// 300.
    pub(super) fn groups_of(self, frame: &Frame<'_>, session: &mut BrokerSession) -> Result<(), Refusal> {
        let topic = TopicOnly::decode(&frame.ext)?.topic;
        let online = self.members.with_groups(|groups| groups.consumers_of(&topic));
        let mut groups: BTreeSet<String> = online.iter().map(ToString::to_string).collect();
        self.progress.with_offsets(|offsets| {
            let committed = offsets.iter().filter(|(key, _)| *key.1 == *topic);
            groups.extend(committed.map(|(key, _)| key.0.to_string()));
        });
        succeed(frame, session, &[], &figures::encode_groups(groups));
        Ok(())
    }

    /// `Broker2Client.resetOffset`, 5.5.
    fn reset_clients(
        &self,
        group: &GroupName,
        topic: &TopicConfig,
        timestamp: Millis,
        force: bool,
        cpp: bool,
    ) -> Result<Later, Refusal> {
        let mut set = BTreeMap::new();
        for queue in 0..topic.write_queues {
            let Some(committed) = self.progress.committed(group, &topic.name, queue) else {
                let remark = format!("THe consumer group <{group}> not exist");
                return Err(Refusal::new(ResponseCode::SystemError, remark));
            };
            let wanted = self.offset_at(&topic.name, queue, if timestamp == -1 { -1 } else { timestamp })?;
            let offset = if force { wanted } else { wanted.min(committed.offset) };
            set.insert(self.queue(&topic.name, queue), offset as i64);
        }
        let view = self.members.with_groups(|groups| groups.consumer_group(group));
        let Some(view) = view else {
            let remark = format!(
                "Consumer not online, so can not reset offset, Group: {group} Topic: {} Timestamp: {timestamp}",
                topic.name
            );
            return Err(Refusal::new(ResponseCode::ConsumerNotOnline, remark));
        };
        let header = ResetOffset {
            group: (&**group).into(),
            topic: (&*topic.name).into(),
            queue_id: None,
            offset: None,
            timestamp,
            is_force: force,
        };
        let body = if cpp {
            body::progress::encode_offsets_for_cpp(&set)
        } else {
            body::progress::encode_offsets(&set)
        };
        let mut request = encode::Request::new(ClientCode::ResetConsumerClientOffset, 0);
        request.serialize = halley_wire::Serialize::Json;
        request.language = language::JAVA;
        request.oneway = true;
        let mut written = Ok(());
        let notice = held::frame(|out| written = encode::request(out, request, &header.fields(), &body));
        written?;
        for member in &view.members {
            if let Some(outbox) = self.members.outbox_of(member) {
                outbox.send([notice.clone()]);
            }
        }
        Ok(Later { body: body::progress::encode_offsets(&set), ..Later::default() })
    }

    /// The offset of what was stored at a time, the end for a negative one.
    fn offset_at(&self, topic: &str, queue: QueueId, time: Millis) -> Result<QueueOffset, ReadError> {
        if time < 0 {
            return Ok(self.queues.bounds(topic, queue).1);
        }
        self.queues.reader.offset_by_time(topic, queue, time, Boundary::Lower)
    }

    fn stats_of(
        &self,
        group: &GroupName,
        topic: &TopicConfig,
        queues: u32,
        with_pulled: bool,
    ) -> Result<ConsumeStats, ReadError> {
        let consume_tps = self.stats.get_rate(group, &topic.name);
        let mut stats = ConsumeStats { consume_tps, offset_table: BTreeMap::new() };
        // Tools look for a part of a static topic's queue in which the group committed anything.
        let nothing = if self.catalog.mapping(&topic.name).is_some() { -1 } else { 0 };
        for queue in 0..queues {
            let end = self.queues.bounds(&topic.name, queue).1;
            let committed = self.progress.committed(group, &topic.name, queue);
            let committed = committed.map_or(nothing, |of| of.offset as i64);
            let last = u64::try_from(committed - 1);
            let last = last.map_or(Ok(None), |last| self.stored(&topic.name, queue, last))?;
            let pulled =
                self.stats.pulled(group, &topic.name, queue).map_or(committed, |pulled| pulled as i64);
            let progress = QueueProgress {
                broker_offset: end as i64,
                consumer_offset: committed,
                last_timestamp: last.unwrap_or(0),
                pull_offset: if with_pulled { pulled.max(committed) } else { 0 },
            };
            stats.offset_table.insert(self.queue(&topic.name, queue), progress);
        }
        Ok(stats)
    }

    fn span_of(
        &self,
        group: &GroupName,
        topic: &TopicName,
        queue: QueueId,
    ) -> Result<QueueTimeSpan, ReadError> {
        let (min, max) = self.queues.bounds(topic, queue);
        let at = |offset: Option<QueueOffset>| {
            let stored = offset.map_or(Ok(None), |offset| self.stored(topic, queue, offset));
            stored.map(|stored| stored.unwrap_or(-1))
        };
        let committed = self.progress.committed(group, topic, queue).map(|committed| committed.offset);
        let min_time = at(Some(min))?;
        let consumed = committed.filter(|offset| *offset > 0);
        let delay = match committed.unwrap_or(0) {
            // A group that committed nothing waits since the Unix epoch, as RocketMQ has it.
            offset if offset < max || committed.is_none() => clock::now() - at(committed)?,
            _ => 0,
        };
        Ok(QueueTimeSpan {
            queue: self.queue(topic, queue),
            min_time,
            max_time: at(max.checked_sub(1))?,
            consume_time: consumed.map_or(Ok(min_time), |offset| at(Some(offset - 1)))?,
            delay,
        })
    }

    /// When the record at an offset was stored, `None` where there is none.
    fn stored(&self, topic: &str, queue: QueueId, offset: QueueOffset) -> Result<Option<Millis>, ReadError> {
        let mut found = Vec::with_capacity(1);
        self.queues.reader.lookup(topic, queue, offset, 1, &mut found)?;
        let entry = found.first().filter(|entry| entry.queue_offset == offset);
        entry.map(|entry| self.queues.reader.stored_at(entry)).transpose()
    }

    fn topic(&self, topic: &str) -> Result<Arc<TopicConfig>, Refusal> {
        let not_there = || Refusal::new(ResponseCode::TopicNotExist, format!("topic[{topic}] not exist"));
        self.catalog.get(topic).ok_or_else(not_there)
    }

    fn topics_consumed(&self, group: &GroupName) -> BTreeSet<String> {
        let topics = |offsets: &Offsets| {
            offsets.of_group(group).map(|(key, _)| key.1.to_string()).collect::<BTreeSet<_>>()
        };
        self.progress.with_offsets(topics)
    }

    /// Whether the group's consumers want the topic; without any, whatever it committed in counts.
    fn is_wanted(&self, group: &str, topic: &str) -> bool {
        self.members.with_groups(|groups| {
            groups.subscription_count(group) == 0
                || groups.subscription(group, topic).is_some_and(|wanted| wanted.is_some())
        })
    }

    fn queue(&self, topic: &str, queue: QueueId) -> MessageQueue {
        MessageQueue {
            broker_name: self.identity.name.to_string(),
            queue_id: queue as i32,
            topic: topic.to_owned(),
        }
    }
}
