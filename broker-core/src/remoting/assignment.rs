//! Queues shared out by the broker: requests 400, 401 and 402 (`QueryAssignmentProcessor`, RocketMQ 5.5).

use super::BrokerSession;
use crate::{
    acks::Acks,
    answers::{Later, Refusal, answer, answer_when, not_stored, request_of, succeed},
    catalog::Catalog,
    lookup::Lookup,
    members::Members,
    names::Names,
    request_modes::RequestModeTable,
};
use halley_machine::{assignment::Strategy, request_modes, routes::Queues};
use halley_model::{GroupName, QUEUES_MAX, TopicName, light, name};
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
    pub(super) members: &'a Arc<Members>,
    pub(super) broker_name: &'a Arc<str>,
    /// The name server of this process.
    pub(super) names: Option<&'a Names>,
    /// Name servers elsewhere, at which this broker registers.
    pub(super) lookup: &'a Arc<Lookup>,
    pub(super) modes: &'a RequestModeTable,
    pub(super) acks: &'a Acks,
}

impl Assignments<'_> {
    /// 400. Where the broker registers at name servers elsewhere, one of them says where the topic's queues are.
    pub(super) fn query(&self, frame: &Frame<'_>, session: &mut BrokerSession) -> Result<(), Refusal> {
        let query = QueryAssignment::decode(frame.body)?;
        let (topic, group) = (TopicName::known(&query.topic)?, GroupName::new(&query.consumer_group)?);
        // Retry topics of groups that pull are pulled from; nobody can say otherwise.
        let mode = self.modes.get(&topic, &group).filter(|_| !topic.starts_with(name::RETRY_PREFIX));
        if self.lookup.is_empty() || light::is_light(&topic) {
            let queues = self
                .queues_here(&topic)
                .and_then(|queues| assign(self.members, &query, mode.as_ref(), queues));
            succeed(frame, session, &[], &encode(queues.as_deref(), mode.as_ref()));
            return Ok(());
        }
        let Some(permit) = self.lookup.permit() else {
            let remark = "too many assignments are asked for at the same time";
            return Err(Refusal::new(ResponseCode::SystemBusy, remark));
        };
        let (lookup, members) = (self.lookup.clone(), self.members.clone());
        answer_when(frame, session, async move {
            let found = lookup.queues_of(&topic).await;
            drop(permit);
            // A client that is told of no assignment keeps what it has, which is right while no name server answers.
            let queues = found.unwrap_or_default();
            let readable = queues.into_iter().filter(|queues| queues.perm & READ != 0);
            let queues = readable.map(|queues| (queues.broker_name, queues.read_queue_nums));
            let queues =
                queues_of(&topic, queues).and_then(|queues| assign(&members, &query, mode.as_ref(), queues));
            Ok(Later { fields: Vec::new(), body: encode(queues.as_deref(), mode.as_ref()) })
        });
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
        if self.catalog.ensure_group(&group).map_err(not_stored)?.is_none() {
            let remark = "subscription group does not exist";
            return Err(Refusal::new(ResponseCode::SubscriptionGroupNotExist, remark));
        }
        let mode = request_modes::RequestMode {
            topic: topic.name.clone(),
            group,
            pop: set.mode == RequestMode::Pop,
            share: set.pop_share_queue_num,
        };
        let end = self.modes.set(mode).map_err(not_stored)?;
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

    /// The topic's queues as this process knows them: from its name server, else those of this broker.
    fn queues_here(&self, topic: &str) -> Option<Vec<MessageQueue>> {
        // A light queue has one, of this broker (`QueryAssignmentProcessor.doLoadBalance`, 5.5).
        if light::is_light(topic) {
            return queues_of(topic, [(self.broker_name.to_string(), 1)]);
        }
        match self.names {
            Some(names) => {
                let route = names.look(|routes| routes.route(topic))?;
                let readable = |queues: &Queues| queues.permission & READ != 0;
                let reads = route.queues.into_iter().filter(|(_, queues)| readable(queues));
                queues_of(topic, reads.map(|(broker, queues)| (broker.to_string(), queues.read)))
            }
            None => {
                let config = self.catalog.get(topic).filter(|config| config.permission.readable())?;
                queues_of(topic, [(self.broker_name.to_string(), config.read_queues.cast_signed())])
            }
        }
    }
}

fn encode(queues: Option<&[MessageQueue]>, mode: Option<&request_modes::RequestMode>) -> Vec<u8> {
    let mode = if mode.is_some_and(|mode| mode.pop) { RequestMode::Pop } else { RequestMode::Pull };
    body::assignment::encode(queues, mode)
}

/// A client's part of a topic's queues, `None` where it should keep what it has: its group's members are unknown.
fn assign(
    members: &Members,
    query: &QueryAssignment,
    mode: Option<&request_modes::RequestMode>,
    queues: Vec<MessageQueue>,
) -> Option<Vec<MessageQueue>> {
    if query.message_model == MessageModel::Broadcasting {
        return Some(queues);
    }
    let mut members = members.consumer_ids(&query.consumer_group)?;
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

/// Queues by broker and number, of brokers with their counts; `None` where there are none.
fn queues_of(topic: &str, brokers: impl IntoIterator<Item = (String, i32)>) -> Option<Vec<MessageQueue>> {
    let mut queues = Vec::new();
    for (broker_name, count) in brokers {
        let count = u32::try_from(count).unwrap_or(0).min(QUEUES_MAX).cast_signed();
        queues.extend((0..count).map(|queue_id| MessageQueue {
            topic: topic.to_owned(),
            broker_name: broker_name.clone(),
            queue_id,
        }));
    }
    queues.sort_unstable_by(|one, other| {
        (&one.broker_name, one.queue_id).cmp(&(&other.broker_name, other.queue_id))
    });
    (!queues.is_empty()).then_some(queues)
}

/// One entry for each broker, which means all of its queues.
fn all_of(queues: &[MessageQueue]) -> Vec<MessageQueue> {
    let brokers = queues.chunk_by(|one, other| one.broker_name == other.broker_name);
    brokers.map(|queues| MessageQueue { queue_id: -1, ..queues[0].clone() }).collect()
}
