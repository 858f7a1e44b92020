//! Connected clients and their groups.

use crate::{clock, held::frame, outbox::Outbox};
use halley_machine::{
    ConnectionId,
    groups::{Effect, Groups, Input, Subscription},
};
use parking_lot::Mutex;
use std::{collections::BTreeMap, sync::Arc};

/// The groups, and where to reach their members.
#[derive(Default)]
pub(crate) struct Members {
    groups: Mutex<Groups>,
    connections: Mutex<BTreeMap<ConnectionId, Arc<Outbox>>>,
}

impl Members {
    pub(crate) fn opened(&self, connection: ConnectionId, outbox: Arc<Outbox>) {
        self.connections.lock().insert(connection, outbox);
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
            for outbox in members.iter().filter_map(|member| connections.get(member)) {
                outbox.send([notice.clone()]);
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
        self.connections.lock().get(chosen).cloned()
    }

    /// See [`Groups::subscription`].
    pub(crate) fn subscription(&self, group: &str, topic: &str) -> Option<Option<Subscription>> {
        self.groups.lock().subscription(group, topic).map(Option::<&Subscription>::cloned)
    }

    /// How many clients are connected.
    pub(crate) fn connections(&self) -> usize {
        self.connections.lock().len()
    }
}
