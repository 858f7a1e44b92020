//! Registers this broker at a name server elsewhere, again and again.

use crate::{announcer::Change, catalog::Catalog, identity::Identity};
use halley_client::{Client, Connection, Error};
use halley_model::{DataVersion, TopicConfig};
use halley_wire::{
    NamesrvCode, ResponseCode,
    body::{Registration, registration},
    request::{BrokerMember, RegisterBroker},
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::{
    sync::{
        broadcast::{self, error::RecvError},
        watch,
    },
    time::sleep,
};

/// All topics are told this often, so that a name server that forgot them knows them again (`registerNameServerPeriod`, 5.5).
const PERIOD: Duration = Duration::from_secs(30);

/// A name server must answer a registration within this time.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// A refused or unanswered registration is tried again after this time.
const AGAIN: Duration = Duration::from_secs(1);

/// The last farewell may take this long.
const FAREWELL_MAX: Duration = Duration::from_millis(500);

/// Topics in one registration; more are told in several, so that each stays well below the largest frame.
const TOPICS_MAX: usize = 10_000;

/// What registering at one name server takes.
pub(crate) struct Registrar {
    pub(crate) identity: Identity,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) client: Client,
}

/// Why a registration did not count.
#[derive(Debug, thiserror::Error)]
enum RegisterError {
    #[error("{0}")]
    Client(#[from] Error),
    #[error("the name server answered {0:?}: {1}")]
    Refused(ResponseCode, String),
}

impl Registrar {
    /// Keeps the broker registered until `shutdown` turns true, then takes its leave.
    pub(crate) async fn run(self, mut shutdown: watch::Receiver<bool>) {
        let mut warned = false;
        while !*shutdown.borrow() {
            let connection = tokio::select! {
                connection = self.client.connection() => connection,
                _ = shutdown.changed() => return,
            };
            match connection {
                Ok(connection) => {
                    warned = false;
                    self.keep(&connection, &mut shutdown).await;
                }
                Err(error) => {
                    if !warned {
                        tracing::warn!(%error, "the name server cannot be reached, it is tried again");
                    }
                    warned = true;
                    tokio::select! {
                        () = self.client.wait_backoff() => {}
                        _ = shutdown.changed() => return,
                    }
                }
            }
        }
    }

    /// Registers over one connection until it is lost or the server stops.
    async fn keep(&self, connection: &Connection, shutdown: &mut watch::Receiver<bool>) {
        let mut changes = self.catalog.announcer().subscribe();
        let mut first = true;
        let mut next = Duration::ZERO;
        while !*shutdown.borrow() {
            let result = tokio::select! {
                () = connection.closed() => {
                    tracing::warn!(name_server = self.client.peer(), "the connection to the name server was lost");
                    return;
                }
                change = changes.recv(), if !first => match change {
                    Ok(change) => self.tell(connection, change, &mut changes).await,
                    // The catalog, which has the sender, is ours; what was missed is in the table.
                    Err(RecvError::Lagged(_) | RecvError::Closed) => self.tell_all(connection, false).await,
                },
                () = sleep(next) => self.tell_all(connection, first).await,
                _ = shutdown.changed() => continue,
            };
            match result {
                Ok(()) => {
                    if first {
                        tracing::info!(name_server = self.client.peer(), "registered");
                    }
                    (first, next) = (false, PERIOD);
                }
                Err(error) => {
                    tracing::warn!(name_server = self.client.peer(), %error, "the broker is not registered, it is tried again");
                    (first, next) = (true, AGAIN);
                }
            }
        }
        let farewell = self.member();
        let code = NamesrvCode::UnregisterBroker;
        if let Err(error) = connection.request(code, &farewell.fields(), b"", FAREWELL_MAX).await {
            tracing::warn!(name_server = self.client.peer(), %error, "the broker could not take its leave");
        }
    }

    /// Tells the topics that changed, as many as there are by now.
    async fn tell(
        &self,
        connection: &Connection,
        first: Change,
        changes: &mut broadcast::Receiver<Change>,
    ) -> Result<(), RegisterError> {
        let mut version = first.version;
        let mut topics = BTreeMap::new();
        let mut next = Some(first);
        while let Some(change) = next {
            let Some(topic) = change.topic else { return self.tell_all(connection, true).await };
            version = change.version;
            topics.insert(topic.name.clone(), topic);
            next = if topics.len() < TOPICS_MAX { changes.try_recv().ok() } else { None };
        }
        let topics: Vec<_> = topics.into_values().collect();
        self.register(connection, version, &topics).await
    }

    /// Tells all topics. A name server takes known topics only with a new version, so that the first time each part has one.
    async fn tell_all(&self, connection: &Connection, first: bool) -> Result<(), RegisterError> {
        let version = self.catalog.announcer().version();
        let topics = self.catalog.announced();
        let parts = topics.chunks(TOPICS_MAX);
        let last = parts.len();
        for (at, part) in parts.enumerate() {
            let before_last = if first { (last - 1 - at) as i64 } else { 0 };
            let version = DataVersion { counter: version.counter - before_last, ..version };
            self.register(connection, version, part).await?;
        }
        Ok(())
    }

    async fn register(
        &self,
        connection: &Connection,
        version: DataVersion,
        topics: &[Arc<TopicConfig>],
    ) -> Result<(), RegisterError> {
        let mappings = self.catalog.mapping_infos(topics);
        let body = Registration::encode(version, topics.iter().map(|topic| &**topic), &mappings);
        let header = RegisterBroker {
            broker: self.member(),
            // Replicas of RocketMQ would ask here; there must be something.
            ha_server_addr: self.identity.address.to_string().into(),
            heartbeat_timeout_millis: None,
            enable_acting_master: Some(false),
            compressed: false,
            body_crc32: registration::checksum(&body),
            zone_name: None,
        };
        let reply =
            connection.request(NamesrvCode::RegisterBroker, &header.fields(), &body, ANSWER_MAX).await?;
        match reply.code() {
            ResponseCode::Success => Ok(()),
            code => {
                let remark = reply.frame().remark.unwrap_or_default().into_owned();
                Err(RegisterError::Refused(code, remark))
            }
        }
    }

    fn member(&self) -> BrokerMember<'_> {
        let Identity { cluster, name, id, address } = &self.identity;
        BrokerMember {
            broker_name: (&**name).into(),
            broker_addr: address.to_string().into(),
            cluster_name: (&**cluster).into(),
            broker_id: *id,
        }
    }
}
