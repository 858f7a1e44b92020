//! Pulls from queues of static topics, part by part.

use super::{StaticTopics, lead, own, refusal_of, too_many, undecided};
use crate::{
    answers::{Refusal, answer, request_of},
    catalog::Mapped,
    queues::Found,
    remoting::BrokerSession,
};
use bytes::BytesMut;
use halley_machine::{
    pull::Answer,
    queue_mappings::{Pulled, led, whole},
};
use halley_wire::{
    BrokerCode, Frame, ResponseCode, encode_reply_head,
    reply::PullMessageResponse,
    request::{PullMessage, pull::flag},
};
use std::sync::Arc;

/// A pull as its client sees it, while it is answered from a physical queue.
#[derive(Clone)]
pub(in crate::remoting) struct LogicalPull {
    mapped: Arc<Mapped>,
    queue: i32,
    /// Which part.
    at: usize,
    /// The offset asked for, in the physical queue.
    asked: i64,
}

impl LogicalPull {
    /// Whether the queue still lies where it lay.
    pub(in crate::remoting) fn is_current(&self) -> bool {
        self.mapped.is_current()
    }

    /// What is told of a queue that lies elsewhere now: to ask again, at the same offset.
    pub(in crate::remoting) fn again(&self, min: u64, max: u64) -> (Pulled, Option<i64>) {
        let (asked, (answer, min, max)) = (self.asked, (Answer::RetryImmediately, min as i64, max as i64));
        let Some(part) = led(&self.mapped.detail, self.queue).and_then(|led| led.parts.get(self.at)) else {
            return (Pulled { answer, next: asked, min, max }, None);
        };
        let again = Pulled {
            answer,
            next: part.logic_offset.saturating_add(asked.saturating_sub(part.start_offset)),
            min: part.logical(min),
            max: part.logical(max),
        };
        (again, None)
    }

    /// What was found, in offsets of the static topic's queue, and what the client adds to those in the records.
    pub(in crate::remoting) fn whole(&self, found: &Found) -> (Pulled, Option<i64>) {
        let pulled = Pulled {
            answer: found.answer,
            next: found.next as i64,
            min: found.min as i64,
            max: found.max as i64,
        };
        match led(&self.mapped.detail, self.queue) {
            Some(led) => {
                let (pulled, delta) = whole(led, self.at, self.asked, pulled);
                (pulled, Some(delta))
            }
            None => (pulled, None),
        }
    }
}

impl StaticTopics<'_> {
    /// Where a pull is answered: here, with `header` changed to the physical queue, or elsewhere, and then it is on its way.
    pub(in crate::remoting) fn pull(
        &self,
        header: &mut PullMessage<'_>,
        mapped: &Arc<Mapped>,
        frame: &Frame<'_>,
        session: &BrokerSession,
    ) -> Result<Option<LogicalPull>, Refusal> {
        let queue = header.queue_id;
        let led = led(&mapped.detail, queue).ok_or_else(|| {
            let (topic, broker) = (&header.topic, &mapped.detail.broker_name);
            let remark = format!(
                "{topic}-{queue} cannot find mapping item in request process of current broker {broker}"
            );
            Refusal::new(ResponseCode::NotLeaderForQueue, remark)
        })?;
        let (at, part) = led.part_at(header.queue_offset).ok_or_else(|| undecided(mapped, queue))?;
        let asked = part.physical(header.queue_offset);
        if part.is_ended() {
            let most = (part.end_offset - part.start_offset).min(header.max_msg_nums.into());
            header.max_msg_nums = i32::try_from(most).unwrap_or(header.max_msg_nums);
        }
        (header.queue_id, header.queue_offset) = (part.queue_id, asked);
        let logical = LogicalPull { mapped: mapped.clone(), queue, at, asked };
        if own(mapped, part).is_some() {
            return Ok(Some(logical));
        }
        self.pull_there(header, logical, part.broker_name.clone(), frame, session)?;
        Ok(None)
    }

    fn pull_there(
        &self,
        header: &PullMessage<'_>,
        logical: LogicalPull,
        broker: String,
        frame: &Frame<'_>,
        session: &BrokerSession,
    ) -> Result<(), Refusal> {
        let permit = self.peers.permit().ok_or_else(too_many)?;
        let there = PullMessage {
            sys_flag: header.sys_flag & !(flag::SUSPEND | flag::COMMIT_OFFSET),
            ..header.clone()
        }
        .into_owned();
        let (peers, outbox, request) = (self.peers.clone(), session.info.outbox.clone(), request_of(frame));
        tokio::spawn(async move {
            let pulled = async {
                let reply = peers.ask(&broker, BrokerCode::PullMessage, &there.fields()).await?;
                let answer = match reply.code() {
                    ResponseCode::Success => Answer::Found,
                    ResponseCode::PullNotFound => Answer::NotFound,
                    ResponseCode::PullRetryImmediately => Answer::RetryImmediately,
                    ResponseCode::PullOffsetMoved => Answer::OffsetMoved,
                    _ => return Err(refusal_of(&reply)),
                };
                let header = PullMessageResponse::decode(&reply.frame().ext)?;
                let pulled = Pulled {
                    answer,
                    next: header.next_begin_offset,
                    min: header.min_offset,
                    max: header.max_offset,
                };
                let led = lead(&logical.mapped, logical.queue)?;
                let (pulled, delta) = whole(led, logical.at, logical.asked, pulled);
                let header = PullMessageResponse {
                    next_begin_offset: pulled.next,
                    min_offset: pulled.min,
                    max_offset: pulled.max,
                    offset_delta: Some(delta),
                    ..header
                };
                Ok((reply, pulled.answer, header))
            };
            let pulled = pulled.await;
            drop(permit);
            let mut head = BytesMut::new();
            match pulled {
                Ok((reply, answer, header)) => {
                    let body = reply.body();
                    let remark = reply.frame().remark;
                    let written = encode_reply_head(
                        &mut head,
                        request.serialize,
                        super::super::pull::code_of(answer),
                        request.opaque,
                        remark.as_deref(),
                        &header.fields(),
                        body.len(),
                    );
                    written.expect("what came in a frame fits one");
                    outbox.send([head.freeze(), body]);
                }
                Err(refusal) => {
                    answer_refusal(&mut head, request, &refusal);
                    outbox.send([head.freeze()]);
                }
            }
        });
        Ok(())
    }
}

fn answer_refusal(out: &mut BytesMut, request: crate::held::RequestId, refusal: &Refusal) {
    answer(out, request, refusal.code, Some(&refusal.remark), &[], b"");
}
