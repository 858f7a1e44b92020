//! A broker in memory, and a sink that does as it is told.

use bytes::Bytes;
use halley_backend::{Backend, Commit, Outgoing, Placed, PullError, Pulled, SendError};
use halley_connector_api::{Attempt, Sink, Verdict};
use halley_model::{
    GroupName, QueueId, QueueOffset, RecordBody, RecordView, TopicName, property, record::Place,
};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout_at},
};

/// A stored record.
pub(crate) fn record_of(
    topic: &str,
    queue: QueueId,
    offset: QueueOffset,
    properties: &[u8],
    body: &[u8],
) -> Bytes {
    let host: SocketAddr = "127.0.0.1:10911".parse().unwrap();
    let record = RecordBody {
        topic,
        queue,
        flag: 0,
        system_flag: 0,
        born: 1,
        born_host: host,
        reconsume_times: 0,
        prepared_offset: 0,
        body,
        properties,
        dispatched: false,
    };
    let mut out = Vec::new();
    record.encode(&Place { queue_offset: offset, log_offset: offset, stored: 2, store_host: host }, &mut out);
    out.into()
}

/// Where a group's progress belongs.
type Progress = (GroupName, TopicName, QueueId);

/// A broker in memory.
#[derive(Default)]
pub(crate) struct Memory {
    state: Mutex<State>,
    stored: Notify,
}

#[derive(Default, Clone)]
struct State {
    topics: BTreeMap<TopicName, Vec<Queue>>,
    commits: BTreeMap<Progress, Commit>,
    /// Sends and pulls that are still to fail.
    failing_sends: usize,
    failing_pulls: usize,
}

#[derive(Default, Clone)]
struct Queue {
    min: QueueOffset,
    records: Vec<Bytes>,
}

impl Memory {
    /// What another process would find after this one was killed now.
    pub(crate) fn after_kill(&self) -> Arc<Self> {
        let state = self.state.lock().unwrap().clone();
        Arc::new(Self { state: Mutex::new(state), stored: Notify::new() })
    }

    /// Stores an event with this type and id.
    pub(crate) fn post(&self, queue: QueueId, kind: &str, id: &str) {
        self.post_with(
            queue,
            &[("ce_specversion", "1.0"), ("ce_type", kind), ("ce_source", "/t"), ("ce_id", id)],
        );
    }

    pub(crate) fn post_with(&self, queue: QueueId, properties: &[(&str, &str)]) {
        let mut raw = Vec::new();
        for (key, value) in properties {
            assert!(property::push(&mut raw, key, value));
        }
        self.store(&topic("BUS_default"), queue, &raw, b"data");
    }

    fn store(&self, topic: &TopicName, queue: QueueId, properties: &[u8], body: &[u8]) -> QueueOffset {
        let mut state = self.state.lock().unwrap();
        let queues = state.topics.get_mut(topic).expect("the topic exists");
        let offset = queues[queue as usize].records.len() as u64;
        queues[queue as usize].records.push(record_of(topic, queue, offset, properties, body));
        self.stored.notify_waiters();
        offset
    }

    pub(crate) fn make_topic(&self, name: &str, queues: usize) {
        let mut state = self.state.lock().unwrap();
        let made = state.topics.entry(topic(name)).or_default();
        made.resize_with(queues.max(made.len()), Queue::default);
    }

    /// Lets the retention of a queue's records before `min` end.
    pub(crate) fn expire(&self, queue: QueueId, min: QueueOffset) {
        self.state.lock().unwrap().topics.get_mut(&topic("BUS_default")).unwrap()[queue as usize].min = min;
    }

    pub(crate) fn fail_sends(&self, count: usize) {
        self.state.lock().unwrap().failing_sends = count;
    }

    pub(crate) fn fail_pulls(&self, count: usize) {
        self.state.lock().unwrap().failing_pulls = count;
    }

    pub(crate) fn records(&self, name: &str) -> Vec<Bytes> {
        let state = self.state.lock().unwrap();
        let queues = state.topics.get(&topic(name)).into_iter().flatten();
        queues.flat_map(|queue| queue.records.clone()).collect()
    }

    pub(crate) fn commit_of(&self, rule: &str, queue: QueueId) -> Option<Commit> {
        let group = GroupName::new(&format!("HALLEY-{rule}")).unwrap();
        self.committed(&group, &topic("BUS_default"), queue)
    }
}

impl Backend for Memory {
    async fn ensure_topic(&self, topic: &TopicName, queues: u32) -> Result<(), SendError> {
        self.make_topic(topic, queues as usize);
        Ok(())
    }

    fn queues(&self, topic: &TopicName) -> Option<u32> {
        self.state.lock().unwrap().topics.get(topic).map(|queues| queues.len() as u32)
    }

    async fn send(&self, batch: Vec<Outgoing>) -> Result<Vec<Placed>, SendError> {
        {
            let mut state = self.state.lock().unwrap();
            if state.failing_sends > 0 {
                state.failing_sends -= 1;
                return Err(SendError::Full);
            }
        }
        let place = |message: Outgoing| {
            let queue = message.queue.unwrap_or(0);
            let queue_offset = self.store(&message.topic, queue, &message.properties, &message.body);
            Placed { queue, queue_offset, log_offset: 0 }
        };
        Ok(batch.into_iter().map(place).collect())
    }

    async fn pull(
        &self,
        topic: &TopicName,
        queue: QueueId,
        from: QueueOffset,
        records_max: usize,
        _: usize,
        wait: Duration,
    ) -> Result<Pulled, PullError> {
        let until = Instant::now() + wait;
        loop {
            let stored = self.stored.notified();
            {
                let mut state = self.state.lock().unwrap();
                if state.failing_pulls > 0 {
                    state.failing_pulls -= 1;
                    return Err(PullError::Read("as told".to_owned()));
                }
                let queue_of = state.topics.get(topic).and_then(|queues| queues.get(queue as usize));
                let Some(Queue { min, records }) = queue_of else {
                    return Err(PullError::NoSuchQueue { topic: topic.clone(), queue });
                };
                let max = records.len() as u64;
                let from = from.max(*min);
                if from < max || Instant::now() >= until {
                    let found = records.iter().skip(from.min(max) as usize).take(records_max);
                    return Ok(Pulled { records: found.cloned().collect(), min: *min, max });
                }
            }
            let _ = timeout_at(until, stored).await;
        }
    }

    fn committed(&self, group: &GroupName, topic: &TopicName, queue: QueueId) -> Option<Commit> {
        self.state.lock().unwrap().commits.get(&(group.clone(), topic.clone(), queue)).cloned()
    }

    fn commit(&self, group: &GroupName, topic: &TopicName, queue: QueueId, commit: Commit) {
        self.state.lock().unwrap().commits.insert((group.clone(), topic.clone(), queue), commit);
    }

    async fn flush_commits(&self) -> Result<(), SendError> {
        Ok(())
    }

    fn cluster(&self) -> &str {
        "here"
    }
}

pub(crate) fn topic(name: &str) -> TopicName {
    TopicName::new(name).unwrap()
}

/// What a sink was asked, in order: id of the event and number of the attempt.
pub(crate) type Asked = Vec<(String, u32)>;

/// The verdict over an event's id and the number of the attempt.
type Judge = dyn Fn(&str, u32) -> Verdict + Send + Sync;

/// A sink that does as it is told. Clones are the same sink.
#[derive(Clone)]
pub(crate) struct Told {
    verdict: Arc<Judge>,
    /// How long an attempt takes.
    takes: Duration,
    seen: Arc<Mutex<Seen>>,
    changed: Arc<Notify>,
}

#[derive(Default)]
struct Seen {
    begun: Asked,
    delivered: Vec<String>,
    running: usize,
    running_max: usize,
}

impl Told {
    pub(crate) fn new(
        takes: Duration,
        verdict: impl Fn(&str, u32) -> Verdict + Send + Sync + 'static,
    ) -> Self {
        Self { verdict: Arc::new(verdict), takes, seen: Arc::default(), changed: Arc::default() }
    }

    pub(crate) fn begun(&self) -> Asked {
        self.seen.lock().unwrap().begun.clone()
    }

    pub(crate) fn delivered(&self) -> Vec<String> {
        self.seen.lock().unwrap().delivered.clone()
    }

    pub(crate) fn running_max(&self) -> usize {
        self.seen.lock().unwrap().running_max
    }

    /// Waits until so many attempts were begun.
    pub(crate) async fn wait_begun(&self, count: usize) {
        loop {
            let changed = self.changed.notified();
            if self.seen.lock().unwrap().begun.len() >= count {
                return;
            }
            changed.await;
        }
    }

    /// Waits until so many events were delivered.
    pub(crate) async fn wait_delivered(&self, count: usize) {
        loop {
            let changed = self.changed.notified();
            if self.seen.lock().unwrap().delivered.len() >= count {
                return;
            }
            changed.await;
        }
    }
}

impl Sink for Told {
    async fn deliver(&self, attempt: Attempt) -> Verdict {
        let view = RecordView::parse(&attempt.record).unwrap();
        let id = view.property("ce_id").or(view.property("UNIQ_KEY")).unwrap().to_owned();
        {
            let mut seen = self.seen.lock().unwrap();
            seen.begun.push((id.clone(), attempt.number));
            seen.running += 1;
            seen.running_max = seen.running_max.max(seen.running);
        }
        self.changed.notify_waiters();
        sleep(self.takes).await;
        let verdict = (self.verdict)(&id, attempt.number);
        {
            let mut seen = self.seen.lock().unwrap();
            seen.running -= 1;
            if verdict == Verdict::Delivered {
                seen.delivered.push(id);
            }
        }
        self.changed.notify_waiters();
        verdict
    }
}
