//! Remoting requests to the broker: which code is handled where, and how errors are told.

mod groups;
mod offsets;
mod pull;
mod retry;
mod send;
mod stored;
mod topics;
mod transaction;

use crate::{
    appends::Appends,
    catalog::Catalog,
    connection::{Service, Session, SessionInfo},
    held::RequestId,
    identity::Identity,
    members::Members,
    metrics::BrokerMetrics,
    progress::Progress,
    queues::Queues,
    state_writer::StateWriter,
    transactions::Transactions,
};
use halley_store::disk::RealDisk;
use halley_wire::{
    BrokerCode, Frame, ResponseCode,
    encode::ExtField,
    encode_reply,
    frame::{self, FrameError},
    reply,
};
use std::sync::Arc;
use tokio::time::Instant;

/// The broker's service: what each family of requests uses.
pub(crate) struct Remoting {
    pub(crate) identity: Identity,
    pub(crate) appends: Appends,
    pub(crate) queues: Queues<RealDisk>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) members: Arc<Members>,
    pub(crate) transactions: Arc<Transactions>,
    pub(crate) writer: StateWriter,
    pub(crate) metrics: Arc<BrokerMetrics>,
}

/// What a connection to the broker remembers.
#[derive(Debug, Default)]
pub(crate) struct State {
    parked: pull::Parked,
    filters: pull::FilterCache,
    sends: send::Scratch,
}

type BrokerSession = Session<State>;

/// A request that is answered with an error.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) code: ResponseCode,
    pub(crate) remark: String,
}

impl Refusal {
    pub(crate) fn new(code: ResponseCode, remark: impl Into<String>) -> Self {
        Self { code, remark: remark.into() }
    }
}

/// What a client sent cannot be read: the broker of RocketMQ answers SYSTEM_ERROR with the exception's text.
impl<E: std::error::Error> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self::new(ResponseCode::SystemError, error.to_string())
    }
}

impl Service for Remoting {
    type State = State;

    fn opened(&self, session: &SessionInfo) -> State {
        self.members.opened(session.id, session.outbox.clone());
        State::default()
    }

    fn frames(&self, input: &[u8], session: &mut BrokerSession) -> Result<usize, FrameError> {
        let limits = frame::Limits::default();
        let mut used = 0;
        let mut sends = self.sends().batch(session);
        let result = loop {
            match frame::decode(&input[used..], &limits) {
                Ok(Some((frame, len))) => {
                    used += len;
                    if !frame.is_reply() {
                        self.metrics.requests.inc();
                        self.dispatch(&frame, session, &mut sends);
                    }
                }
                Ok(None) => break Ok(used),
                Err(error) => break Err(error),
            }
        };
        // What came before garbage counts.
        self.sends().stage(sends, session);
        result
    }

    fn woken(&self, token: u64, session: &mut BrokerSession) {
        self.pulls().woken(token, session);
    }

    fn expire(&self, now: Instant, session: &mut BrokerSession) {
        self.pulls().expire(now, session);
    }

    fn deadline(&self, session: &BrokerSession) -> Option<Instant> {
        session.state.parked.deadline()
    }

    fn stopped(&self, session: &mut BrokerSession) {
        let refusal = stopped_refusal();
        for request in session.held.fail() {
            answer(session.out.head(), request, refusal.code, Some(&refusal.remark), &[], b"");
        }
    }

    fn closed(&self, session: &mut BrokerSession) {
        self.pulls().forget_all(session);
        self.members.closed(session.info.id);
    }
}

impl Remoting {
    fn dispatch<'f>(&self, frame: &Frame<'f>, session: &mut BrokerSession, sends: &mut send::Batch<'f>) {
        let code = BrokerCode::of(frame.code);
        let handled = match code {
            BrokerCode::SendMessage | BrokerCode::SendMessageV2 | BrokerCode::SendBatchMessage => {
                self.sends().take(code, frame, sends)
            }
            BrokerCode::PullMessage | BrokerCode::LitePullMessage => self.pulls().pull(frame, session),
            BrokerCode::QueryConsumerOffset => self.offsets().query(frame, session),
            BrokerCode::UpdateConsumerOffset => self.offsets().update(frame, session),
            BrokerCode::SearchOffsetByTimestamp => self.offsets().search(frame, session),
            BrokerCode::GetMaxOffset => self.offsets().max(frame, session),
            BrokerCode::GetMinOffset => self.offsets().min(frame, session),
            BrokerCode::HeartBeat => self.groups().heartbeat(frame, session),
            BrokerCode::UnregisterClient => self.groups().unregister(frame, session),
            BrokerCode::GetConsumerListByGroup => self.groups().consumer_list(frame, session),
            BrokerCode::LockBatchMq => self.groups().lock(frame, session),
            BrokerCode::UnlockBatchMq => self.groups().unlock(frame, session),
            BrokerCode::CheckClientConfig => self.groups().check_client(frame, session),
            BrokerCode::ConsumerSendMsgBack => self.retries().send_back(frame, session),
            BrokerCode::RecallMessage => self.retries().recall(frame, session),
            BrokerCode::EndTransaction => self.transaction_requests().end(frame, session),
            BrokerCode::UpdateAndCreateTopic => self.topics().create(frame, session),
            BrokerCode::Unknown(code) => Err(not_supported(code)),
        };
        if let Err(refusal) = handled {
            refuse(frame, session, &refusal);
        }
    }

    fn sends(&self) -> send::Sends<'_> {
        send::Sends {
            identity: &self.identity,
            appends: &self.appends,
            catalog: &self.catalog,
            progress: &self.progress,
            metrics: &self.metrics,
        }
    }

    fn retries(&self) -> retry::Retries<'_> {
        retry::Retries {
            identity: &self.identity,
            catalog: &self.catalog,
            writer: &self.writer,
            stored: self.stored(),
        }
    }

    fn transaction_requests(&self) -> transaction::TransactionRequests<'_> {
        transaction::TransactionRequests { transactions: &self.transactions, stored: self.stored() }
    }

    fn stored(&self) -> stored::Stored<'_> {
        stored::Stored { queues: &self.queues, acks: &self.appends.acks }
    }

    fn pulls(&self) -> pull::Pulls<'_> {
        pull::Pulls {
            queues: &self.queues,
            catalog: &self.catalog,
            members: &self.members,
            progress: &self.progress,
            metrics: &self.metrics,
        }
    }

    fn offsets(&self) -> offsets::Offsets<'_> {
        offsets::Offsets { queues: &self.queues, catalog: &self.catalog, progress: &self.progress }
    }

    fn groups(&self) -> groups::Groups<'_> {
        groups::Groups { members: &self.members, progress: &self.progress, catalog: &self.catalog }
    }

    fn topics(&self) -> topics::TopicRequests<'_> {
        topics::TopicRequests { catalog: &self.catalog, acks: &self.appends.acks }
    }
}

/// Code 3: nobody here serves the request; the connection goes on.
pub(crate) fn not_supported(code: i32) -> Refusal {
    Refusal::new(ResponseCode::RequestCodeNotSupported, reply::not_supported(code))
}

/// What was staged before the store stopped may be found by recovery.
fn stopped_refusal() -> Refusal {
    let remark = "the store stopped, the message may or may not be stored";
    Refusal::new(ResponseCode::ServiceNotAvailable, remark)
}

/// What a reply needs of its request.
pub(crate) fn request_of(frame: &Frame<'_>) -> RequestId {
    RequestId { opaque: frame.opaque, serialize: frame.serialize }
}

/// Appends a reply.
pub(crate) fn answer(
    out: &mut bytes::BytesMut,
    request: RequestId,
    code: ResponseCode,
    remark: Option<&str>,
    fields: &[ExtField<'_>],
    body: &[u8],
) {
    encode_reply(out, request.serialize, code, request.opaque, remark, fields, body);
}

/// Answers a request with success, unless no answer is wanted.
pub(crate) fn succeed<S>(frame: &Frame<'_>, session: &mut Session<S>, fields: &[ExtField<'_>], body: &[u8]) {
    if !frame.is_oneway() {
        answer(session.out.head(), request_of(frame), ResponseCode::Success, None, fields, body);
    }
}

/// Answers a request with an error, unless no answer is wanted.
pub(crate) fn refuse<S>(frame: &Frame<'_>, session: &mut Session<S>, refusal: &Refusal) {
    if !frame.is_oneway() {
        let request = request_of(frame);
        answer(session.out.head(), request, refusal.code, Some(&refusal.remark), &[], b"");
    }
}
