//! Clients and their groups: requests 34, 35, 38, 41, 42 and 46.

use super::BrokerSession;
use crate::{
    answers::{Refusal, succeed},
    catalog::{Catalog, ChangeError},
    members::Members,
    progress::Progress,
};
use halley_filter::Expression;
use halley_machine::groups::{Client, ConsumerHeartbeat, Input, Subscription};
use halley_model::{GroupName, QueueId, TopicName};
use halley_wire::{
    Frame, ResponseCode, body,
    request::{
        CheckClientConfig, ConsumerData, ConsumerGroup, Heartbeat, LockBatch, MessageModel, MessageQueue,
        SubscriptionData, UnregisterClient,
    },
};
use std::sync::Arc;

/// What requests about groups use.
pub(super) struct Groups<'a> {
    pub(super) members: &'a Members,
    pub(super) progress: &'a Progress,
    pub(super) catalog: &'a Catalog,
}

impl Groups<'_> {
    /// 34. Each consumer group gets its `%RETRY%` topic, which its members subscribe to.
    pub(super) fn heartbeat(&self, frame: &Frame<'_>, session: &mut BrokerSession) -> Result<(), Refusal> {
        let heartbeat = Heartbeat::decode(frame.body)?;
        let Heartbeat { heartbeat_fingerprint: fingerprint, without_sub, .. } = heartbeat;
        // Clients without a digest tell everything each time, and are told to.
        let without_subscriptions = fingerprint != 0 && without_sub;
        let mut changed = fingerprint == 0;
        let mut consumers = Vec::with_capacity(heartbeat.consumers.len());
        for consumer in heartbeat.consumers {
            let group = GroupName::new(&consumer.group_name)?;
            changed = changed
                || self.members.with_groups(|all| all.is_changed(&group, fingerprint, without_subscriptions));
            if let Err(error) = self.prepare(&group) {
                // The group can consume without it; the next heartbeat tries again.
                tracing::warn!(%group, %error, "the group's retry topic was not created");
            }
            let consumer = consumer_of(group, consumer)?;
            consumers.push(if without_subscriptions {
                ConsumerHeartbeat { subscriptions: None, fingerprint, ..consumer }
            } else {
                ConsumerHeartbeat { fingerprint, ..consumer }
            });
        }
        let producers = heartbeat.producers.iter().map(|producer| GroupName::new(&producer.group_name));
        let input = Input::Heartbeat {
            connection: session.info.id,
            client: Client { id: heartbeat.client_id, language: frame.language, version: frame.version },
            consumers,
            producers: producers.collect::<Result<_, _>>()?,
        };
        self.members.step(input);
        let fields = [("IS_SUPPORT_HEART_BEAT_V2", true.into()), ("IS_SUB_CHANGE", changed.into())];
        succeed(frame, session, &fields, b"");
        Ok(())
    }

    fn prepare(&self, group: &GroupName) -> Result<(), ChangeError> {
        let queues = self.catalog.ensure_group(group)?.map_or(0, |group| group.retry_queue_nums);
        if queues > 0 {
            self.catalog.ensure(&TopicName::retry_of(group), queues)?;
        }
        Ok(())
    }

    /// 35.
    pub(super) fn unregister(&self, frame: &Frame<'_>, session: &mut BrokerSession) -> Result<(), Refusal> {
        let header = UnregisterClient::decode(&frame.ext)?;
        let group = |name: Option<&str>| name.map(GroupName::new).transpose();
        let input = Input::Unregister {
            connection: session.info.id,
            consumer: group(header.consumer_group.as_deref())?,
            producer: group(header.producer_group.as_deref())?,
        };
        self.members.step(input);
        succeed(frame, session, &[], b"");
        Ok(())
    }

    /// 38.
    pub(super) fn consumer_list(
        &self,
        frame: &Frame<'_>,
        session: &mut BrokerSession,
    ) -> Result<(), Refusal> {
        let group = ConsumerGroup::decode(&frame.ext)?.consumer_group;
        let Some(ids) = self.members.consumer_ids(&group) else {
            let remark = format!("no consumer for this group, {group}");
            return Err(Refusal::new(ResponseCode::SystemError, remark));
        };
        let body = body::consumers::encode(ids.iter().map(String::as_str));
        succeed(frame, session, &[], &body);
        Ok(())
    }

    /// 41.
    pub(super) fn lock(&self, frame: &Frame<'_>, session: &mut BrokerSession) -> Result<(), Refusal> {
        let request = LockBatch::decode(frame.body)?;
        let group = GroupName::new(&request.consumer_group)?;
        let wanted = queues_of(&request.queues)?;
        let locked = self.progress.lock(&group, &request.client_id, wanted);
        let is_locked = |queue: &&MessageQueue| {
            locked
                .iter()
                .any(|(topic, id)| **topic == *queue.topic && Ok(*id) == QueueId::try_from(queue.queue_id))
        };
        let body = body::locks::encode(request.queues.iter().filter(is_locked));
        succeed(frame, session, &[], &body);
        Ok(())
    }

    /// 42.
    pub(super) fn unlock(&self, frame: &Frame<'_>, session: &mut BrokerSession) -> Result<(), Refusal> {
        let request = LockBatch::decode(frame.body)?;
        let group = GroupName::new(&request.consumer_group)?;
        self.progress.unlock(&group, &request.client_id, queues_of(&request.queues)?);
        succeed(frame, session, &[], b"");
        Ok(())
    }

    /// 46: whether an expression can be compiled; RocketMQ answers SUBSCRIPTION_PARSE_FAILED where not.
    pub(super) fn check_client(&self, frame: &Frame<'_>, session: &mut BrokerSession) -> Result<(), Refusal> {
        if let Some(subscription) = CheckClientConfig::decode(frame.body)?.subscription_data {
            compile(&subscription)
                .map_err(|error| Refusal::new(ResponseCode::SubscriptionParseFailed, error))?;
        }
        succeed(frame, session, &[], b"");
        Ok(())
    }
}

fn consumer_of(group: GroupName, consumer: ConsumerData) -> Result<ConsumerHeartbeat, Refusal> {
    let mut subscriptions = Vec::with_capacity(consumer.subscriptions.len());
    for subscription in consumer.subscriptions {
        subscriptions.push(Subscription {
            topic: TopicName::known(&subscription.topic)?,
            version: subscription.sub_version,
            expression: compile(&subscription),
            text: subscription.sub_string,
            kind: subscription.expression_type,
        });
    }
    let broadcasting = consumer.message_model == MessageModel::Broadcasting;
    Ok(ConsumerHeartbeat {
        group,
        broadcasting,
        consume_type: consumer.consume_type,
        consume_from_where: consumer.consume_from_where,
        subscriptions: Some(subscriptions),
        fingerprint: 0,
    })
}

fn compile(subscription: &SubscriptionData) -> Result<Arc<Expression>, String> {
    Expression::parse(subscription.expression_type.as_deref(), &subscription.sub_string)
        .map(Arc::new)
        .map_err(|error| error.to_string())
}

fn queues_of(queues: &[MessageQueue]) -> Result<Vec<(TopicName, QueueId)>, Refusal> {
    queues
        .iter()
        .map(|queue| Ok((TopicName::known(&queue.topic)?, super::offsets::queue_of(queue.queue_id)?)))
        .collect()
}
