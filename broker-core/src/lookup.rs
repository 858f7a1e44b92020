//! Where topics and brokers are, as name servers elsewhere say: those at which this broker registers.

use halley_client::{Client, Error};
use halley_wire::{
    BodyError, NamesrvCode, ResponseCode,
    body::{ClusterInfo, QueueData, TopicRoute},
    request::GetRouteInfo,
};
use parking_lot::Mutex;
use std::{sync::Arc, time::Duration};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A name server must answer within this time, else the next one is asked.
const ANSWER_MAX: Duration = Duration::from_secs(3);

/// Most questions at a time.
const QUESTIONS_MAX: usize = 1024;

/// The name servers elsewhere.
#[derive(Debug)]
pub(crate) struct Lookup {
    clients: Mutex<Vec<Client>>,
    permits: Arc<Semaphore>,
}

impl Default for Lookup {
    fn default() -> Self {
        Self { clients: Mutex::default(), permits: Arc::new(Semaphore::new(QUESTIONS_MAX)) }
    }
}

/// Why a name server did not say where a topic is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LookupError {
    #[error("{0}")]
    Client(#[from] Error),
    #[error("the name server answered {0:?}: {1}")]
    Refused(ResponseCode, String),
    #[error("{0}")]
    Body(#[from] BodyError),
}

impl Lookup {
    /// Asks this one too.
    pub(crate) fn add(&self, client: Client) {
        self.clients.lock().push(client);
    }

    /// Whether the broker registers anywhere else.
    pub(crate) fn is_empty(&self) -> bool {
        self.clients.lock().is_empty()
    }

    /// The right to one question; `None` while there are too many.
    pub(crate) fn permit(&self) -> Option<OwnedSemaphorePermit> {
        self.permits.clone().try_acquire_owned().ok()
    }

    /// A topic's queues by broker, from the first name server that answers; none where no broker has the topic.
    pub(crate) async fn queues_of(&self, topic: &str) -> Result<Vec<QueueData>, LookupError> {
        let clients = self.clients.lock().clone();
        let mut result = Ok(Vec::new());
        for client in clients {
            result = ask(&client, topic).await;
            if result.is_ok() {
                break;
            }
        }
        result
    }

    /// All brokers, from the first name server that answers.
    pub(crate) async fn brokers(&self) -> Option<ClusterInfo> {
        let clients = self.clients.lock().clone();
        for client in clients {
            let code = NamesrvCode::GetBrokerClusterInfo;
            if let Ok(reply) = client.request(code, &[], b"", ANSWER_MAX).await
                && reply.code() == ResponseCode::Success
                && let Ok(info) = ClusterInfo::decode(&reply.body())
            {
                return Some(info);
            }
        }
        None
    }
}

async fn ask(client: &Client, topic: &str) -> Result<Vec<QueueData>, LookupError> {
    let header = GetRouteInfo { topic: topic.into(), accept_standard_json_only: true, zone: None };
    let code = NamesrvCode::GetRouteInfoByTopic;
    let reply = client.request(code, &header.fields(), b"", ANSWER_MAX).await?;
    match reply.code() {
        ResponseCode::Success => Ok(TopicRoute::decode(&reply.body())?.queues),
        ResponseCode::TopicNotExist => Ok(Vec::new()),
        code => {
            let remark = reply.frame().remark.unwrap_or_default().into_owned();
            Err(LookupError::Refused(code, remark))
        }
    }
}
