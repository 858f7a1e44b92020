//! Other brokers by their names, for what this one must ask of them: the parts of static topics that they hold.

use crate::{lookup::Lookup, names::Names};
use halley_client::{Client, Error, Options, Reply};
use halley_machine::routes::MASTER;
use halley_wire::{BrokerCode, encode::ExtField};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

/// Another broker must answer within this time (`forwardTimeout`, 5.5).
const ANSWER_MAX: Duration = Duration::from_secs(3);

/// What name servers said of brokers' addresses is asked anew after this time,
const FRESH_MAX: Duration = Duration::from_secs(5);

/// and where a broker is not known, after this one.
const UNKNOWN_AGAIN: Duration = Duration::from_millis(500);

/// Requests that wait for other brokers, over all connections; more are refused.
const WAITING_MAX: usize = 4096;

/// The masters of other brokers.
pub(crate) struct Peers {
    own: Option<Arc<Names>>,
    elsewhere: Arc<Lookup>,
    known: tokio::sync::Mutex<Known>,
    permits: Arc<Semaphore>,
}

#[derive(Default)]
struct Known {
    brokers: BTreeMap<String, Client>,
    asked: Option<Instant>,
}

/// Why a broker did not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PeerError {
    /// No name server knows it.
    #[error("no name server knows the address of broker {0}")]
    Unknown(String),
    /// The connection failed.
    #[error("{0}")]
    Client(#[from] Error),
}

impl Peers {
    /// Asks the name server of this process, if there is one, and those elsewhere.
    pub(crate) fn new(own: Option<Arc<Names>>, elsewhere: Arc<Lookup>) -> Self {
        Self {
            own,
            elsewhere,
            known: tokio::sync::Mutex::default(),
            permits: Arc::new(Semaphore::new(WAITING_MAX)),
        }
    }

    /// The right to wait for other brokers; `None` where too many do.
    pub(crate) fn permit(&self) -> Option<OwnedSemaphorePermit> {
        self.permits.clone().try_acquire_owned().ok()
    }

    /// Asks a broker's master about its own queues, whatever topic they belong to.
    pub(crate) async fn ask(
        &self,
        broker: &str,
        code: BrokerCode,
        fields: &[ExtField<'_>],
    ) -> Result<Reply, PeerError> {
        let mut all: Vec<ExtField<'_>> =
            fields.iter().filter(|(name, _)| *name != "bname").copied().collect();
        all.extend([("lo", false.into()), ("bname", broker.into())]);
        let client = self.client(broker).await?;
        Ok(client.request(code, &all, b"", ANSWER_MAX).await?)
    }

    async fn client(&self, broker: &str) -> Result<Client, PeerError> {
        // Held while name servers are asked: whoever comes meanwhile uses what they say.
        let mut known = self.known.lock().await;
        let age = known.asked.map_or(Duration::MAX, |asked| asked.elapsed());
        let fresh = if known.brokers.contains_key(broker) { FRESH_MAX } else { UNKNOWN_AGAIN };
        if age > fresh {
            let addresses = self.addresses().await;
            known.take(addresses);
        }
        known.brokers.get(broker).cloned().ok_or_else(|| PeerError::Unknown(broker.to_owned()))
    }

    /// The masters' addresses by name: what the name server of this process says, and the first one elsewhere that answers.
    async fn addresses(&self) -> Option<BTreeMap<String, String>> {
        let own = self.own.as_ref().map(|names| {
            let master = |broker: &halley_machine::routes::Broker| {
                Some((broker.name.clone(), broker.addresses.get(&MASTER)?.clone()))
            };
            names.look(|routes| routes.brokers().filter_map(master).collect::<BTreeMap<_, _>>())
        });
        let Some(info) = self.elsewhere.brokers().await else { return own };
        let master = |(name, broker): (String, halley_wire::body::BrokerData)| {
            Some((name, broker.addresses.get(&MASTER)?.clone()))
        };
        let mut all: BTreeMap<_, _> = info.brokers.into_iter().filter_map(master).collect();
        all.extend(own.unwrap_or_default());
        Some(all)
    }
}

impl Known {
    /// Takes new addresses; connections to old ones that still hold go on. Where no name server answered, what was known is used on.
    fn take(&mut self, addresses: Option<BTreeMap<String, String>>) {
        self.asked = Some(Instant::now());
        let Some(addresses) = addresses else { return };
        let mut before = std::mem::take(&mut self.brokers);
        for (name, address) in addresses {
            let same = before.remove(&name).filter(|client| client.peer() == address);
            self.brokers.insert(name, same.unwrap_or_else(|| Client::new(&address, Options::default())));
        }
    }
}
