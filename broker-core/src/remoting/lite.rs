//! Lite topics: which clients want (200071), and what can be asked about them (200074 to 200079).

use super::BrokerSession;
use crate::{
    answers::{Refusal, not_stored, request_of, succeed},
    catalog::Catalog,
    held,
    lite::{LiteTopics, expiration, is_lite},
    outbox::Outbox,
    pop::Pops,
    progress::Progress,
    settings::{Number, Settings},
};
use halley_machine::{
    attributes,
    lite::{self, Refused},
};
use halley_model::{GroupConfig, TopicConfig, light};
use halley_wire::{
    Frame, ResponseCode,
    body::lite::{
        BrokerLiteInfo, ClientGroup, LiteClientInfo, LiteGroupInfo, LiteLag, LiteOffset, LiteTopicInfo,
        ParentTopicInfo, TopicOffset,
    },
    request::lite::{
        GetLiteClientInfo, GetLiteGroupInfo, GetLiteTopicInfo, GetParentTopicInfo, LiteAction,
        LiteSubscriptionCtl, TriggerLiteDispatch,
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Most lite topics of a client that are named (`LiteManagerProcessor.MAX_RETURN_COUNT`, 5.5).
const NAMED_MAX: usize = 10_000;

/// What `earliestUnconsumedTimestamp` is where nobody counts (`LiteConsumerLagCalculator.INIT_CONSUME_TIMESTAMP`).
const NO_TIME: i64 = -1;

/// What requests about lite topics use.
pub(super) struct LiteRequests<'a> {
    pub(super) lite: &'a Arc<LiteTopics>,
    pub(super) catalog: &'a Catalog,
    pub(super) progress: &'a Progress,
    pub(super) pops: &'a Pops,
    pub(super) settings: &'a Settings,
}

impl LiteRequests<'_> {
    /// 200071.
    pub(super) fn control(&self, frame: &Frame<'_>, session: &mut BrokerSession) -> Result<(), Refusal> {
        let illegal = |remark: String| Refusal::new(ResponseCode::IllegalOperation, remark);
        if frame.body.is_empty() {
            return Err(illegal("Request body is null.".to_owned()));
        }
        let wanted = LiteSubscriptionCtl::decode(frame.body)?;
        if wanted.subscription_set.is_empty() {
            return Err(illegal("LiteSubscriptionCtlRequestBody is empty.".to_owned()));
        }
        for change in &wanted.subscription_set {
            if [&change.client_id, &change.group, &change.topic].iter().any(|name| name.trim().is_empty()) {
                continue;
            }
            let adds = matches!(change.action, Some(LiteAction::PartialAdd | LiteAction::CompleteAdd));
            if adds && !self.may_consume(&change.group)? {
                return Err(illegal("Consumer group is not allowed to consume.".to_owned()));
            }
            self.lite.change(change, &session.info.outbox).map_err(|refused| {
                let code = match refused {
                    Refused::Quota(_) => ResponseCode::LiteSubscriptionQuotaExceeded,
                    Refused::Wildcard => ResponseCode::IllegalOperation,
                };
                Refusal::new(code, refused.to_string())
            })?;
        }
        succeed(frame, session, &[], b"");
        Ok(())
    }

    /// 200074.
    pub(super) fn broker(&self, frame: &Frame<'_>, session: &mut BrokerSession) -> Result<(), Refusal> {
        let reader = &self.lite.queues.reader;
        let (topic_meta, group_meta) = self.catalog.with_tables(|topics, groups| {
            let lite = topics.all().into_iter().filter(|topic| is_lite(topic));
            let ttls = lite.map(|topic| (topic.name.to_string(), expiration(&topic)));
            let mut bound = BTreeMap::<String, BTreeSet<String>>::new();
            for group in groups.all() {
                if let Some(topic) = group.attributes.get(attributes::LITE_BIND_TOPIC) {
                    bound.entry(topic.clone()).or_default().insert(group.name.to_string());
                }
            }
            (ttls.collect(), bound)
        });
        let (subscriptions, clients) = self.lite.look(|lite| (lite.active(), lite.clients_with_events()));
        let offsets = self.progress.with_offsets(|offsets| {
            let pairs = offsets.iter().map(|(key, _)| (&key.0, &key.1));
            pairs.collect::<BTreeSet<_>>().len()
        });
        let body = BrokerLiteInfo {
            cq_table_size: reader.topics().len(),
            current_lmq_num: reader.light_queues(),
            event_map_size: clients,
            group_meta,
            lite_subscription_count: subscriptions,
            max_lmq_num: self.settings.number(Number::LightQueuesMax),
            offset_table_size: offsets,
            order_info_count: self.pops.lite_queues(),
            store_type: "default",
            topic_meta,
        };
        succeed(frame, session, &[], &body.encode());
        Ok(())
    }

    /// 200075.
    pub(super) fn parent(&self, frame: &Frame<'_>, session: &mut BrokerSession) -> Result<(), Refusal> {
        let header = GetParentTopicInfo::decode(&frame.ext)?;
        let topic = self.parent_of(Some(&header.topic))?;
        let groups: BTreeSet<_> = self.catalog.with_tables(|_, groups| {
            let bound = |group: &&Arc<GroupConfig>| {
                group.attributes.get(attributes::LITE_BIND_TOPIC).is_some_and(|bound| *bound == *topic.name)
            };
            groups.all().filter(bound).map(|group| group.name.to_string()).collect()
        });
        let body = ParentTopicInfo {
            groups: (!groups.is_empty()).then_some(groups),
            lite_topic_count: self.lite.queues_of(&topic.name).len(),
            lmq_num: self.lite.queues.reader.light_queues(),
            topic: topic.name.to_string(),
            ttl: expiration(&topic),
        };
        succeed(frame, session, &[], &body.encode());
        Ok(())
    }

    /// 200076. Reads a store time, and so leaves the connection's thread.
    pub(super) fn topic(&self, frame: &Frame<'_>, session: &mut BrokerSession) -> Result<(), Refusal> {
        let header = GetLiteTopicInfo::decode(&frame.ext);
        let parent = self.parent_of(header.parent_topic.as_deref())?;
        let lite_topic = header.lite_topic.map(|lite| lite.into_owned());
        let queue =
            lite::queue_of(&parent.name, lite_topic.as_deref().unwrap_or_default()).unwrap_or_default();
        self.answer_apart(frame, session, move |topics| {
            let end = topics.end(&queue);
            let topic_offset = match end {
                0 => TopicOffset::default(),
                _ => TopicOffset {
                    last_update_timestamp: topics.stored_at(&queue, end - 1),
                    max_offset: end,
                    min_offset: topics.queues.bounds(&queue, light::QUEUE).0,
                },
            };
            let subscribers = topics.look(|lite| lite.subscribers_of(&queue));
            let subscriber =
                subscribers.into_iter().map(|(group, client_id)| ClientGroup { client_id, group });
            LiteTopicInfo {
                sharding_to_broker: topics.is_here(&parent.name, &queue),
                lite_topic,
                parent_topic: parent.name.to_string(),
                subscriber: subscriber.collect(),
                topic_offset,
            }
            .encode()
        });
        Ok(())
    }

    /// 200077.
    pub(super) fn client(&self, frame: &Frame<'_>, session: &mut BrokerSession) -> Result<(), Refusal> {
        let header = GetLiteClientInfo::decode(&frame.ext)?;
        let topic = self.parent_of(header.parent_topic.as_deref())?;
        let group = self.group_of(header.group.as_deref())?;
        if group.attributes.get(attributes::LITE_BIND_TOPIC).is_none_or(|bound| *bound != *topic.name) {
            let remark = format!("Subscription [{}]-[{}] not match.", group.name, topic.name);
            return Err(Refusal::new(ResponseCode::InvalidParameter, remark));
        }
        let most = usize::try_from(header.max_count).unwrap_or(0).min(NAMED_MAX);
        let id = header.client_id.as_deref().unwrap_or_default();
        let (count, set, accessed) = self.lite.look(|lite| {
            let queues = lite.queues_of_client(id);
            let (count, set) = match queues {
                None => (-1, None),
                Some(queues) => (queues.len() as i64, Some(queues.take(most).map(str::to_owned).collect())),
            };
            (count, set, lite.last_access(id))
        });
        let body = LiteClientInfo {
            client_id: header.client_id.map(|id| id.into_owned()),
            group: group.name.to_string(),
            last_access_time: accessed.unwrap_or(-1),
            last_consume_time: 0,
            lite_topic_count: count,
            lite_topic_set: set,
            parent_topic: topic.name.to_string(),
        };
        succeed(frame, session, &[], &body.encode());
        Ok(())
    }

    /// 200078. Reads store times, and so leaves the connection's thread.
    pub(super) fn group(&self, frame: &Frame<'_>, session: &mut BrokerSession) -> Result<(), Refusal> {
        let header = GetLiteGroupInfo::decode(&frame.ext)?;
        let group = self.group_of(Some(&header.group))?;
        let parent = lite_group(&group)?.clone();
        let lite_topic = header.lite_topic.map(|lite| lite.into_owned());
        let most = usize::try_from(header.top_k).unwrap_or(0);
        self.answer_apart(frame, session, move |topics| {
            let mut body = LiteGroupInfo {
                earliest_unconsumed_timestamp: NO_TIME,
                group: group.name.to_string(),
                parent_topic: parent.clone(),
                ..LiteGroupInfo::default()
            };
            match lite_topic.as_deref().filter(|lite| !lite.is_empty()) {
                Some(lite) => in_one(topics, &group, &parent, lite, &mut body),
                None => in_all(topics, &group, most, &mut body),
            }
            body.lite_topic = lite_topic;
            body.encode()
        });
        Ok(())
    }

    /// 200079.
    pub(super) fn dispatch(&self, frame: &Frame<'_>, session: &mut BrokerSession) -> Result<(), Refusal> {
        let header = TriggerLiteDispatch::decode(&frame.ext)?;
        let group = self.group_of(Some(&header.group))?;
        let parent = lite_group(&group)?;
        let client = header.client_id.as_deref().filter(|client| !client.is_empty());
        self.lite.show(&group.name, parent, client);
        succeed(frame, session, &[], b"");
        Ok(())
    }

    fn may_consume(&self, group: &str) -> Result<bool, Refusal> {
        let Ok(name) = halley_model::GroupName::new(group) else { return Ok(false) };
        let group = self.catalog.ensure_group(&name).map_err(not_stored)?;
        Ok(group.is_some_and(|group| group.consume_enable))
    }

    fn parent_of(&self, topic: Option<&str>) -> Result<Arc<TopicConfig>, Refusal> {
        let name = topic.unwrap_or("null");
        let Some(topic) = topic.and_then(|topic| self.catalog.get(topic)) else {
            return Err(Refusal::new(ResponseCode::TopicNotExist, format!("Topic [{name}] not exist.")));
        };
        if !is_lite(&topic) {
            let remark = format!("Topic [{name}] type not match.");
            return Err(Refusal::new(ResponseCode::InvalidParameter, remark));
        }
        Ok(topic)
    }

    fn group_of(&self, group: Option<&str>) -> Result<Arc<GroupConfig>, Refusal> {
        let name = group.unwrap_or("null");
        let not_there =
            || Refusal::new(ResponseCode::SubscriptionGroupNotExist, format!("Group [{name}] not exist."));
        let name = halley_model::GroupName::new(name).map_err(|_| not_there())?;
        self.catalog.ensure_group(&name).map_err(not_stored)?.ok_or_else(not_there)
    }

    /// Answers with a body that another thread makes, which may block on the disk.
    fn answer_apart(
        &self,
        frame: &Frame<'_>,
        session: &BrokerSession,
        body: impl FnOnce(&LiteTopics) -> Vec<u8> + Send + 'static,
    ) {
        let (topics, outbox, request): (_, Arc<Outbox>, _) =
            (self.lite.clone(), session.info.outbox.clone(), request_of(frame));
        tokio::task::spawn_blocking(move || {
            let body = body(&topics);
            outbox.send([held::frame(|out| {
                crate::answers::answer(out, request, ResponseCode::Success, None, &[], &body)
            })]);
        });
    }
}

fn lite_group(group: &GroupConfig) -> Result<&String, Refusal> {
    let bound = group.attributes.get(attributes::LITE_BIND_TOPIC).filter(|bound| !bound.is_empty());
    bound.ok_or_else(|| {
        let remark = format!("Group [{}] is not a LITE group.", group.name);
        Refusal::new(ResponseCode::InvalidParameter, remark)
    })
}

/// How far behind a group is in one lite topic.
fn in_one(topics: &LiteTopics, group: &GroupConfig, parent: &str, lite: &str, body: &mut LiteGroupInfo) {
    let queue = lite::queue_of(parent, lite).unwrap_or_default();
    let end = topics.end(&queue);
    if end == 0 {
        body.total_lag_count = -1;
        return;
    }
    let Some(committed) = topics.committed(&group.name, &queue) else { return };
    body.total_lag_count = end as i64 - committed as i64;
    body.earliest_unconsumed_timestamp = time_at(topics, &queue, committed);
    body.lite_topic_offset_wrapper = Some(LiteOffset {
        broker_offset: end,
        consumer_offset: committed,
        last_timestamp: committed.checked_sub(1).map_or(0, |last| time_at(topics, &queue, last)),
        pull_offset: 0,
    });
}

/// How far behind a group is in those lite topics in which it committed anything.
fn in_all(topics: &LiteTopics, group: &GroupConfig, most: usize, body: &mut LiteGroupInfo) {
    let committed: Vec<_> = topics.progress.with_offsets(|offsets| {
        let of_group = offsets.of_group(&group.name).filter(|(key, _)| key.1.starts_with(lite::PREFIX));
        of_group.map(|(key, committed)| (key.1.clone(), committed.offset)).collect()
    });
    let mut lags: Vec<_> = committed
        .into_iter()
        .map(|(queue, offset)| (topics.end(&queue).saturating_sub(offset), queue, offset))
        .filter(|(lag, ..)| *lag > 0)
        .collect();
    body.total_lag_count = lags.iter().map(|(lag, ..)| *lag as i64).sum();
    lags.sort_by(|one, other| other.0.cmp(&one.0).then(one.1.cmp(&other.1)));
    let top = lags.into_iter().take(most).map(|(lag_count, queue, offset)| LiteLag {
        earliest_unconsumed_timestamp: time_at(topics, &queue, offset),
        lag_count,
        lite_topic: lite::parts_of(&queue).map(|(_, lite)| lite.to_owned()),
    });
    body.lag_count_top_k = Some(top.collect());
    // Times are collected only where a setting says so, which is off by default (`liteLagLatencyCollectEnable`).
    body.lag_timestamp_top_k = Some(Vec::new());
}

/// RocketMQ says -1 of an offset without a message.
fn time_at(topics: &LiteTopics, queue: &str, offset: u64) -> i64 {
    match topics.stored_at(queue, offset) {
        0 => NO_TIME,
        stored => stored,
    }
}
