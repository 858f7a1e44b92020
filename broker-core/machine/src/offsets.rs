//! What groups have consumed: one committed offset per group, topic and queue, with an optional note.

use halley_model::{GroupName, QueueId, QueueOffset, TopicName};
use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
};

/// A group's queue.
pub type Key = (GroupName, TopicName, QueueId);

/// A commit: everything before `offset` is done; `metadata` is the group's own note.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Committed {
    /// The first offset not yet done.
    pub offset: QueueOffset,
    /// The group's note, empty for RocketMQ clients.
    pub metadata: String,
}

/// The committed offsets of one broker, and which of them the log does not hold yet.
#[derive(Debug, Default)]
pub struct Offsets {
    table: BTreeMap<Key, Committed>,
    dirty: BTreeSet<Key>,
}

impl Offsets {
    /// What was last committed.
    pub fn get(&self, group: &GroupName, topic: &TopicName, queue: QueueId) -> Option<&Committed> {
        self.table.get(&(group.clone(), topic.clone(), queue))
    }

    /// Commits, and marks it for the log. As in RocketMQ an offset may move back: a client that resets says so by
    /// committing a lower one.
    pub fn commit(&mut self, key: Key, committed: Committed) {
        if self.table.get(&key) != Some(&committed) {
            self.dirty.insert(key.clone());
            self.table.insert(key, committed);
        }
    }

    /// Sets an offset as it comes from the log.
    pub fn put(&mut self, key: Key, committed: Committed) {
        self.table.insert(key, committed);
    }

    /// Forgets what `gone` says.
    pub fn forget(&mut self, gone: impl Fn(&Key) -> bool) {
        self.table.retain(|key, _| !gone(key));
        self.dirty.retain(|key| !gone(key));
    }

    /// What a group committed.
    pub fn of_group<'a>(&'a self, group: &'a GroupName) -> impl Iterator<Item = (&'a Key, &'a Committed)> {
        let first = self.table.iter().skip_while(move |(key, _)| key.0 < *group);
        first.take_while(move |(key, _)| key.0 == *group)
    }

    /// Forgets what a group committed.
    pub fn remove_group(&mut self, group: &GroupName) {
        self.table.retain(|key, _| key.0 != *group);
    }

    /// Forgets what was committed for a topic.
    pub fn remove_topic(&mut self, topic: &TopicName) {
        self.table.retain(|key, _| key.1 != *topic);
    }

    /// What the log does not hold yet, up to about `bytes_max` bytes of keys and notes; the caller logs it.
    pub fn take_dirty(&mut self, bytes_max: usize) -> Vec<(Key, Committed)> {
        let mut bytes = 0;
        let mut taken = Vec::new();
        while bytes < bytes_max
            && let Some(key) = self.dirty.pop_first()
        {
            if let Some(committed) = self.table.get(&key) {
                bytes += key.0.len() + key.1.len() + committed.metadata.len() + 32;
                taken.push((key, committed.clone()));
            }
        }
        taken
    }

    /// Marks keys for the log again, after logging them failed.
    pub fn mark_dirty(&mut self, keys: impl IntoIterator<Item = Key>) {
        self.dirty.extend(keys);
    }

    /// Pulls offsets that point past the end of their queue back to it. After a crash that cut an unsynced tail,
    /// a snapshot can know of records that are gone.
    pub fn clamp(&mut self, end: impl Fn(&TopicName, QueueId) -> QueueOffset) {
        for (key, committed) in &mut self.table {
            let end = end(&key.1, key.2);
            if committed.offset > end {
                *committed = Committed { offset: end, metadata: mem::take(&mut committed.metadata) };
                self.dirty.insert(key.clone());
            }
        }
    }

    /// Everything, in key order.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &Committed)> {
        self.table.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(queue: QueueId) -> Key {
        (GroupName::new("g").unwrap(), TopicName::new("t").unwrap(), queue)
    }

    fn at(offset: QueueOffset) -> Committed {
        Committed { offset, metadata: String::new() }
    }

    #[test]
    fn commits_are_logged_once() {
        let mut offsets = Offsets::default();
        offsets.commit(key(0), at(5));
        offsets.commit(key(1), at(6));
        offsets.commit(key(0), at(7));
        assert_eq!(offsets.take_dirty(usize::MAX), [(key(0), at(7)), (key(1), at(6))]);
        assert!(offsets.take_dirty(usize::MAX).is_empty());
        offsets.commit(key(1), at(6));
        assert!(offsets.take_dirty(usize::MAX).is_empty());
        offsets.mark_dirty([key(1)]);
        assert_eq!(offsets.take_dirty(1), [(key(1), at(6))]);
    }

    #[test]
    fn offsets_past_the_end_come_back() {
        let mut offsets = Offsets::default();
        offsets.put(key(0), at(5));
        offsets.put(key(1), at(50));
        offsets.clamp(|_, _| 10);
        assert_eq!(offsets.get(&key(0).0, &key(0).1, 0), Some(&at(5)));
        assert_eq!(offsets.get(&key(0).0, &key(0).1, 1), Some(&at(10)));
        assert_eq!(offsets.take_dirty(usize::MAX), [(key(1), at(10))]);
    }
}
