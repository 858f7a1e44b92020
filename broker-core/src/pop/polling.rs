//! Who waits for messages to pop (`PopLongPollingService`, RocketMQ 5.5).
//!
//! Members of a group take messages from one another, so that a message wakes one of those who wait, not all; whoever takes
//! some and leaves others wakes the next.

use crate::outbox::Outbox;
use halley_model::{QueueId, TopicName, name};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::time::Instant;

/// Most requests that wait on this broker (`maxPopPollingSize`, 5.5).
const WAITING_MAX: usize = 100_000;

/// Most requests of one kind that wait for one group, topic and queue (`popPollingSize`, 5.5).
const WAITING_PER_QUEUE_MAX: usize = 1_024;

/// The queue of those who wait for any queue of the topic.
pub(crate) const ANY_QUEUE: i32 = -1;

/// What a request waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Messages (200050).
    Pop,
    /// To be told that there are some (200054).
    Notification,
    /// Messages of lite topics (200070): the topic is [`client_key`]'s.
    Lite,
}

/// Under which topic a client waits for messages of lite topics. No topic is called so.
pub(crate) fn client_key(client: &str) -> String {
    format!("\0{client}")
}

/// Too many wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PollingFull;

/// The waiting requests by topic.
#[derive(Debug, Default)]
pub(crate) struct Polling {
    // Lets the log's thread pass without a lock while nobody waits.
    count: AtomicUsize,
    topics: Mutex<Topics>,
}

#[derive(Debug, Default)]
struct Topics {
    /// By topic and group.
    waiting: HashMap<Box<str>, HashMap<Box<str>, Group>>,
    /// Topic and group of a retry topic.
    retry: HashMap<Box<str>, (Box<str>, Box<str>)>,
}

/// Connections by when their requests give up, and the requests' tokens.
type Queue = BTreeMap<(Instant, u64), Arc<Outbox>>;

/// Who waits of one group, by kind and queue, the first to give up first.
#[derive(Debug, Default)]
struct Group {
    retry_topics: Option<[Box<str>; 2]>,
    queues: BTreeMap<(Kind, i32), Queue>,
}

/// A request that waits, or is to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) kind: Kind,
    pub(crate) group: &'a str,
    pub(crate) topic: &'a str,
    /// [`ANY_QUEUE`], or a queue.
    pub(crate) queue: i32,
}

impl Polling {
    /// Lets a request wait. `token` is its number on the connection of `outbox`, different for each in the process.
    pub(crate) fn wait(
        &self,
        place: Place<'_>,
        retry_topics: Option<[&TopicName; 2]>,
        until: Instant,
        outbox: &Arc<Outbox>,
        token: u64,
    ) -> Result<(), PollingFull> {
        if self.count.load(Ordering::Relaxed) >= WAITING_MAX {
            return Err(PollingFull);
        }
        let mut topics = self.topics.lock();
        let Topics { waiting, retry } = &mut *topics;
        let by_group = match waiting.get_mut(place.topic) {
            Some(by_group) => by_group,
            None => waiting.entry(place.topic.into()).or_default(),
        };
        let group = match by_group.get_mut(place.group) {
            Some(group) => group,
            None => {
                let retry_topics: Option<[Box<str>; 2]> =
                    retry_topics.map(|both| both.map(|topic| topic.as_str().into()));
                for topic in retry_topics.iter().flatten() {
                    retry.insert(Box::clone(topic), (place.topic.into(), place.group.into()));
                }
                let group = Group { retry_topics, ..Group::default() };
                by_group.entry(place.group.into()).or_insert(group)
            }
        };
        let queue = group.queues.entry((place.kind, place.queue)).or_default();
        if queue.len() > WAITING_PER_QUEUE_MAX {
            return Err(PollingFull);
        }
        queue.insert((until, token), outbox.clone());
        self.count.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    /// Forgets a request that was answered otherwise.
    pub(crate) fn forget(&self, place: Place<'_>, until: Instant, token: u64) {
        let mut topics = self.topics.lock();
        let Some(group) = topics.group_mut(place.topic, place.group) else { return };
        if let Some(queue) = group.queues.get_mut(&(place.kind, place.queue))
            && queue.remove(&(until, token)).is_some()
        {
            self.count.fetch_sub(1, Ordering::SeqCst);
        }
        topics.clean(place.topic, place.group);
    }

    /// Whether anybody waits anywhere.
    pub(crate) fn any(&self) -> bool {
        self.count.load(Ordering::SeqCst) > 0
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// How many wait in one place.
    pub(crate) fn waiting(&self, place: Place<'_>) -> usize {
        let topics = self.topics.lock();
        let group = topics.waiting.get(place.topic).and_then(|by_group| by_group.get(place.group));
        group.and_then(|group| group.queues.get(&(place.kind, place.queue))).map_or(0, Queue::len)
    }

    /// Messages arrived in a queue: wakes one of each group, of each kind, for the queue and for any queue.
    pub(crate) fn arrived(&self, topic: &str, queue: QueueId) {
        let mut woken = Vec::new();
        {
            let mut topics = self.topics.lock();
            if topic.starts_with(name::RETRY_PREFIX) {
                let Some((topic, group)) = topics.retry.get(topic).cloned() else { return };
                if let Some(waiting) = topics.group_mut(&topic, &group) {
                    waiting.take_any(&mut woken);
                }
                topics.clean(&topic, &group);
            } else if let Some(by_group) = topics.waiting.get_mut(topic) {
                for group in by_group.values_mut() {
                    group.take(queue as i32, &mut woken);
                }
                let names: Vec<_> = by_group.keys().cloned().collect();
                for group in names {
                    topics.clean(topic, &group);
                }
            }
        }
        self.wake(woken);
    }

    /// A queue has messages for the group: others left them, or a block ended.
    pub(crate) fn wake_group(&self, topic: &str, group: &str, queue: QueueId) {
        if !self.any() {
            return;
        }
        let mut woken = Vec::new();
        {
            let mut topics = self.topics.lock();
            if let Some(waiting) = topics.group_mut(topic, group) {
                waiting.take(queue as i32, &mut woken);
            }
            topics.clean(topic, group);
        }
        self.wake(woken);
    }

    /// A client has messages of lite topics.
    pub(crate) fn wake_client(&self, client: &str, group: &str) {
        if !self.any() {
            return;
        }
        let (key, mut woken) = (client_key(client), Vec::new());
        {
            let mut topics = self.topics.lock();
            if let Some(waiting) = topics.group_mut(&key, group) {
                waiting.take_one(Kind::Lite, ANY_QUEUE, &mut woken);
            }
            topics.clean(&key, group);
        }
        self.wake(woken);
    }

    fn wake(&self, woken: Vec<(Arc<Outbox>, u64)>) {
        self.count.fetch_sub(woken.len(), Ordering::SeqCst);
        for (outbox, token) in woken {
            outbox.wake_parked(token);
        }
    }
}

impl Topics {
    fn group_mut(&mut self, topic: &str, group: &str) -> Option<&mut Group> {
        self.waiting.get_mut(topic)?.get_mut(group)
    }

    /// Forgets a group of which nobody waits.
    fn clean(&mut self, topic: &str, group: &str) {
        let Some(by_group) = self.waiting.get_mut(topic) else { return };
        if let Some(waiting) = by_group.get_mut(group) {
            waiting.queues.retain(|_, queue| !queue.is_empty());
            if waiting.queues.is_empty() {
                for topic in waiting.retry_topics.iter().flatten() {
                    self.retry.remove(topic);
                }
                by_group.remove(group);
            }
        }
        if by_group.is_empty() {
            self.waiting.remove(topic);
        }
    }
}

impl Group {
    /// Takes who is to be woken for a message in `queue`.
    fn take(&mut self, queue: i32, woken: &mut Vec<(Arc<Outbox>, u64)>) {
        for kind in [Kind::Pop, Kind::Notification] {
            for queue in [ANY_QUEUE, queue] {
                self.take_one(kind, queue, woken);
            }
        }
    }

    /// Takes who is to be woken for a message of the retry topic, which every pop looks into.
    fn take_any(&mut self, woken: &mut Vec<(Arc<Outbox>, u64)>) {
        for kind in [Kind::Pop, Kind::Notification] {
            let queue = self.queues.keys().find(|(of, _)| *of == kind).map(|(_, queue)| *queue);
            if let Some(queue) = queue {
                self.take_one(kind, queue, woken);
            }
        }
    }

    fn take_one(&mut self, kind: Kind, queue: i32, woken: &mut Vec<(Arc<Outbox>, u64)>) {
        let first = self.queues.get_mut(&(kind, queue)).and_then(Queue::pop_first);
        woken.extend(first.map(|((_, token), outbox)| (outbox, token)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use halley_model::GroupName;

    #[tokio::test]
    async fn one_of_a_group_is_woken() {
        let polling = Polling::default();
        let (topic, group) = (TopicName::new("t").unwrap(), GroupName::new("g").unwrap());
        let retry = TopicName::pop_retry_of(&group, &topic).unwrap();
        let retry_v2 = TopicName::pop_retry_v2_of(&group, &topic).unwrap();
        let outbox = Arc::new(Outbox::default());
        let place = |queue| Place { kind: Kind::Pop, group: "g", topic: "t", queue };
        let now = Instant::now();
        for (queue, token) in [(ANY_QUEUE, 1), (ANY_QUEUE, 2), (3, 3)] {
            polling.wait(place(queue), Some([&retry, &retry_v2]), now, &outbox, token).unwrap();
        }
        assert_eq!((polling.waiting(place(ANY_QUEUE)), polling.waiting(place(3)), polling.len()), (2, 1, 3));
        polling.arrived("t", 0);
        assert_eq!(outbox.take().woken, [1]);
        polling.arrived("u", 3);
        polling.wake_group("t", "other", 3);
        assert!(outbox.take().woken.is_empty());
        polling.arrived("t", 3);
        assert_eq!(outbox.take().woken, [2, 3]);
        assert!(!polling.any());

        let notification = Place { kind: Kind::Notification, ..place(5) };
        polling.wait(notification, Some([&retry, &retry_v2]), now, &outbox, 4).unwrap();
        polling.arrived(&retry, 0);
        assert_eq!(outbox.take().woken, [4]);
        polling.wait(notification, Some([&retry, &retry_v2]), now, &outbox, 6).unwrap();
        polling.arrived(&retry_v2, 0);
        assert_eq!(outbox.take().woken, [6]);
        polling.wait(place(5), Some([&retry, &retry_v2]), now, &outbox, 5).unwrap();
        polling.forget(place(5), now, 5);
        let topics = polling.topics.lock();
        assert!(topics.waiting.is_empty() && topics.retry.is_empty());
        assert_eq!(polling.len(), 0);
    }

    #[tokio::test]
    async fn a_queue_holds_so_many_and_no_more() {
        let polling = Polling::default();
        let outbox = Arc::new(Outbox::default());
        let retry = TopicName::new("%RETRY%g_t").unwrap();
        let place = Place { kind: Kind::Pop, group: "g", topic: "t", queue: 0 };
        let now = Instant::now();
        let full = (0..2000)
            .find(|token| polling.wait(place, Some([&retry, &retry]), now, &outbox, *token).is_err());
        assert_eq!(full, Some(WAITING_PER_QUEUE_MAX as u64 + 1));
    }
}
