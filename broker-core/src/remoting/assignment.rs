//! Queues shared out by the broker: requests 400, 401 and 402 (`QueryAssignmentProcessor`, RocketMQ 5.5).

use super::{BrokerSession, send};
use crate::{
    acks::Acks,
    answers::{Refusal, answer, request_of, succeed},
    catalog::Catalog,
    members::Members,
    names::Names,
    request_modes::RequestModeTable,
};
use halley_machine::{assignment::Strategy, request_modes, routes::Queues};
use halley_model::{GroupName, QUEUES_MAX, TopicName, name};
use halley_wire::{
    Frame, ResponseCode, body,
    request::{MessageModel, MessageQueue, QueryAssignment, RequestMode, SetMessageRequestMode},
};
use std::sync::Arc;

/// RocketMQ's bit for reading.
const READ: i32 = 4;

/// What requests about assignments use.
pub(super) struct Assignments<'a> {
    pub(super) catalog: &'a Catalog,
    pub(super) members: &'a Members,
    pub(super) broker_name: &'a Arc<str>,
    /// The name server of this process.
    pub(super) names: Option<&'a Names>,
    pub(super) modes: &'a RequestModeTable,
    pub(super) acks: &'a Acks,
}

impl Assignments<'_> {
    /// 400.
    pub(super) fn query(&self, frame: &Frame<'_>, session: &mut BrokerSession) -> Result<(), Refusal> {
        let query = QueryAssignment::decode(frame.body)?;
        let (topic, group) = (TopicName::new(&query.topic)?, GroupName::new(&query.consumer_group)?);
        // Retry topics of groups that pull are pulled from; nobody can say otherwise.
        let mode = self.modes.get(&topic, &group).filter(|_| !topic.starts_with(name::RETRY_PREFIX));
        let queues = match query.message_model {
            MessageModel::Broadcasting => self.queues_of(&topic),
            MessageModel::Clustering => self.share(&query, mode.as_ref()),
        };
        let mode = if mode.is_some_and(|mode| mode.pop) { RequestMode::Pop } else { RequestMode::Pull };
        succeed(frame, session, &[], &body::assignment::encode(queues.as_deref(), mode));
        Ok(())
    }

    /// 401: the reply waits until the log has the change.
    pub(super) fn set_mode(&self, frame: &Frame<'_>, session: &mut BrokerSession) -> Result<(), Refusal> {
        let set = SetMessageRequestMode::decode(frame.body)?;
        if set.topic.starts_with(name::RETRY_PREFIX) {
            let remark = "retry topic is not allowed to set mode";
            return Err(Refusal::new(ResponseCode::NoPermission, remark));
        }
        let Some(topic) = self.catalog.get(&set.topic) else {
            let remark = format!("topic[{}] not exist", set.topic);
            return Err(Refusal::new(ResponseCode::TopicNotExist, remark));
        };
        let group = GroupName::new(&set.consumer_group)?;
        if self.catalog.ensure_group(&group).map_err(send::refusal_of)?.is_none() {
            let remark = "subscription group does not exist";
            return Err(Refusal::new(ResponseCode::SubscriptionGroupNotExist, remark));
        }
        let mode = request_modes::RequestMode {
            topic: topic.name.clone(),
            group,
            pop: set.mode == RequestMode::Pop,
            share: set.pop_share_queue_num,
        };
        let end = self.modes.set(mode).map_err(send::refusal_of)?;
        if !frame.is_oneway() {
            let request = request_of(frame);
            session
                .held
                .push(end, request, |out| answer(out, request, ResponseCode::Success, None, &[], b""));
            // An unchanged mode waits for nothing.
            session.held.release(self.acks.acked(), &mut session.out);
        }
        Ok(())
    }

    /// 402.
    pub(super) fn all_modes(&self, frame: &Frame<'_>, session: &mut BrokerSession) -> Result<(), Refusal> {
        let modes: Vec<_> = self.modes.with(|modes| {
            let wire = |mode: &request_modes::RequestMode| SetMessageRequestMode {
                topic: mode.topic.to_string(),
                consumer_group: mode.group.to_string(),
                mode: if mode.pop { RequestMode::Pop } else { RequestMode::Pull },
                pop_share_queue_num: mode.share,
            };
            modes.all().map(wire).collect()
        });
        succeed(frame, session, &[], &body::assignment::encode_modes(&modes));
        Ok(())
    }

    /// The client's queues, `None` where it should keep what it has: the topic or its group's members are unknown.
    fn share(
        &self,
        query: &QueryAssignment,
        mode: Option<&request_modes::RequestMode>,
    ) -> Option<Vec<MessageQueue>> {
        let queues = self.queues_of(&query.topic)?;
        let mut members = self.members.consumer_ids(&query.consumer_group)?;
        let strategy = Strategy::of(&query.strategy_name)?;
        members.sort_unstable();
        let member = members.iter().position(|member| *member == query.client_id);
        let mine = match mode.filter(|mode| mode.pop) {
            Some(mode) => {
                let share = usize::try_from(mode.share).unwrap_or(0);
                if share == 0 || share + 1 >= members.len() {
                    return Some(all_of(&queues));
                }
                let Some(member) = member else { return Some(Vec::new()) };
                strategy.allocate_pop(member, members.len(), queues.len(), mode.share)
            }
            None => {
                let Some(member) = member else { return Some(Vec::new()) };
                Some(strategy.allocate(member, members.len(), queues.len()))
            }
        };
        match mine {
            None => Some(all_of(&queues)),
            Some(mine) => Some(mine.into_iter().map(|at| queues[at].clone()).collect()),
        }
    }

    /// The queues that consumers read, by broker and number; `None` where there are none. Without a name server in this process
    /// they are those of this broker.
    fn queues_of(&self, topic: &str) -> Option<Vec<MessageQueue>> {
        let by_broker: Vec<(Arc<str>, u32)> = match self.names {
            Some(names) => {
                let route = names.look(|routes| routes.route(topic))?;
                let readable = |queues: &Queues| queues.permission & READ != 0;
                let reads = route.queues.into_iter().filter(|(_, queues)| readable(queues));
                reads.map(|(broker, queues)| (broker, u32::try_from(queues.read).unwrap_or(0))).collect()
            }
            None => {
                let config = self.catalog.get(topic).filter(|config| config.permission.readable())?;
                vec![(self.broker_name.clone(), config.read_queues)]
            }
        };
        let mut queues = Vec::new();
        for (broker, count) in by_broker {
            queues.extend((0..count.min(QUEUES_MAX)).map(|queue| MessageQueue {
                topic: topic.to_owned(),
                broker_name: broker.to_string(),
                queue_id: queue as i32,
            }));
        }
        queues.sort_unstable_by(|one, other| {
            (&one.broker_name, one.queue_id).cmp(&(&other.broker_name, other.queue_id))
        });
        (!queues.is_empty()).then_some(queues)
    }
}

/// One entry for each broker, which means all of its queues.
fn all_of(queues: &[MessageQueue]) -> Vec<MessageQueue> {
    let brokers = queues.chunk_by(|one, other| one.broker_name == other.broker_name);
    brokers.map(|queues| MessageQueue { queue_id: -1, ..queues[0].clone() }).collect()
}
