//! Popping messages of lite topics: request 200070.

use super::{
    LATE_MAX, PopRequests, held, no_topic, refuse, reply, until, waiting::Request, waiting::Waiting,
};
use crate::{
    answers::{Refusal, answer, not_stored, request_of},
    clock,
    lite::{
        is_lite,
        take::{LitePop, LiteTaken},
    },
    pop::{polling::PollingFull, take::Cold},
    queues::Source,
    remoting::BrokerSession,
};
use halley_machine::{attributes, pop::RECORDS_MAX};
use halley_model::GroupName;
use halley_wire::{
    Frame, ResponseCode, pop::ORDER_REVIVE_QUEUE, reply::PopLiteMessageResponse,
    request::lite::PopLiteMessage,
};
use std::mem;
use tokio::time::Instant;

impl PopRequests<'_> {
    /// 200070.
    pub(in crate::remoting) fn pop_lite(
        &self,
        frame: &Frame<'_>,
        session: &mut BrokerSession,
    ) -> Result<(), Refusal> {
        let header = PopLiteMessage::decode(&frame.ext)?;
        match self.check_lite(&header) {
            Ok((pop, until)) => {
                let waiting = Waiting::new(request_of(frame), Request::Lite(Box::new(pop)), until);
                self.answer_lite(waiting, true, session);
            }
            Err(refusal) => refuse(frame, session, &refusal, &PopLiteMessageResponse::default().fields()),
        }
        Ok(())
    }

    /// Answers from memory, waits, or hands over to a thread that may read from disk.
    pub(super) fn answer_lite(&self, waiting: Waiting, may_park: bool, session: &mut BrokerSession) {
        let Request::Lite(pop) = &waiting.request else { return };
        match self.lite.take(self.popper, pop, Source::Memory) {
            Ok(mut taken) if taken.records > 0 => {
                self.metrics.popped.inc_by(taken.records as u64);
                let runs = mem::take(&mut taken.runs);
                let fields = response_of(pop, &taken);
                session.out.parts(reply(waiting.id, ResponseCode::Success, "FOUND", &fields.fields(), runs));
            }
            Ok(taken) => {
                let parked = if may_park { self.park(waiting.clone(), session) } else { Ok(false) };
                let code = match parked {
                    Ok(true) => return,
                    Ok(false) => ResponseCode::PollingTimeout,
                    Err(PollingFull) => ResponseCode::PollingFull,
                };
                let fields = response_of(pop, &taken);
                let remark = Some("NO_MESSAGE_IN_QUEUE");
                answer(session.out.head(), waiting.id, code, remark, &fields.fields(), b"");
            }
            Err(Cold) => self.pop_lite_from_disk(&waiting, session),
        }
    }

    fn pop_lite_from_disk(&self, waiting: &Waiting, session: &mut BrokerSession) {
        let Request::Lite(pop) = &waiting.request else { return };
        self.metrics.cold_pulls.inc();
        let (lite, popper, outbox) = (self.lite.clone(), self.popper.clone(), session.info.outbox.clone());
        let (pop, id, metrics) = (pop.clone(), waiting.id, self.metrics.clone());
        self.on_disk(id, session, move |ticket| {
            let mut taken = match lite.take(&popper, &pop, Source::Disk) {
                Ok(taken) => taken,
                Err(cold) => unreachable!("a look with the disk never ends with {cold:?}"),
            };
            let (code, remark) = match taken.records {
                // The client asks again, and then waits.
                0 => (ResponseCode::PollingTimeout, "NO_MESSAGE_IN_QUEUE"),
                _ => (ResponseCode::Success, "FOUND"),
            };
            metrics.popped.inc_by(taken.records as u64);
            let runs = mem::take(&mut taken.runs);
            let header = response_of(&pop, &taken);
            outbox.send(reply(id, code, remark, &header.fields(), held(runs, ticket)));
        });
    }

    fn check_lite(&self, header: &PopLiteMessage<'_>) -> Result<(LitePop, Instant), Refusal> {
        let refused = |code, remark: String| Err(Refusal::new(code, remark));
        let now = clock::now();
        let born = if header.born_time == 0 { now } else { header.born_time };
        let address = self.settings.address();
        if now.saturating_sub(born).saturating_sub(header.poll_time) > LATE_MAX {
            let remark = format!("the broker[{address}] pop message is timeout too much");
            return refused(ResponseCode::PollingTimeout, remark);
        }
        if !self.settings.permission().readable() {
            let remark = format!("the broker[{address}] pop message is forbidden");
            return refused(ResponseCode::NoPermission, remark);
        }
        if header.max_msg_num > RECORDS_MAX as i32 {
            let remark = format!("the broker[{address}] pop message's num is greater than 32");
            return refused(ResponseCode::InvalidParameter, remark);
        }
        let Some(topic) = self.catalog.get(&header.topic) else {
            let Refusal { code, .. } = no_topic(&header.topic);
            return refused(code, format!("topic [{}] not exist, apply first please!", header.topic));
        };
        if !topic.permission.readable() {
            let remark = format!("the topic [{}] peeking message is forbidden", topic.name);
            return refused(ResponseCode::NoPermission, remark);
        }
        if !is_lite(&topic) {
            let remark = format!("the topic [{}] message type not match", topic.name);
            return refused(ResponseCode::InvalidParameter, remark);
        }
        let group = GroupName::new(&header.consumer_group)?;
        let Some(config) = self.catalog.ensure_group(&group).map_err(not_stored)? else {
            let remark = format!("subscription group [{group}] not exist");
            return refused(ResponseCode::SubscriptionGroupNotExist, remark);
        };
        if !config.consume_enable {
            let remark = format!("subscription group no permission, {group}");
            return refused(ResponseCode::NoPermission, remark);
        }
        if config.attributes.get(attributes::LITE_BIND_TOPIC).is_none_or(|bound| *bound != header.topic) {
            let remark = format!("subscription bind topic not match, {group}");
            return refused(ResponseCode::InvalidParameter, remark);
        }
        let pop = LitePop {
            client: (&*header.client_id).into(),
            group,
            records_max: usize::try_from(header.max_msg_num).unwrap_or(0),
            invisible: header.invisible_time,
            attempt: header.attempt_id.as_deref().map(Box::from),
        };
        Ok((pop, until(now, born, header.poll_time)))
    }
}

fn response_of<'a>(pop: &LitePop, taken: &'a LiteTaken) -> PopLiteMessageResponse<'a> {
    PopLiteMessageResponse {
        pop_time: taken.popped,
        invisible_time: pop.invisible,
        revive_queue_id: ORDER_REVIVE_QUEUE,
        order_count_info: Some(taken.counts.as_str().into()),
    }
}
