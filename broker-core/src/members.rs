//! Connected clients and their groups.

use crate::{clock, held::frame, outbox::Outbox};
use halley_machine::{
    ConnectionId,
    groups::{Effect, Groups, Input, Member, Subscription},
};
use parking_lot::Mutex;
use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

/// The groups, and where to reach their members.
#[derive(Default)]
pub(crate) struct Members {
    groups: Mutex<Groups>,
    connections: Mutex<BTreeMap<ConnectionId, Reached>>,
}

/// Where a client is reached.
struct Reached {
    outbox: Arc<Outbox>,
    peer: SocketAddr,
}

impl Members {
    pub(crate) fn opened(&self, connection: ConnectionId, peer: SocketAddr, outbox: Arc<Outbox>) {
        self.connections.lock().insert(connection, Reached { outbox, peer });
    }

    pub(crate) fn closed(&self, connection: ConnectionId) {
        self.connections.lock().remove(&connection);
        self.step(Input::Closed(connection));
    }

    /// Steps the machine and tells members what it wants told.
    pub(crate) fn step(&self, input: Input) {
        let mut effects = Vec::new();
        self.groups.lock().step(clock::now(), input, &mut effects);
        for Effect::NotifyChanged { group, members } in effects {
            let notice = frame(|out| halley_wire::notify_consumer_ids_changed(out, &group));
            let connections = self.connections.lock();
            for reached in members.iter().filter_map(|member| connections.get(member)) {
                reached.outbox.send([notice.clone()]);
            }
        }
    }

    pub(crate) fn consumer_ids(&self, group: &str) -> Option<Vec<String>> {
        self.groups.lock().consumer_ids(group)
    }

    /// Where to reach one of a producer group's members, `turn` decides which.
    pub(crate) fn a_producer(&self, group: &str, turn: u32) -> Option<Arc<Outbox>> {
        let producers: Vec<_> = self.groups.lock().producers(group).collect();
        let chosen = producers.get(turn as usize % producers.len().max(1))?;
        self.connections.lock().get(chosen).map(|reached| reached.outbox.clone())
    }

    /// Where to reach the producer with this client id.
    pub(crate) fn producer(&self, client_id: &str) -> Option<(ConnectionId, Arc<Outbox>)> {
        let connection = self.groups.lock().producer_connection(client_id)?;
        Some((connection, self.connections.lock().get(&connection)?.outbox.clone()))
    }

    /// See [`Groups::subscription`].
    pub(crate) fn subscription(&self, group: &str, topic: &str) -> Option<Option<Subscription>> {
        self.groups.lock().subscription(group, topic).map(Option::<&Subscription>::cloned)
    }

    /// Looks at all groups.
    pub(crate) fn with_groups<T>(&self, look: impl FnOnce(&Groups) -> T) -> T {
        look(&self.groups.lock())
    }

    /// Where to reach a member; `None` where its connection just closed.
    pub(crate) fn outbox_of(&self, member: &Member) -> Option<Arc<Outbox>> {
        self.connections.lock().get(&member.connection).map(|reached| reached.outbox.clone())
    }

    /// A member's address; `None` where its connection just closed.
    pub(crate) fn peer_of(&self, member: &Member) -> Option<SocketAddr> {
        self.connections.lock().get(&member.connection).map(|reached| reached.peer)
    }

    /// How many clients are connected.
    pub(crate) fn connections(&self) -> usize {
        self.connections.lock().len()
    }
}
