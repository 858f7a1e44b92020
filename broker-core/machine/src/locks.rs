//! Locks on queues, for consumers that read in order (requests 41 and 42): one client of a group at a time.

use halley_model::{GroupName, Millis, QueueId, TopicName};
use std::collections::BTreeMap;

/// A lock not renewed for this long may be taken by another client
/// (`rocketmq.broker.rebalance.lockMaxLiveTime`, 5.5).
pub const LOCK_EXPIRY_MS: Millis = 60_000;

/// The locks of one broker.
#[derive(Debug, Default)]
pub struct QueueLocks {
    held: BTreeMap<(GroupName, TopicName, QueueId), Lock>,
}

#[derive(Debug)]
struct Lock {
    client: String,
    renewed: Millis,
}

impl QueueLocks {
    /// Takes or renews the lock for `client`; whether it now holds it.
    pub fn lock(
        &mut self,
        now: Millis,
        group: &GroupName,
        topic: &TopicName,
        queue: QueueId,
        client: &str,
    ) -> bool {
        let key = (group.clone(), topic.clone(), queue);
        if self
            .held
            .get(&key)
            .is_some_and(|lock| lock.client != client && now - lock.renewed <= LOCK_EXPIRY_MS)
        {
            return false;
        }
        self.held.insert(key, Lock { client: client.to_owned(), renewed: now });
        true
    }

    /// Gives the lock back, if `client` holds it.
    pub fn unlock(&mut self, group: &GroupName, topic: &TopicName, queue: QueueId, client: &str) {
        let key = (group.clone(), topic.clone(), queue);
        if self.held.get(&key).is_some_and(|lock| lock.client == client) {
            self.held.remove(&key);
        }
    }

    /// Whether a client of the group holds any queue.
    pub fn is_any_held(&self, now: Millis, group: &GroupName) -> bool {
        let of_group = self.held.iter().filter(|(key, _)| key.0 == *group);
        of_group.into_iter().any(|(_, lock)| now - lock.renewed <= LOCK_EXPIRY_MS)
    }

    /// Forgets locks that expired; call it now and then to bound memory.
    pub fn expire(&mut self, now: Millis) {
        self.held.retain(|_, lock| now - lock.renewed <= LOCK_EXPIRY_MS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_holds_a_queue() {
        let (group, topic) = (GroupName::new("g").unwrap(), TopicName::new("t").unwrap());
        let mut locks = QueueLocks::default();
        assert!(locks.lock(0, &group, &topic, 0, "a"));
        assert!(!locks.lock(1, &group, &topic, 0, "b"));
        assert!(locks.lock(1, &group, &topic, 1, "b"));
        assert!(locks.lock(50_000, &group, &topic, 0, "a"));
        assert!(!locks.lock(100_000, &group, &topic, 0, "b"));
        locks.unlock(&group, &topic, 0, "b");
        assert!(!locks.lock(100_000, &group, &topic, 0, "b"));
        assert!(locks.lock(50_001 + LOCK_EXPIRY_MS, &group, &topic, 0, "b"));
        locks.unlock(&group, &topic, 0, "b");
        assert!(locks.lock(100_000, &group, &topic, 0, "a"));
        assert!(locks.is_any_held(100_000, &group));
        assert!(!locks.is_any_held(100_001 + LOCK_EXPIRY_MS, &group));
        locks.expire(100_001 + LOCK_EXPIRY_MS);
        assert!(locks.held.is_empty());
    }
}
