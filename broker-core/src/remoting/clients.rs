//! Connected clients, and questions to them: requests 203, 204, 223, 307, 309, 328 and 345.

use super::BrokerSession;
use crate::{
    answers::{Refusal, answer, request_of, succeed},
    ask_client::{AskClients, NoAnswer},
    catalog::Catalog,
    held,
    held::RequestId,
    identity::Identity,
    members::Members,
    outbox::Outbox,
};
use halley_machine::groups::{Member, Subscription};
use halley_model::id;
use halley_store::{LogReader, disk::RealDisk};
use halley_wire::{
    ClientCode, ExtValue, Frame, ResponseCode,
    body::{
        connections::{self, Connection, ConsumerConnections, Producer},
        progress,
    },
    language,
    request::ConsumerGroup,
    request::{
        MessageQueue,
        admin::{ConsumerClient, GetConsumerStatus, GroupAndTopic, ProducerGroup},
    },
};
use parking_lot::Mutex;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// How long a consumer may take to tell how it does, or to consume a message (`Broker2Client.callClient`, 5.5).
const CALL_MAX: Duration = Duration::from_secs(10);

/// How long consumers may take to tell how far they are (`Broker2Client.getConsumeStatus`, 5.5).
const STATUS_MAX: Duration = Duration::from_secs(5);

/// What requests about clients use.
pub(super) struct Clients<'a> {
    pub(super) identity: &'a Identity,
    pub(super) members: &'a Members,
    pub(super) asks: &'a Arc<AskClients>,
    pub(super) catalog: &'a Catalog,
    pub(super) reader: &'a LogReader<RealDisk>,
}

impl Clients<'_> {
    /// 203.
    pub(super) fn consumers(&self, frame: &Frame<'_>, session: &mut BrokerSession) -> Result<(), Refusal> {
        let group = ConsumerGroup::decode(&frame.ext)?.consumer_group;
        let Some(view) = self.members.with_groups(|groups| groups.consumer_group(&group)) else {
            let remark = format!("the consumer group[{group}] not online");
            return Err(Refusal::new(ResponseCode::ConsumerNotOnline, remark));
        };
        let model = if view.broadcasting { "BROADCASTING" } else { "CLUSTERING" };
        let subscribed = |of: &Subscription| (of.topic.to_string(), shown(of));
        let body = ConsumerConnections {
            connection_set: self.connections(&view.members),
            consume_from_where: word(&view.consume_from_where, "CONSUME_FROM_LAST_OFFSET"),
            consume_type: word(&view.consume_type, "CONSUME_PASSIVELY"),
            message_model: model.to_owned(),
            subscription_table: view.subscriptions.iter().map(subscribed).collect(),
        };
        succeed(frame, session, &[], &body.encode());
        Ok(())
    }

    /// 204.
    pub(super) fn producers(&self, frame: &Frame<'_>, session: &mut BrokerSession) -> Result<(), Refusal> {
        let group = ProducerGroup::decode(&frame.ext)?.producer_group;
        let Some(members) = self.members.with_groups(|groups| groups.producer_group(&group)) else {
            let remark = format!("the producer group[{group}] not exist");
            return Err(Refusal::new(ResponseCode::SystemError, remark));
        };
        succeed(frame, session, &[], &connections::encode_producers(self.connections(&members)));
        Ok(())
    }

    /// 328.
    pub(super) fn all_producers(
        &self,
        frame: &Frame<'_>,
        session: &mut BrokerSession,
    ) -> Result<(), Refusal> {
        let producer = |member: &Member| Producer {
            client_id: member.client.id.clone(),
            language: language::name(member.client.language).to_owned(),
            last_update: member.seen,
            address: self.address_of(member),
            version: member.client.version,
        };
        let groups = self.members.with_groups(|groups| groups.all_producers());
        let groups = groups
            .iter()
            .map(|(name, members)| (name.to_string(), members.iter().map(producer).collect::<Vec<_>>()));
        succeed(frame, session, &[], &connections::encode_all_producers(groups.collect()));
        Ok(())
    }

    /// 345.
    pub(super) fn subscription(&self, frame: &Frame<'_>, session: &mut BrokerSession) -> Result<(), Refusal> {
        let GroupAndTopic { group, topic } = GroupAndTopic::decode(&frame.ext)?;
        let subscription = self.members.subscription(&group, &topic).flatten();
        let subscription = subscription.as_ref().map(shown);
        let body = connections::encode_subscription(&group, &topic, subscription.as_ref());
        succeed(frame, session, &[], &body);
        Ok(())
    }

    /// 307.
    pub(super) fn running_info(&self, frame: &Frame<'_>, session: &BrokerSession) -> Result<(), Refusal> {
        let fields = text_fields(frame);
        self.forward(frame, session, ClientCode::GetConsumerRunningInfo, &fields, frame.body)
    }

    /// 309: the message is read from the disk where need be, which an administrator may wait for.
    pub(super) fn consume_directly(&self, frame: &Frame<'_>, session: &BrokerSession) -> Result<(), Refusal> {
        let header = ConsumerClient::decode(&frame.ext)?;
        let id = header.message_id.as_deref().unwrap_or_default();
        let not_found = || Refusal::new(ResponseCode::SystemError, format!("no message has the id {id}"));
        let (_, at) = id::parse_offset_id(id).ok_or_else(not_found)?;
        let mut fields = text_fields(frame);
        fields.insert("brokerName".to_owned(), self.identity.name.to_string());
        if let Some(topic) = header.topic.as_deref().and_then(|topic| self.catalog.get(topic)) {
            fields.insert("topicSysFlag".to_owned(), topic.system_flag.to_string());
        }
        if let Some(group) = self.catalog.group(&header.consumer_group) {
            fields.insert("groupSysFlag".to_owned(), group.system_flag.to_string());
        }
        let call = self.call(frame, session, ClientCode::ConsumeMessageDirectly)?;
        let reader = self.reader.clone();
        tokio::task::spawn_blocking(move || match reader.record_at(at) {
            Ok(record) => call.ask(&fields, &record),
            Err(error) => call.refuse(ResponseCode::SystemError, &error.to_string()),
        });
        Ok(())
    }

    /// 223: all consumers of the group are asked, and the answer waits for the last of them.
    pub(super) fn status(&self, frame: &Frame<'_>, session: &BrokerSession) -> Result<(), Refusal> {
        let header = GetConsumerStatus::decode(&frame.ext)?;
        let view = self.members.with_groups(|groups| groups.consumer_group(&header.group));
        let Some(view) = view else {
            let remark = format!("No Any Consumer online in the consumer group: [{}]", header.group);
            return Err(Refusal::new(ResponseCode::SystemError, remark));
        };
        let wanted = header.client_addr.as_deref().unwrap_or_default();
        let asked = view.members.iter().filter(|member| wanted.is_empty() || member.client.id == wanted);
        let gathered = Arc::new(Gathered {
            clients: Mutex::default(),
            request: request_of(frame),
            oneway: frame.is_oneway(),
            outbox: session.info.outbox.clone(),
        });
        for member in asked {
            let Some(outbox) = self.members.outbox_of(member) else { continue };
            let (told, client) = (gathered.clone(), member.client.id.clone());
            let done = Box::new(move |reply: Result<&Frame<'_>, NoAnswer>| {
                let offsets = reply.ok().filter(|reply| reply.code == ResponseCode::Success.number());
                let offsets = offsets.and_then(|reply| progress::decode_client_status(reply.body).ok());
                if let Some(offsets) = offsets {
                    told.clients.lock().insert(client, offsets);
                }
            });
            let fields = [("topic", (&*header.topic).into()), ("group", (&*header.group).into())];
            let code = ClientCode::GetConsumerStatusFromClient;
            if let Err(error) =
                self.asks.ask((member.connection, &outbox), code, &fields, b"", STATUS_MAX, done)
            {
                tracing::warn!(%error, client = member.client.id, "a consumer was not asked for its status");
            }
        }
        Ok(())
    }

    fn forward(
        &self,
        frame: &Frame<'_>,
        session: &BrokerSession,
        code: ClientCode,
        fields: &BTreeMap<String, String>,
        body: &[u8],
    ) -> Result<(), Refusal> {
        self.call(frame, session, code)?.ask(fields, body);
        Ok(())
    }

    /// A call of the consumer that the request names (`AdminBrokerProcessor.callConsumer`, 5.5).
    fn call(&self, frame: &Frame<'_>, session: &BrokerSession, code: ClientCode) -> Result<Call, Refusal> {
        let header = ConsumerClient::decode(&frame.ext)?;
        let (group, client) = (header.consumer_group, header.client_id.unwrap_or_default());
        let member = self.members.with_groups(|groups| groups.consumer(&group, &client).cloned());
        let reached = member.and_then(|member| Some((self.members.outbox_of(&member)?, member)));
        let Some((outbox, member)) = reached else {
            let remark = format!("The Consumer <{group}> <{client}> not online");
            return Err(Refusal::new(ResponseCode::SystemError, remark));
        };
        Ok(Call {
            asks: self.asks.clone(),
            code,
            member,
            group: group.into_owned(),
            to: outbox,
            asker: session.info.outbox.clone(),
            request: request_of(frame),
            oneway: frame.is_oneway(),
        })
    }

    fn connections(&self, members: &[Member]) -> Vec<Connection> {
        let connection = |member: &Member| {
            let client = &member.client;
            Connection::new(&client.id, self.address_of(member), client.language, client.version)
        };
        members.iter().map(connection).collect()
    }

    fn address_of(&self, member: &Member) -> String {
        self.members.peer_of(member).map_or_else(String::new, |peer| peer.to_string())
    }
}

/// A question to a consumer on behalf of a tool.
struct Call {
    asks: Arc<AskClients>,
    code: ClientCode,
    member: Member,
    group: String,
    to: Arc<Outbox>,
    asker: Arc<Outbox>,
    request: RequestId,
    oneway: bool,
}

impl Call {
    fn ask(self, fields: &BTreeMap<String, String>, body: &[u8]) {
        let fields: Vec<_> = fields.iter().map(|(name, value)| (&**name, ExtValue::Text(value))).collect();
        let (asks, connection, to, code) =
            (self.asks.clone(), self.member.connection, self.to.clone(), self.code);
        let (asker, request, oneway) = (self.asker.clone(), self.request, self.oneway);
        let done = Box::new(move |reply: Result<&Frame<'_>, NoAnswer>| self.answered(reply));
        if let Err(error) = asks.ask((connection, &to), code, &fields, body, CALL_MAX, done)
            && !oneway
        {
            let remark = error.to_string();
            let refuse = |out: &mut bytes::BytesMut| {
                answer(out, request, ResponseCode::SystemBusy, Some(&remark), &[], b"");
            };
            asker.send([held::frame(refuse)]);
        }
    }

    /// Hands the consumer's answer on.
    fn answered(self, reply: Result<&Frame<'_>, NoAnswer>) {
        let (group, client) = (&self.group, &self.member.client.id);
        match reply {
            Ok(reply) if !self.oneway => {
                let texts = text_fields(reply);
                let fields: Vec<_> =
                    texts.iter().map(|(name, value)| (&**name, ExtValue::Text(value))).collect();
                let (code, remark) = (ResponseCode::of(reply.code), reply.remark.as_deref());
                let hand_on =
                    |out: &mut bytes::BytesMut| answer(out, self.request, code, remark, &fields, reply.body);
                self.asker.send([held::frame(hand_on)]);
            }
            Ok(_) => {}
            Err(error @ NoAnswer::TimedOut) => {
                let remark = format!("consumer <{group}> <{client}> Timeout: {error}");
                self.refuse(ResponseCode::ConsumeMsgTimeout, &remark);
            }
            Err(error @ NoAnswer::Closed) => {
                let remark = format!("invoke consumer <{group}> <{client}> Exception: {error}");
                self.refuse(ResponseCode::SystemError, &remark);
            }
        }
    }

    fn refuse(&self, code: ResponseCode, remark: &str) {
        if !self.oneway {
            let refuse = |out: &mut bytes::BytesMut| answer(out, self.request, code, Some(remark), &[], b"");
            self.asker.send([held::frame(refuse)]);
        }
    }
}

/// Answers of consumers; when the last who may answer lets go of it, it is sent.
struct Gathered {
    clients: Mutex<BTreeMap<String, BTreeMap<MessageQueue, i64>>>,
    request: RequestId,
    oneway: bool,
    outbox: Arc<Outbox>,
}

impl Drop for Gathered {
    fn drop(&mut self) {
        if !self.oneway {
            let body = progress::encode_consumer_status(self.clients.get_mut());
            let request = self.request;
            let reply =
                |out: &mut bytes::BytesMut| answer(out, request, ResponseCode::Success, None, &[], &body);
            self.outbox.send([held::frame(reply)]);
        }
    }
}

/// All ext fields, as they came.
fn text_fields(frame: &Frame<'_>) -> BTreeMap<String, String> {
    frame.ext.iter().map(|(name, value)| (name.into_owned(), value.text().into_owned())).collect()
}

fn shown(subscription: &Subscription) -> connections::Subscription {
    let Subscription { topic, version, text, kind, .. } = subscription;
    connections::Subscription::new(topic, text, kind.as_deref(), *version)
}

/// A constant of a Java enumeration as the client sent it; clients in other languages write what they like.
fn word(sent: &str, usual: &str) -> String {
    const KNOWN: [&str; 9] = [
        "CONSUME_PASSIVELY",
        "CONSUME_ACTIVELY",
        "CONSUME_POP",
        "CONSUME_FROM_LAST_OFFSET",
        "CONSUME_FROM_LAST_OFFSET_AND_FROM_MIN_WHEN_BOOT_FIRST",
        "CONSUME_FROM_MIN_OFFSET",
        "CONSUME_FROM_MAX_OFFSET",
        "CONSUME_FROM_FIRST_OFFSET",
        "CONSUME_FROM_TIMESTAMP",
    ];
    let known = KNOWN.iter().find(|known| known.eq_ignore_ascii_case(sent));
    (*known.unwrap_or(&usual)).to_owned()
}
