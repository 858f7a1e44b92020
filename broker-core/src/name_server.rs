//! The name server: its requests, and how a process runs one.

mod brokers;
mod kept;
mod topics;

use crate::{
    acks::Acks,
    answers::{Refusal, not_supported, refuse, succeed},
    connection::{Service, Session, SessionInfo},
    kept::{Kept, KeptError},
    metrics::BrokerMetrics,
    names::Names,
    requests::{Kind, Tally},
    server,
    tls::Tls,
};
use halley_machine::routes::Broker;
use halley_wire::{
    Frame, NamesrvCode,
    body::BrokerData,
    encode::ExtField,
    frame::{self, FrameError},
};
use prometheus_client::registry::Registry;
use std::{net::SocketAddr, path::PathBuf, sync::Arc};
use tokio::{net::TcpListener, sync::watch, time::Instant};

/// A name server in this process. Clones are the same one.
#[derive(Clone)]
pub struct NameServer {
    pub(crate) names: Arc<Names>,
    pub(crate) acks: Arc<Acks>,
    pub(crate) metrics: Arc<BrokerMetrics>,
}

impl NameServer {
    /// A name server without a broker beside it, which keeps KV configuration and settings in files of this directory.
    /// Blocks on the disk.
    pub fn open(directory: PathBuf) -> Result<Self, KeptError> {
        let names = Arc::new(Names::new(Arc::new(Kept::in_files(directory)?)));
        Ok(Self { names, acks: Arc::default(), metrics: Arc::default() })
    }

    /// Makes its metrics known; for a name server without a broker, whose metrics include them.
    pub fn register_metrics(&self, registry: &mut Registry) {
        self.metrics.register_listener(registry);
    }

    /// Serves brokers and clients until `shutdown` turns true.
    pub async fn serve(&self, listener: TcpListener, tls: Tls, shutdown: watch::Receiver<bool>) {
        let listen = match listener.local_addr() {
            Ok(address) => address,
            Err(error) => return tracing::error!(%error, "the name server's listener cannot be used"),
        };
        let service = NameRequests {
            names: self.names.clone(),
            acks: self.acks.clone(),
            metrics: self.metrics.clone(),
            listen,
        };
        let (acks, metrics) = (self.acks.clone(), self.metrics.clone());
        server::serve(listener, tls, Arc::new(service), acks, metrics, shutdown).await;
    }

    /// Forgets silent brokers, tells brokers of changes in their groups, and saves what is kept in files. Runs until `shutdown` turns true.
    pub async fn keep_house(&self, shutdown: watch::Receiver<bool>) {
        self.names.keep(shutdown).await;
    }
}

/// The service of one listener.
struct NameRequests {
    names: Arc<Names>,
    acks: Arc<Acks>,
    metrics: Arc<BrokerMetrics>,
    listen: SocketAddr,
}

type NameSession = Session<Tally>;

impl Service for NameRequests {
    type State = Tally;

    fn opened(&self, _: &SessionInfo) -> Tally {
        Tally::default()
    }

    fn frames(&self, input: &[u8], session: &mut NameSession) -> Result<usize, FrameError> {
        let limits = frame::Limits::default();
        let mut used = 0;
        while let Some((frame, len)) = frame::decode(&input[used..], &limits)? {
            used += len;
            if frame.is_reply() {
                continue;
            }
            session.state.count(&self.metrics.requests, &frame, || Kind {
                role: "name_server",
                name: NamesrvCode::of(frame.code).name(),
            });
            if let Err(refusal) = self.dispatch(&frame, session) {
                refuse(&frame, session, &refusal, &[]);
            }
        }
        Ok(used)
    }

    fn woken(&self, _: u64, _: &mut NameSession) {}

    fn expire(&self, _: Instant, _: &mut NameSession) {}

    fn deadline(&self, _: &NameSession) -> Option<Instant> {
        None
    }

    fn stopped(&self, session: &mut NameSession) {
        kept::fail_held(session);
    }

    fn closed(&self, session: &mut NameSession) {
        self.names.closed(session.info.id);
    }
}

impl NameRequests {
    fn dispatch(&self, frame: &Frame<'_>, session: &mut NameSession) -> Result<(), Refusal> {
        match NamesrvCode::of(frame.code) {
            NamesrvCode::RegisterBroker => self.brokers().register(frame, session),
            NamesrvCode::UnregisterBroker => self.brokers().unregister(frame, session),
            NamesrvCode::BrokerHeartbeat => self.brokers().heartbeat(frame, session),
            NamesrvCode::QueryDataVersion => self.brokers().version(frame, session),
            NamesrvCode::GetBrokerMemberGroup => self.brokers().members(frame, session),
            NamesrvCode::GetBrokerClusterInfo => self.brokers().clusters(frame, session),
            NamesrvCode::WipeWritePermOfBroker => self.brokers().wipe_write(frame, session),
            NamesrvCode::AddWritePermOfBroker => self.brokers().add_write(frame, session),
            NamesrvCode::GetRouteInfoByTopic => self.topics().route(frame, session),
            NamesrvCode::GetAllTopicListFromNameserver => self.topics().all(frame, session),
            NamesrvCode::DeleteTopicInNamesrv => self.topics().delete(frame, session),
            NamesrvCode::RegisterTopicInNamesrv => self.topics().register(frame, session),
            NamesrvCode::GetTopicsByCluster => self.topics().of_cluster(frame, session),
            NamesrvCode::GetSystemTopicListFromNs => self.topics().system(frame, session),
            NamesrvCode::GetUnitTopicList => self.topics().unit(frame, session),
            NamesrvCode::GetHasUnitSubTopicList => self.topics().unit_subscription(frame, session),
            NamesrvCode::GetHasUnitSubUnunitTopicList => self.topics().unit_subscription_only(frame, session),
            NamesrvCode::PutKvConfig => self.kept().put(frame, session),
            NamesrvCode::GetKvConfig => self.kept().get(frame, session),
            NamesrvCode::DeleteKvConfig => self.kept().delete(frame, session),
            NamesrvCode::GetKvlistByNamespace => self.kept().list(frame, session),
            NamesrvCode::UpdateNamesrvConfig => self.kept().change(frame, session),
            NamesrvCode::GetNamesrvConfig => self.kept().settings(frame, session),
            NamesrvCode::Unknown(code) => Err(not_supported(code)),
        }
    }

    fn brokers(&self) -> brokers::BrokerRequests<'_> {
        brokers::BrokerRequests { names: &self.names }
    }

    fn kept(&self) -> kept::KeptRequests<'_> {
        kept::KeptRequests { names: &self.names, acks: &self.acks, listen: self.listen }
    }

    fn topics(&self) -> topics::TopicRequests<'_> {
        topics::TopicRequests { names: &self.names }
    }
}

/// Answers with success and these fields.
fn tell(
    frame: &Frame<'_>,
    session: &mut NameSession,
    fields: &[ExtField<'_>],
    body: &[u8],
) -> Result<(), Refusal> {
    succeed(frame, session, fields, body);
    Ok(())
}

fn data_of(broker: &Broker) -> BrokerData {
    BrokerData {
        cluster: broker.cluster.clone(),
        broker_name: broker.name.clone(),
        addresses: broker.addresses.clone(),
        acting_master: broker.acting_master,
        zone: broker.zone.clone(),
    }
}
