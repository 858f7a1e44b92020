//! Remoting requests to the broker: which code is handled where, and how errors are told.

mod assignment;
mod clients;
mod consumption;
mod figures;
mod group_configs;
mod groups;
mod lite;
mod offsets;
mod pop;
mod pull;
mod query;
mod reply_message;
mod retry;
mod send;
mod static_topics;
mod stored;
mod topics;
mod transaction;

use crate::{
    answers::{answer, not_supported, refuse, stopped_refusal, succeed},
    appends::Appends,
    ask_client::AskClients,
    catalog::Catalog,
    cold::{ColdReads, Lane},
    connection::{Service, Session, SessionInfo},
    identity::Identity,
    lite::LiteTopics,
    lookup::Lookup,
    members::Members,
    metrics::BrokerMetrics,
    names::Names,
    peers::Peers,
    pop::take::Popper,
    progress::Progress,
    queues::Queues,
    request_modes::RequestModeTable,
    requests::{Kind, Tally},
    settings::Settings,
    state_writer::StateWriter,
    stats::Stats,
    transactions::Transactions,
};
use halley_store::{KeyIndex, disk::RealDisk};
use halley_wire::{
    BrokerCode, Frame,
    encode::ExtField,
    frame::{self, FrameError},
    reply,
};
use std::{path::Path, sync::Arc};
use tokio::{sync::Semaphore, time::Instant};

pub(crate) use query::QUERIES_MAX;

/// The broker's service: what each family of requests uses.
pub(crate) struct Remoting {
    pub(crate) identity: Identity,
    pub(crate) appends: Appends,
    pub(crate) queues: Queues<RealDisk>,
    pub(crate) cold: ColdReads,
    pub(crate) keys: KeyIndex<RealDisk>,
    /// Of queries that read from the disk.
    pub(crate) query_permits: Arc<Semaphore>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) members: Arc<Members>,
    /// The name server of this process.
    pub(crate) names: Option<Arc<Names>>,
    /// Other brokers, which hold parts of static topics.
    pub(crate) peers: Arc<Peers>,
    pub(crate) lookup: Arc<Lookup>,
    pub(crate) modes: Arc<RequestModeTable>,
    pub(crate) popper: Popper,
    pub(crate) lite: Arc<LiteTopics>,
    pub(crate) asks: Arc<AskClients>,
    pub(crate) transactions: Arc<Transactions>,
    pub(crate) writer: StateWriter,
    pub(crate) metrics: Arc<BrokerMetrics>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) data: Arc<Path>,
}

/// What a connection to the broker remembers.
#[derive(Default)]
pub(crate) struct State {
    parked: pull::Parked,
    pops: pop::Parked,
    filters: pull::FilterCache,
    /// Its reads of what is not in memory.
    lane: Arc<Lane>,
    sends: send::Scratch,
    tally: Tally,
}

type BrokerSession = Session<State>;

impl Service for Remoting {
    type State = State;

    fn opened(&self, session: &SessionInfo) -> State {
        self.members.opened(session.id, session.peer, session.outbox.clone());
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
                    if frame.is_reply() {
                        self.asks.answered(session.info.id, &frame);
                    } else {
                        session.state.tally.count(&self.metrics.requests, &frame, || Kind {
                            role: "broker",
                            name: BrokerCode::of(frame.code).name(),
                        });
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
        if pop::is_pop(token) {
            self.pops().woken(token, session);
        } else {
            self.pulls().woken(token, session);
        }
    }

    fn expire(&self, now: Instant, session: &mut BrokerSession) {
        self.pulls().expire(now, session);
        self.pops().expire(now, session);
    }

    fn deadline(&self, session: &BrokerSession) -> Option<Instant> {
        let deadlines = [session.state.parked.deadline(), session.state.pops.deadline()];
        deadlines.into_iter().flatten().min()
    }

    fn stopped(&self, session: &mut BrokerSession) {
        let refusal = stopped_refusal();
        for request in session.held.fail() {
            answer(session.out.head(), request, refusal.code, Some(&refusal.remark), &[], b"");
        }
    }

    fn closed(&self, session: &mut BrokerSession) {
        self.pulls().forget_all(session);
        self.pops().forget_all(session);
        self.cold.close(&session.state.lane);
        self.members.closed(session.info.id);
        self.asks.closed(session.info.id);
    }
}

/// What refusals of this request tell too.
fn refusal_fields(code: BrokerCode) -> &'static [ExtField<'static>] {
    match code {
        BrokerCode::SendMessage | BrokerCode::SendMessageV2 | BrokerCode::SendBatchMessage => {
            &reply::SEND_FIELDS
        }
        BrokerCode::RecallMessage => &[reply::REGION_FIELD],
        _ => &[],
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
            BrokerCode::QueryMessage => self.queries().by_key(frame, session),
            BrokerCode::ViewMessageById => self.queries().by_offset(frame, session),
            BrokerCode::QueryConsumeQueue => self.queries().consume_queue(frame, session),
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
            BrokerCode::UpdateAndCreateStaticTopic => self.static_topic_requests().update(frame, session),
            BrokerCode::UpdateAndCreateTopic => self.topics().create(frame, session),
            BrokerCode::QueryAssignment => self.assignments().query(frame, session),
            BrokerCode::SetMessageRequestMode => self.assignments().set_mode(frame, session),
            BrokerCode::GetAllMessageRequestMode => self.assignments().all_modes(frame, session),
            BrokerCode::PopMessage => self.pops().pop(frame, session),
            BrokerCode::AckMessage => self.pop_acks().ack(frame, session),
            BrokerCode::BatchAckMessage => self.pop_acks().ack_batch(frame, session),
            BrokerCode::ChangeMessageInvisibleTime => self.pop_acks().change_invisible_time(frame, session),
            BrokerCode::Notification => self.pops().notification(frame, session),
            BrokerCode::PollingInfo => self.pops().polling_info(frame, session),
            BrokerCode::PopLiteMessage => self.pops().pop_lite(frame, session),
            BrokerCode::LiteSubscriptionCtl => self.lite_requests().control(frame, session),
            BrokerCode::GetBrokerLiteInfo => self.lite_requests().broker(frame, session),
            BrokerCode::GetParentTopicInfo => self.lite_requests().parent(frame, session),
            BrokerCode::GetLiteTopicInfo => self.lite_requests().topic(frame, session),
            BrokerCode::GetLiteClientInfo => self.lite_requests().client(frame, session),
            BrokerCode::GetLiteGroupInfo => self.lite_requests().group(frame, session),
            BrokerCode::TriggerLiteDispatch => self.lite_requests().dispatch(frame, session),
            BrokerCode::PeekMessage => self.pops().peek(frame, session),
            BrokerCode::UpdateAndCreateTopicList => self.topics().create_list(frame, session),
            BrokerCode::DeleteTopicInBroker => self.topics().delete(frame, session),
            BrokerCode::GetAllTopicConfig => self.topics().all(frame, session),
            BrokerCode::GetTopicConfig => self.topics().config(frame, session),
            BrokerCode::GetSystemTopicListFromBroker => self.topics().system(frame, session),
            BrokerCode::UpdateAndCreateSubscriptionGroup => self.group_configs().update(frame, session),
            BrokerCode::UpdateAndCreateSubscriptionGroupList => {
                self.group_configs().update_list(frame, session)
            }
            BrokerCode::GetAllSubscriptionGroupConfig => self.group_configs().all(frame, session),
            BrokerCode::GetSubscriptionGroupConfig => self.group_configs().config(frame, session),
            BrokerCode::DeleteSubscriptionGroup => self.group_configs().delete(frame, session),
            BrokerCode::UpdateAndGetGroupForbidden => self.group_configs().forbidden(frame, session),
            BrokerCode::GetTopicStatsInfo => self.consumption().topic_stats(frame, session),
            BrokerCode::GetConsumeStats => self.consumption().consume_stats(frame, session),
            BrokerCode::GetBrokerConsumeStats => self.consumption().broker_consume_stats(frame, session),
            BrokerCode::QueryConsumeTimeSpan => self.consumption().time_span(frame, session),
            BrokerCode::GetEarliestMsgStoreTime => {
                self.consumption().earliest(&self.static_topics(), frame, session)
            }
            BrokerCode::GetAllConsumerOffset => self.consumption().all_offsets(frame, session),
            BrokerCode::QueryCorrectionOffset => self.consumption().corrections(frame, session),
            BrokerCode::CloneGroupOffset => self.consumption().clone_offsets(frame, session),
            BrokerCode::InvokeBrokerToResetOffset => self.consumption().reset(frame, session),
            BrokerCode::QueryTopicsByConsumer => self.consumption().topics_of(frame, session),
            BrokerCode::QueryTopicConsumeByWho => self.consumption().groups_of(frame, session),
            BrokerCode::GetConsumerConnectionList => self.clients().consumers(frame, session),
            BrokerCode::GetProducerConnectionList => self.clients().producers(frame, session),
            BrokerCode::GetAllProducerInfo => self.clients().all_producers(frame, session),
            BrokerCode::QuerySubscriptionByConsumer => self.clients().subscription(frame, session),
            BrokerCode::GetConsumerRunningInfo => self.clients().running_info(frame, session),
            BrokerCode::ConsumeMessageDirectly => self.clients().consume_directly(frame, session),
            BrokerCode::InvokeBrokerToGetConsumerStatus => self.clients().status(frame, session),
            BrokerCode::GetBrokerRuntimeInfo => self.figures().runtime(frame, session),
            BrokerCode::ViewBrokerStatsData => self.figures().counter(frame, session),
            BrokerCode::GetBrokerConfig => self.figures().settings(frame, session),
            BrokerCode::UpdateBrokerConfig => self.figures().change_settings(frame, session),
            BrokerCode::GetBrokerHaStatus => self.figures().replication(frame, session),
            BrokerCode::DeleteExpiredCommitLog => {
                self.appends.room.ask();
                succeed(frame, session, &[], b"");
                Ok(())
            }
            BrokerCode::CleanExpiredConsumeQueue
            | BrokerCode::CleanUnusedTopic
            | BrokerCode::NotifyMinBrokerIdChange
            | BrokerCode::PopRollback
            | BrokerCode::ResetMasterFlushOffset => {
                // There is no index file of its own for a queue, what is left of a deleted topic goes with its segments,
                // POP keeps nothing elsewhere, only a replica has a master, and only one stands in for another broker.
                succeed(frame, session, &[], b"");
                Ok(())
            }
            BrokerCode::SendReplyMessage | BrokerCode::SendReplyMessageV2 => {
                self.replies().reply(code, frame, session)
            }
            BrokerCode::Unknown(code) => Err(not_supported(code)),
        };
        if let Err(refusal) = handled {
            refuse(frame, session, &refusal, refusal_fields(code));
        }
    }

    fn sends(&self) -> send::Sends<'_> {
        send::Sends {
            identity: &self.identity,
            appends: &self.appends,
            catalog: &self.catalog,
            progress: &self.progress,
            metrics: &self.metrics,
            stats: &self.stats,
            settings: &self.settings,
            reader: &self.queues.reader,
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
            cold: &self.cold,
            catalog: &self.catalog,
            members: &self.members,
            progress: &self.progress,
            metrics: &self.metrics,
            stats: &self.stats,
            settings: &self.settings,
            static_topics: self.static_topics(),
        }
    }

    fn replies(&self) -> reply_message::Replies<'_> {
        reply_message::Replies { sends: self.sends(), members: &self.members, asks: &self.asks }
    }

    fn queries(&self) -> query::Queries<'_> {
        query::Queries {
            queues: &self.queues,
            keys: &self.keys,
            members: &self.members,
            permits: &self.query_permits,
        }
    }

    fn offsets(&self) -> offsets::Offsets<'_> {
        offsets::Offsets {
            queues: &self.queues,
            catalog: &self.catalog,
            progress: &self.progress,
            pops: &self.popper.pops,
            settings: &self.settings,
            static_topics: self.static_topics(),
        }
    }

    fn static_topics(&self) -> static_topics::StaticTopics<'_> {
        static_topics::StaticTopics { queues: &self.queues, progress: &self.progress, peers: &self.peers }
    }

    fn static_topic_requests(&self) -> static_topics::StaticTopicRequests<'_> {
        static_topics::StaticTopicRequests {
            catalog: &self.catalog,
            queues: &self.queues,
            acks: &self.appends.acks,
        }
    }

    fn pops(&self) -> pop::PopRequests<'_> {
        pop::PopRequests {
            queues: &self.queues,
            cold: &self.cold,
            catalog: &self.catalog,
            popper: &self.popper,
            settings: &self.settings,
            metrics: &self.metrics,
            lite: &self.lite,
        }
    }

    fn pop_acks(&self) -> pop::Acks<'_> {
        pop::Acks { queues: &self.queues, catalog: &self.catalog, pops: &self.popper.pops, lite: &self.lite }
    }

    fn lite_requests(&self) -> lite::LiteRequests<'_> {
        lite::LiteRequests {
            lite: &self.lite,
            catalog: &self.catalog,
            progress: &self.progress,
            pops: &self.popper.pops,
            settings: &self.settings,
        }
    }

    fn assignments(&self) -> assignment::Assignments<'_> {
        assignment::Assignments {
            catalog: &self.catalog,
            members: &self.members,
            broker_name: &self.identity.name,
            names: self.names.as_deref(),
            lookup: &self.lookup,
            modes: &self.modes,
            acks: &self.appends.acks,
        }
    }

    fn groups(&self) -> groups::Groups<'_> {
        groups::Groups { members: &self.members, progress: &self.progress, catalog: &self.catalog }
    }

    fn topics(&self) -> topics::TopicRequests<'_> {
        topics::TopicRequests {
            catalog: &self.catalog,
            progress: &self.progress,
            queues: &self.queues,
            stats: &self.stats,
            settings: &self.settings,
            lite: &self.lite,
            acks: &self.appends.acks,
        }
    }

    fn group_configs(&self) -> group_configs::GroupConfigRequests<'_> {
        group_configs::GroupConfigRequests {
            catalog: &self.catalog,
            progress: &self.progress,
            stats: &self.stats,
            acks: &self.appends.acks,
        }
    }

    fn consumption(&self) -> consumption::Consumption {
        consumption::Consumption {
            identity: self.identity.clone(),
            queues: self.queues.clone(),
            catalog: self.catalog.clone(),
            progress: self.progress.clone(),
            members: self.members.clone(),
            stats: self.stats.clone(),
            settings: self.settings.clone(),
        }
    }

    fn clients(&self) -> clients::Clients<'_> {
        clients::Clients {
            identity: &self.identity,
            members: &self.members,
            asks: &self.asks,
            catalog: &self.catalog,
            reader: &self.queues.reader,
        }
    }

    fn figures(&self) -> figures::Figures<'_> {
        figures::Figures {
            identity: &self.identity,
            appends: &self.appends,
            catalog: &self.catalog,
            reader: &self.queues.reader,
            stats: &self.stats,
            settings: &self.settings,
            data: &self.data,
        }
    }
}
