//! Queues of static topics: request 513, and what requests about offsets and messages make of such a queue. Its leader answers for
//! the whole queue, and asks the brokers that hold older parts of it (`rewriteRequestForStaticTopic` of several processors, 5.5).

mod pulls;

use super::{BrokerSession, topics};
use crate::{
    acks::Acks,
    answers::{Later, Refusal, answer, request_of, succeed, succeed_when_acked},
    catalog::{Catalog, Mapped, StaticError},
    peers::Peers,
    progress::Progress,
    queues::Queues,
};
use halley_machine::queue_mappings::{Led, led};
use halley_model::{GroupName, MappedPart, Permission, QueueId, TopicConfig, TopicName};
use halley_store::{Boundary, disk::RealDisk};
use halley_wire::{
    BrokerCode, Frame, ResponseCode,
    body::static_topic,
    encode::ExtField,
    reply::OffsetResponse,
    request::{
        self, CreateTopic, GetMaxOffset, GetMinOffset, QueryConsumerOffset, SearchOffset,
        UpdateConsumerOffset, admin::GetEarliestStoreTime,
    },
};
use std::{collections::BTreeMap, future::Future, sync::Arc};

pub(super) use pulls::LogicalPull;

/// What requests about queues of static topics use.
pub(super) struct StaticTopics<'a> {
    pub(super) queues: &'a Queues<RealDisk>,
    pub(super) progress: &'a Arc<Progress>,
    pub(super) peers: &'a Arc<Peers>,
}

/// Request 513.
pub(super) struct StaticTopicRequests<'a> {
    pub(super) catalog: &'a Catalog,
    pub(super) queues: &'a Queues<RealDisk>,
    pub(super) acks: &'a Acks,
}

impl StaticTopicRequests<'_> {
    /// 513: the reply waits until the log has the change.
    pub(super) fn update(&self, frame: &Frame<'_>, session: &mut BrokerSession) -> Result<(), Refusal> {
        let header = CreateTopic::decode(&frame.ext)?;
        let detail = static_topic::decode(frame.body)?;
        let config = TopicConfig {
            name: topics::topic_name(&header.topic)?,
            read_queues: u32::try_from(header.read_queue_nums).unwrap_or(u32::MAX),
            write_queues: u32::try_from(header.write_queue_nums).unwrap_or(u32::MAX),
            permission: Permission(u8::try_from(header.perm).unwrap_or(0)),
            system_flag: header.topic_sys_flag,
            ordered: false,
            filter_type: topics::filter_type(header.topic_filter_type.as_deref())?,
            attributes: BTreeMap::new(),
        };
        let force = request::topic::has(&frame.ext, "force");
        let (topic, queues) = (config.name.clone(), config.queues());
        let updated = self.catalog.update_static(config, detail, force);
        let end = updated.map_err(|error| match error {
            StaticError::Mapping(error) => Refusal::new(ResponseCode::SystemError, error.to_string()),
            StaticError::Change(error) => topics::refusal_of(error),
        })?;
        // Whoever waits at the end of a queue looks again whether it is still there.
        self.queues.arrivals.notify((0..queues).map(|queue| (&*topic, queue)));
        succeed_when_acked(frame, session, end, self.acks.acked(), b"");
        Ok(())
    }
}

/// A place in a physical queue.
pub(super) enum Place {
    /// Of this broker.
    Here(QueueId, i64),
    /// Of another one.
    There(MappedPart, i64),
}

impl StaticTopics<'_> {
    /// Where an offset of a queue lies, for who leads the queue.
    pub(super) fn place(&self, mapped: &Mapped, queue: i32, logical: i64) -> Result<Place, Refusal> {
        let led = lead(mapped, queue)?;
        let (_, part) = led.part_at(logical).ok_or_else(|| undecided(mapped, queue))?;
        let physical = part.physical(logical);
        Ok(match own(mapped, part) {
            Some(queue) => Place::Here(queue, physical),
            None => Place::There(part.clone(), physical),
        })
    }

    /// 15 for a part of another broker.
    pub(super) fn commit_there(
        &self,
        header: &UpdateConsumerOffset<'_>,
        part: MappedPart,
        offset: i64,
        frame: &Frame<'_>,
        session: &BrokerSession,
    ) -> Result<(), Refusal> {
        let (peers, group, topic) =
            (self.peers.clone(), header.consumer_group.to_string(), header.topic.to_string());
        self.answer_after(frame, session, async move {
            let there = UpdateConsumerOffset {
                consumer_group: group.into(),
                topic: topic.into(),
                queue_id: part.queue_id,
                commit_offset: offset,
            };
            ask(&peers, &part, BrokerCode::UpdateConsumerOffset, &there.fields()).await?;
            Ok(Later::default())
        })
    }

    /// 14: what the group committed in the newest part in which it committed anything.
    pub(super) fn committed(
        &self,
        header: &QueryConsumerOffset<'_>,
        mapped: &Arc<Mapped>,
        frame: &Frame<'_>,
        session: &BrokerSession,
    ) -> Result<(), Refusal> {
        lead(mapped, header.queue_id)?;
        let (mapped, queue, peers, progress) =
            (mapped.clone(), header.queue_id, self.peers.clone(), self.progress.clone());
        let (group, topic) = (GroupName::new(&header.consumer_group)?, TopicName::new(&header.topic)?);
        self.answer_after(frame, session, async move {
            for part in lead(&mapped, queue)?.parts.iter().rev() {
                let physical = match own(&mapped, part) {
                    Some(here) => {
                        progress.committed(&group, &topic, here).map(|committed| committed.offset as i64)
                    }
                    None => {
                        let there = QueryConsumerOffset {
                            consumer_group: (&*group).into(),
                            topic: (&*topic).into(),
                            queue_id: part.queue_id,
                            set_zero_if_not_found: Some(false),
                        };
                        let code = BrokerCode::QueryConsumerOffset;
                        let reply = peers.ask(&part.broker_name, code, &there.fields()).await?;
                        match reply.code() {
                            ResponseCode::Success => Some(OffsetResponse::decode(&reply.frame().ext)?.offset),
                            ResponseCode::QueryNotFound => None,
                            _ => return Err(refusal_of(&reply)),
                        }
                    }
                };
                if let Some(physical) = physical {
                    return Ok(offset(part.logical(physical)));
                }
            }
            let remark = "Not found, maybe this group consumer boot first";
            Err(Refusal::new(ResponseCode::QueryNotFound, remark))
        })
    }

    /// 29: in the first part that has something as new.
    pub(super) fn search(
        &self,
        header: &SearchOffset<'_>,
        mapped: &Arc<Mapped>,
        frame: &Frame<'_>,
        session: &BrokerSession,
    ) -> Result<(), Refusal> {
        lead(mapped, header.queue_id)?;
        let (mapped, queue, peers, reader) =
            (mapped.clone(), header.queue_id, self.peers.clone(), self.queues.reader.clone());
        let (topic, timestamp, boundary) = (header.topic.to_string(), header.timestamp, header.boundary);
        self.answer_after(frame, session, async move {
            let mut found = -1;
            let parts = lead(&mapped, queue)?.parts;
            for (at, part) in parts.iter().enumerate().filter(|(_, part)| part.logic_offset >= 0) {
                let physical = match own(&mapped, part) {
                    Some(here) => {
                        let (reader, topic) = (reader.clone(), topic.clone());
                        let boundary = match boundary {
                            request::Boundary::Lower => Boundary::Lower,
                            request::Boundary::Upper => Boundary::Upper,
                        };
                        let search = move || reader.offset_by_time(&topic, here, timestamp, boundary);
                        tokio::task::spawn_blocking(search).await?? as i64
                    }
                    None => {
                        let there = SearchOffset {
                            topic: topic.as_str().into(),
                            queue_id: part.queue_id,
                            timestamp,
                            boundary,
                            // A topic is static or has lite topics.
                            lite_topic: None,
                        };
                        let code = BrokerCode::SearchOffsetByTimestamp;
                        let reply = ask(&peers, part, code, &there.fields()).await?;
                        OffsetResponse::decode(&reply.frame().ext)?.offset
                    }
                };
                found = part.logical(physical);
                // At a part's end everything in it is older.
                let end = match parts.get(at + 1) {
                    None => break,
                    Some(_) if part.is_ended() => part.end_offset,
                    Some(_) => self::end(&peers, &reader, &mapped, &topic, part).await?,
                };
                if physical < end {
                    break;
                }
            }
            Ok(offset(found))
        })
    }

    /// 30: behind the last part that is decided.
    pub(super) fn max(
        &self,
        header: &GetMaxOffset<'_>,
        mapped: &Arc<Mapped>,
        frame: &Frame<'_>,
        session: &mut BrokerSession,
    ) -> Result<(), Refusal> {
        let led = lead(mapped, header.queue_id)?;
        let (_, part) = led.part_at(i64::MAX).ok_or_else(|| undecided(mapped, header.queue_id))?;
        if let Some(queue) = own(mapped, part) {
            let end = self.queues.bounds(&header.topic, queue).1 as i64;
            succeed(frame, session, &OffsetResponse { offset: part.logical(end) }.fields(), b"");
            return Ok(());
        }
        let (peers, reader) = (self.peers.clone(), self.queues.reader.clone());
        let (mapped, part, topic) = (mapped.clone(), part.clone(), header.topic.to_string());
        self.answer_after(frame, session, async move {
            Ok(offset(part.logical(end(&peers, &reader, &mapped, &topic, &part).await?)))
        })
    }

    /// 31: where the first part begins.
    pub(super) fn min(
        &self,
        header: &GetMinOffset<'_>,
        mapped: &Arc<Mapped>,
        frame: &Frame<'_>,
        session: &mut BrokerSession,
    ) -> Result<(), Refusal> {
        let part = first(mapped, header.queue_id)?;
        if let Some(queue) = own(mapped, part) {
            let begin = self.queues.bounds(&header.topic, queue).0 as i64;
            succeed(frame, session, &OffsetResponse { offset: part.logical_within(begin) }.fields(), b"");
            return Ok(());
        }
        let (peers, part, topic) = (self.peers.clone(), part.clone(), header.topic.to_string());
        self.answer_after(frame, session, async move {
            let there = GetMinOffset { topic: topic.into(), queue_id: part.queue_id };
            let reply = ask(&peers, &part, BrokerCode::GetMinOffset, &there.fields()).await?;
            Ok(offset(part.logical_within(OffsetResponse::decode(&reply.frame().ext)?.offset)))
        })
    }

    /// 32 for a queue whose first part another broker has; else the physical queue.
    pub(super) fn earliest(
        &self,
        header: &GetEarliestStoreTime<'_>,
        mapped: &Arc<Mapped>,
        frame: &Frame<'_>,
        session: &BrokerSession,
    ) -> Result<Option<QueueId>, Refusal> {
        let part = first(mapped, header.queue_id)?;
        if let Some(queue) = own(mapped, part) {
            return Ok(Some(queue));
        }
        let (peers, part, topic) = (self.peers.clone(), part.clone(), header.topic.to_string());
        self.answer_after(frame, session, async move {
            let there = GetEarliestStoreTime { topic: topic.into(), queue_id: part.queue_id };
            let reply = ask(&peers, &part, BrokerCode::GetEarliestMsgStoreTime, &there.fields()).await?;
            let [timestamp] = reply.frame().ext.pick(["timestamp"]);
            Ok(Later { fields: vec![("timestamp", timestamp.i64()?.into())], ..Later::default() })
        })?;
        Ok(None)
    }

    /// Answers with what is found after other brokers were asked.
    fn answer_after(
        &self,
        frame: &Frame<'_>,
        session: &BrokerSession,
        find: impl Future<Output = Result<Later, Refusal>> + Send + 'static,
    ) -> Result<(), Refusal> {
        let permit = self.peers.permit().ok_or_else(too_many)?;
        let (outbox, request, oneway) = (session.info.outbox.clone(), request_of(frame), frame.is_oneway());
        tokio::spawn(async move {
            let found = find.await;
            drop(permit);
            if oneway {
                return;
            }
            outbox.send([crate::held::frame(|out| match &found {
                Ok(Later { fields, body }) => answer(out, request, ResponseCode::Success, None, fields, body),
                Err(refusal) => answer(out, request, refusal.code, Some(&refusal.remark), &[], b""),
            })]);
        });
        Ok(())
    }
}

/// The queue, where this broker leads it.
pub(super) fn lead(mapped: &Mapped, queue: i32) -> Result<Led<'_>, Refusal> {
    led(&mapped.detail, queue).ok_or_else(|| not_leader(mapped, queue))
}

/// What a client hears that asks a broker for a queue of another one, in RocketMQ's words; it then asks for the route.
pub(super) fn not_leader(mapped: &Mapped, queue: i32) -> Refusal {
    let (topic, broker) = (&mapped.detail.topic, &mapped.detail.broker_name);
    let remark = format!("{topic}-{queue} does not exit in request process of current broker {broker}");
    Refusal::new(ResponseCode::NotLeaderForQueue, remark)
}

fn undecided(mapped: &Mapped, queue: i32) -> Refusal {
    let remark = format!("{}-{queue} has no part whose first offset is decided", mapped.detail.topic);
    Refusal::new(ResponseCode::SystemError, remark)
}

fn too_many() -> Refusal {
    Refusal::new(ResponseCode::SystemBusy, "too many requests wait for other brokers")
}

fn first(mapped: &Mapped, queue: i32) -> Result<&MappedPart, Refusal> {
    let first = lead(mapped, queue)?.part_at(0);
    first.map(|(_, part)| part).ok_or_else(|| undecided(mapped, queue))
}

/// The physical queue, if this broker has it. A number that is none stands for a queue without messages.
fn own(mapped: &Mapped, part: &MappedPart) -> Option<QueueId> {
    let here = part.broker_name == mapped.detail.broker_name;
    here.then(|| QueueId::try_from(part.queue_id).unwrap_or(QueueId::MAX))
}

/// The end of a part's physical queue.
async fn end(
    peers: &Peers,
    reader: &halley_store::LogReader<RealDisk>,
    mapped: &Mapped,
    topic: &str,
    part: &MappedPart,
) -> Result<i64, Refusal> {
    if let Some(queue) = own(mapped, part) {
        return Ok(reader.bounds(topic, queue).map_or(0, |(_, end)| end as i64));
    }
    let there = GetMaxOffset { topic: topic.into(), queue_id: part.queue_id, committed: true };
    let reply = ask(peers, part, BrokerCode::GetMaxOffset, &there.fields()).await?;
    Ok(OffsetResponse::decode(&reply.frame().ext)?.offset)
}

/// Asks the broker of a part; anything but success is passed on.
async fn ask(
    peers: &Peers,
    part: &MappedPart,
    code: BrokerCode,
    fields: &[ExtField<'_>],
) -> Result<halley_client::Reply, Refusal> {
    let reply = peers.ask(&part.broker_name, code, fields).await?;
    match reply.code() {
        ResponseCode::Success => Ok(reply),
        _ => Err(refusal_of(&reply)),
    }
}

fn refusal_of(reply: &halley_client::Reply) -> Refusal {
    Refusal::new(reply.code(), reply.frame().remark.unwrap_or_default())
}

fn offset(offset: i64) -> Later {
    Later { fields: vec![("offset", offset.into())], ..Later::default() }
}
