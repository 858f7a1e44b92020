//! Tells name servers of this broker's topics: the one of this process directly, others through their registrars.

use crate::{clock, identity::Identity, names::Names};
use halley_machine::routes::{Member, Queues, Registration};
use halley_model::{DataVersion, Millis, QueueMapping, TopicConfig};
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::broadcast;

/// Changes of topics that a registrar may be behind; one that fell further behind tells all topics anew.
const CHANGES_MAX: usize = 1024;

/// One change, and the version of the table of topics with it.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) version: DataVersion,
    /// The topic that came or changed; `None` where all are to be told anew.
    pub(crate) topic: Option<Arc<TopicConfig>>,
}

/// Where changes of topics go.
pub(crate) struct Announcer {
    identity: Identity,
    local: Option<Arc<Names>>,
    version: Mutex<DataVersion>,
    changes: broadcast::Sender<Change>,
}

impl Announcer {
    /// Announces to the name server of this process, if there is one.
    pub(crate) fn new(identity: Identity, local: Option<Arc<Names>>) -> Self {
        // Another start is another version: what name servers may still hold of an earlier one is replaced.
        let version = Mutex::new(DataVersion::default().next(clock::now()));
        Self { identity, local, version, changes: broadcast::Sender::new(CHANGES_MAX) }
    }

    /// The version of the table of topics. Read it before the table: what is newer than the version is told once more.
    pub(crate) fn version(&self) -> DataVersion {
        *self.version.lock()
    }

    /// Every change from now on.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    /// Tells all topics, at the start and whenever more of them changed than one.
    pub(crate) fn announce(&self, topics: &[Arc<TopicConfig>], mappings: Vec<QueueMapping>) {
        let version = self.next(None);
        let Some(names) = &self.local else { return };
        let Identity { cluster, name, id, address } = &self.identity;
        names.register(Registration {
            member: Member {
                cluster: cluster.to_string(),
                name: name.to_string(),
                id: *id,
                address: address.to_string(),
            },
            ha_address: Some(address.to_string()),
            zone: None,
            // It lives as long as the name server.
            silence_max: Some(Millis::MAX),
            acting_master: Some(false),
            version,
            topics: topics.iter().map(|topic| (topic.name.to_string(), Queues::of(topic))).collect(),
            filter_servers: None,
            mappings,
            connection: None,
        });
    }

    /// A topic came or changed, with its mapping where it is a static one.
    pub(crate) fn changed(&self, topic: &Arc<TopicConfig>, mapping: Option<QueueMapping>) {
        if let Some(names) = &self.local {
            names.topic(&self.identity.name, topic);
            if let Some(mapping) = mapping {
                names.mapping(&self.identity.name, &topic.name, mapping);
            }
        }
        self.next(Some(topic.clone()));
    }

    /// A topic is no more. Name servers elsewhere are told of all topics anew.
    pub(crate) fn removed(&self, topic: &str) {
        if let Some(names) = &self.local {
            names.remove_topic(&self.identity.name, topic);
        }
        self.next(None);
    }

    /// The version after a change, which registrars are told.
    fn next(&self, topic: Option<Arc<TopicConfig>>) -> DataVersion {
        let mut version = self.version.lock();
        *version = version.next(clock::now());
        // Sent under the lock, so that versions grow in the order of the changes. Without registrars nobody listens.
        let _ = self.changes.send(Change { version: *version, topic });
        *version
    }
}
