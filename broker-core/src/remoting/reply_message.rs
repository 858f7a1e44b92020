//! Replies to messages: requests 324 and 325, which lead to request 326 to the producer that waits
//! (`ReplyMessageProcessor`, 5.5).

use super::{
    BrokerSession,
    send::{Sends, queue_of},
};
use crate::{
    acks::Acks,
    answers::{Refusal, answer, request_of, stopped_refusal},
    ask_client::AskClients,
    clock,
    held::{RequestId, frame as encode_frame},
    members::Members,
    outbox::Outbox,
};
use bytes::BytesMut;
use halley_model::{RecordBody, id, property};
use halley_wire::{
    BrokerCode, ClientCode, Frame, ResponseCode,
    reply::SendMessageResponse,
    request::{PushReply, SendForm, SendMessage},
};
use std::{net::SocketAddr, sync::Arc, time::Duration};

/// How long a producer may take to say that it has the reply (`Broker2Client.callClient`, 5.5).
const PUSH_MAX: Duration = Duration::from_secs(10);

/// What replies use.
pub(super) struct Replies<'a> {
    pub(super) sends: Sends<'a>,
    pub(super) members: &'a Members,
    pub(super) asks: &'a AskClients,
}

/// What will be answered to the sender of a reply, but for whether it reached the producer.
struct Answer {
    request: RequestId,
    oneway: bool,
    response: SendMessageResponse<'static>,
    /// The reply is stored when this is acknowledged.
    end: u64,
}

impl Replies<'_> {
    /// 324, 325: the reply is stored, and pushed to the producer whose client id its properties name. Its sender is told
    /// whether the producer took it; that it is stored says nothing to anybody, as with RocketMQ.
    pub(super) fn reply(
        &self,
        code: BrokerCode,
        frame: &Frame<'_>,
        session: &mut BrokerSession,
    ) -> Result<(), Refusal> {
        let form = SendForm::of(code).unwrap_or(SendForm::Short);
        let header = SendMessage::decode(form, &frame.ext)?;
        let topic = self.sends.topic_of(&header)?;
        let queue = queue_of(&header, &topic)?;
        let mut properties = Vec::new();
        header.properties.append_to(&mut properties);
        let record = RecordBody {
            topic: &topic.name,
            queue,
            flag: header.flag,
            system_flag: header.sys_flag,
            born: header.born_timestamp,
            born_host: session.info.peer,
            reconsume_times: header.reconsume_times,
            prepared_offset: 0,
            body: frame.body,
            properties: &properties,
            dispatched: false,
        };
        let sends = &self.sends;
        let staged = sends.appends.log.stage(clock::now()).and_then(|mut staging| staging.append(&record));
        let address = sends.identity.address;
        let (message_id, queue_offset, end) = match staged {
            Ok(placed) => {
                (id::offset_id(address, placed.log_offset), placed.queue_offset, placed.log_offset + 1)
            }
            Err(error) => {
                // It reaches the producer without.
                tracing::warn!(%error, "a reply was not stored");
                ("0".to_owned(), 0, 0)
            }
        };
        let answer = Answer {
            request: request_of(frame),
            oneway: frame.is_oneway(),
            response: SendMessageResponse {
                message_id: message_id.into(),
                queue_id: queue as i32,
                queue_offset: queue_offset as i64,
                transaction_id: None,
                recall_handle: None,
                batch_unique_id: None,
            },
            end,
        };
        self.push(&header, &properties, frame.body, answer, session);
        Ok(())
    }

    fn push(
        &self,
        header: &SendMessage<'_>,
        properties: &[u8],
        body: &[u8],
        answer: Answer,
        session: &mut BrokerSession,
    ) {
        let acks = &self.sends.appends.acks;
        let Some(client) = property::get(properties, property::REPLY_TO_CLIENT) else {
            let remark = format!("reply message properties[{}] is null", property::REPLY_TO_CLIENT);
            return answer.hold(&remark, acks, session);
        };
        let Some((connection, outbox)) = self.members.producer(client) else {
            let remark = format!("push reply message fail, channel of <{client}> not found.");
            return answer.hold(&remark, acks, session);
        };
        let now = clock::now();
        let mut pushed = Vec::with_capacity(properties.len() + 32);
        property::copy_where(properties, &mut pushed, |key| key != property::PUSH_REPLY_MS);
        property::push(&mut pushed, property::PUSH_REPLY_MS, &now.to_string());
        let push = PushReply {
            message: header,
            properties: &String::from_utf8_lossy(&pushed),
            born_host: &host_text(session.info.peer),
            store_host: &host_text(self.sends.identity.address),
            store_timestamp: now,
        };
        let failed = format!("push reply message to {client}fail.");
        let waiting = Arc::new(parking_lot::Mutex::new(Some(answer)));
        let (acks_then, replier) = (acks.clone(), session.info.outbox.clone());
        let (failed_then, answer_then) = (failed.clone(), waiting.clone());
        let done = Box::new(move |reply: Result<&Frame<'_>, _>| {
            let remark = match reply {
                Ok(reply) if reply.code == ResponseCode::Success.number() => None,
                Ok(_) | Err(_) => Some(failed_then),
            };
            let Some(answer) = answer_then.lock().take() else { return };
            let remark = remark.as_deref();
            if acks_then.acked() >= answer.end {
                return answer.send(remark, &replier);
            }
            // The log is mostly faster than the producer; where it is not, it is waited for beside its connection.
            let remark = remark.map(str::to_owned);
            tokio::spawn(async move {
                match acks_then.reached(answer.end).await {
                    Ok(()) => answer.send(remark.as_deref(), &replier),
                    Err(_) => answer.send(Some(&stopped_refusal().remark), &replier),
                }
            });
        });
        let code = ClientCode::PushReplyMessageToClient;
        let asked = self.asks.ask((connection, &outbox), code, &push.fields(), body, PUSH_MAX, done);
        if let Err(error) = asked {
            tracing::warn!(%error, "a reply was not pushed");
            if let Some(answer) = waiting.lock().take() {
                answer.hold(&failed, acks, session);
            }
        }
    }
}

impl Answer {
    /// Says that the producer did not get the reply, once it is stored.
    fn hold(self, remark: &str, acks: &Acks, session: &mut BrokerSession) {
        if !self.oneway {
            session.held.push(self.end, self.request, |out| self.write(out, Some(remark)));
            session.held.release(acks.acked(), &mut session.out);
        }
    }

    fn send(self, failed: Option<&str>, replier: &Outbox) {
        if !self.oneway {
            replier.send([encode_frame(|out| self.write(out, failed))]);
        }
    }

    fn write(&self, out: &mut BytesMut, failed: Option<&str>) {
        let code = if failed.is_some() { ResponseCode::SystemError } else { ResponseCode::Success };
        answer(out, self.request, code, failed, &self.response.fields(), b"");
    }
}

/// As `ReplyMessageProcessor` writes addresses: without brackets around those of IPv6.
fn host_text(host: SocketAddr) -> String {
    format!("{}:{}", host.ip(), host.port())
}
