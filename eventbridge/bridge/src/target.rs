//! The task of one target.

use crate::{
    Stop,
    clock::Clock,
    dead_letter::{self, Obituary},
    metrics::{BridgeMetrics, RuleMetrics},
};
use bytes::Bytes;
use halley_backend::{Backend, Commit, Outgoing, Pulled};
use halley_connector_api::{Attempt, Sink, Verdict};
use halley_delivery::{
    Checkpoint, Cursor, Effect, Fetched, GiveUp, Input, Limits, Machine, Policy, StreamId, Verdict as Ended,
};
use halley_event::EventView;
use halley_model::{GroupName, QueueId, QueueOffset, RecordView, TopicName};
use halley_rules::{config, config::Rule};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep_until},
};

/// A fetch waits so long for the first record.
const FETCH_WAIT: Duration = Duration::from_secs(20);

/// About the most bytes of one fetch.
const FETCH_BYTES_MAX: usize = 1024 * 1024;

/// Records kept for attempts that are soon to come; others are read again from the log.
const KEPT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// One rule's share of one queue.
pub(crate) struct Stream<S> {
    pub(crate) rule: Arc<Rule>,
    pub(crate) group: GroupName,
    pub(crate) queue: QueueId,
    pub(crate) sink: Arc<S>,
    pub(crate) policy: Arc<Policy>,
    pub(crate) cursor: Cursor,
}

/// A target with its machine.
pub(crate) struct TargetTask<B, S> {
    name: Arc<str>,
    machine: Machine,
    streams: Vec<Stream<S>>,
    metrics: Vec<RuleMetrics>,
    /// Ends of the queues as last seen, by stream.
    ends: Vec<QueueOffset>,
    dead_letters: TopicName,
    backend: Arc<B>,
    cluster: Arc<str>,
    kept: Kept,
}

/// What a spawned piece of work found.
enum Done {
    Fetched(StreamId, Option<Pulled>),
    Attempted(StreamId, QueueOffset, Ended, Duration),
    DeadLettered(StreamId, QueueOffset, bool),
}

/// Records waiting for their first attempt, bounded in bytes.
#[derive(Default)]
struct Kept {
    records: HashMap<(StreamId, QueueOffset), Bytes>,
    bytes: usize,
}

impl Kept {
    fn keep(&mut self, stream: StreamId, offset: QueueOffset, record: &Bytes) {
        if self.bytes + record.len() <= KEPT_BYTES_MAX {
            self.bytes += record.len();
            self.records.insert((stream, offset), record.clone());
        }
    }

    fn take(&mut self, stream: StreamId, offset: QueueOffset) -> Option<Bytes> {
        let record = self.records.remove(&(stream, offset))?;
        self.bytes -= record.len();
        Some(record)
    }
}

impl<B: Backend, S: Sink> TargetTask<B, S> {
    pub(crate) fn new(
        target: &config::Target,
        streams: Vec<Stream<S>>,
        dead_letters: TopicName,
        backend: Arc<B>,
        metrics: BridgeMetrics,
        seed: u64,
    ) -> Self {
        let limits = Limits { inflight_max: target.max_inflight, ..Limits::default() };
        let metrics = streams.iter().map(|stream| metrics.of(&stream.rule.name, &target.name)).collect();
        let ends = streams.iter().map(|stream| stream.cursor.next).collect();
        let cluster = backend.cluster().into();
        Self {
            name: target.name.as_str().into(),
            machine: Machine::new(limits, seed),
            streams,
            metrics,
            ends,
            dead_letters,
            backend,
            cluster,
            kept: Kept::default(),
        }
    }

    /// Delivers until told to stop.
    pub(crate) async fn run(mut self, clock: Clock, mut stop: watch::Receiver<Stop>) {
        let (tell, mut done) = mpsc::unbounded_channel();
        let mut work = JoinSet::new();
        let mut effects = Vec::new();
        for index in 0..self.streams.len() {
            let stream = &mut self.streams[index];
            let cursor = std::mem::replace(&mut stream.cursor, Cursor::at(0));
            let input = Input::Open { stream: id_of(index), policy: stream.policy.clone(), cursor };
            self.machine.step(clock.now(), input, &mut effects);
        }
        loop {
            self.perform(&mut effects, &clock, &tell, &mut work);
            self.show();
            let stopping = *stop.borrow();
            if stopping == Stop::Now || stopping == Stop::Drain && self.machine.running() == 0 {
                break;
            }
            let due = self.machine.deadline().map(|due| clock.at(due));
            let input = tokio::select! {
                Some(done) = done.recv() => self.take(done),
                () = sleep_or_never(due) => Input::Tick,
                Some(_) = work.join_next() => continue,
                _ = stop.changed() => Input::Stop,
            };
            self.machine.step(clock.now(), input, &mut effects);
        }
        // Fetches and abandoned attempts end here; what the machine knows is committed.
        work.abort_all();
        self.machine.step(clock.now(), Input::Stop, &mut effects);
        for effect in effects {
            if let Effect::Persist { stream, checkpoint } = effect {
                self.commit(stream, checkpoint);
            }
        }
    }

    /// Carries out what the machine wants.
    fn perform(
        &mut self,
        effects: &mut Vec<Effect>,
        clock: &Clock,
        tell: &mpsc::UnboundedSender<Done>,
        work: &mut JoinSet<()>,
    ) {
        for effect in effects.drain(..) {
            let tell = tell.clone();
            match effect {
                Effect::Fetch { stream, from, max } => {
                    let (backend, topic, queue) = self.place(stream);
                    work.spawn(async move {
                        let pulled =
                            backend.pull(&topic, queue, from, max, FETCH_BYTES_MAX, FETCH_WAIT).await;
                        if let Err(error) = &pulled {
                            tracing::warn!(%topic, queue, %error, "a fetch failed");
                        }
                        // The task may have stopped meanwhile.
                        let _ = tell.send(Done::Fetched(stream, pulled.ok()));
                    });
                }
                Effect::Deliver { stream, offset, attempt } => {
                    let record = self.record(stream, offset);
                    let (sink, cluster) = (self.streams[index_of(stream)].sink.clone(), self.cluster.clone());
                    work.spawn(async move {
                        let started = Instant::now();
                        let ended = match record.await {
                            Ok(record) => {
                                ended(sink.deliver(Attempt { record, cluster, number: attempt }).await)
                            }
                            Err(ended) => ended,
                        };
                        let _ = tell.send(Done::Attempted(stream, offset, ended, started.elapsed()));
                    });
                }
                Effect::DeadLetter { stream, offset, reason, attempts, first_error, last_error } => {
                    let letter = Letter { reason, attempts, first_error, last_error };
                    let writing = self.dead_letter(stream, offset, letter, clock);
                    work.spawn(async move {
                        let _ = tell.send(Done::DeadLettered(stream, offset, writing.await));
                    });
                }
                Effect::Persist { stream, checkpoint } => self.commit(stream, checkpoint),
            }
        }
    }

    /// What the machine is told of ended work.
    fn take(&mut self, done: Done) -> Input {
        match done {
            Done::Fetched(stream, None) => Input::FetchFailed { stream },
            Done::Fetched(stream, Some(pulled)) => self.evaluate(stream, &pulled),
            Done::Attempted(stream, offset, verdict, took) => {
                let metrics = &self.metrics[index_of(stream)];
                metrics.latency.observe(took.as_secs_f64());
                match &verdict {
                    Ended::Delivered => _ = metrics.delivered.inc(),
                    Ended::Retry { .. } => _ = metrics.retried.inc(),
                    Ended::Reject { .. } | Ended::Gone => {}
                }
                Input::Outcome { stream, offset, verdict }
            }
            Done::DeadLettered(stream, offset, written) => {
                if written {
                    self.metrics[index_of(stream)].dead_lettered.inc();
                }
                Input::DeadLettered { stream, offset, written }
            }
        }
    }

    /// Which of the fetched records are for the target.
    fn evaluate(&mut self, id: StreamId, pulled: &Pulled) -> Input {
        let (index, mut records, mut next) = (index_of(id), Vec::with_capacity(pulled.records.len()), 0);
        let rule = self.streams[index].rule.clone();
        self.ends[index] = self.ends[index].max(pulled.max);
        for bytes in &pulled.records {
            // The store checked the record; one that cannot be read has no place in a queue.
            let Ok(record) = RecordView::parse(bytes) else { continue };
            let (event, offset) = (EventView::new(record, &self.cluster), record.queue_offset());
            next = offset + 1;
            if !rule.matches(&event) {
                records.push((offset, Fetched::Skipped));
                continue;
            }
            self.metrics[index].matched.inc();
            self.kept.keep(id, offset, bytes);
            let key = rule.order_key.as_ref().and_then(|name| event.attribute(name));
            records.push((offset, Fetched::Matched { key: key.map(|key| hash(key.as_bytes())) }));
        }
        Input::Fetched { stream: id, records, next }
    }

    /// The record of an attempt: kept, or read again.
    fn record(
        &mut self,
        stream: StreamId,
        offset: QueueOffset,
    ) -> impl Future<Output = Result<Bytes, Ended>> + Send + use<B, S> {
        let kept = self.kept.take(stream, offset);
        let (backend, topic, queue) = self.place(stream);
        async move {
            if let Some(record) = kept {
                return Ok(record);
            }
            match backend.pull(&topic, queue, offset, 1, 1, Duration::ZERO).await {
                Ok(pulled) => {
                    let found = pulled.records.into_iter().next();
                    let is_it =
                        |record: &Bytes| RecordView::parse(record).is_ok_and(|r| r.queue_offset() == offset);
                    found.filter(is_it).ok_or(Ended::Gone)
                }
                Err(error) => Err(Ended::Retry { reason: error.to_string(), retry_after: None }),
            }
        }
    }

    /// Writes a dead letter; whether it is stored. A record that is gone has nothing left to write.
    fn dead_letter(
        &mut self,
        stream: StreamId,
        offset: QueueOffset,
        letter: Letter,
        clock: &Clock,
    ) -> impl Future<Output = bool> + Send + use<B, S> {
        let record = self.record(stream, offset);
        let rule = self.streams[index_of(stream)].rule.clone();
        let topic = rule.dead_letter.clone().unwrap_or_else(|| self.dead_letters.clone());
        let (backend, target, now) = (self.backend.clone(), self.name.clone(), clock.now());
        async move {
            let record = match record.await {
                Ok(record) => record,
                Err(Ended::Gone) => return true,
                Err(_) => return false,
            };
            let Ok(view) = RecordView::parse(&record) else { return true };
            let obituary = Obituary {
                reason: letter.reason.as_str(),
                attempts: letter.attempts,
                first_error: letter.first_error.as_deref(),
                last_error: letter.last_error.as_deref(),
                rule: &rule.name,
                target: &target,
                now,
            };
            let message = Outgoing {
                topic: topic.clone(),
                queue: None,
                body: view.body_of(&record),
                properties: dead_letter::properties(&view, &obituary).into(),
                born: view.born(),
            };
            let stored = async {
                backend.ensure_topic(&topic, 1).await?;
                backend.send(vec![message]).await
            };
            match stored.await {
                Ok(_) => true,
                Err(error) => {
                    tracing::warn!(%topic, %error, "a dead letter was not stored, it is tried again");
                    false
                }
            }
        }
    }

    fn commit(&self, stream: StreamId, checkpoint: Checkpoint) {
        let Stream { rule, group, queue, .. } = &self.streams[index_of(stream)];
        let Checkpoint { offset, metadata } = checkpoint;
        self.backend.commit(group, &rule.topic, *queue, Commit { offset, metadata });
    }

    fn place(&self, stream: StreamId) -> (Arc<B>, TopicName, QueueId) {
        let Stream { rule, queue, .. } = &self.streams[index_of(stream)];
        (self.backend.clone(), rule.topic.clone(), *queue)
    }

    /// Brings the gauges up to date: streams of one rule share them.
    fn show(&self) {
        let mut index = 0;
        while index < self.streams.len() {
            let rule = &self.streams[index].rule;
            let (mut lag, mut open) = (0, 0);
            let first = index;
            while index < self.streams.len() && Arc::ptr_eq(rule, &self.streams[index].rule) {
                if let Some(backlog) = self.machine.backlog(id_of(index)) {
                    lag += self.ends[index].saturating_sub(backlog.low);
                    open += backlog.open;
                }
                index += 1;
            }
            self.metrics[first].lag.set(lag as i64);
            self.metrics[first].open.set(open as i64);
        }
    }
}

/// Why an event is given up, as the machine says it.
struct Letter {
    reason: GiveUp,
    attempts: u32,
    first_error: Option<Arc<str>>,
    last_error: Option<Arc<str>>,
}

fn ended(verdict: Verdict) -> Ended {
    match verdict {
        Verdict::Delivered => Ended::Delivered,
        Verdict::Retry { reason, retry_after } => Ended::Retry { reason, retry_after },
        Verdict::Reject { reason } => Ended::Reject { reason },
    }
}

async fn sleep_or_never(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

fn id_of(index: usize) -> StreamId {
    StreamId(u32::try_from(index).expect("a target has far fewer than 2^32 streams"))
}

fn index_of(stream: StreamId) -> usize {
    stream.0 as usize
}

/// FNV-1a: an order key's hash outlives the process in the cursor.
fn hash(key: &[u8]) -> u32 {
    key.iter().fold(0x811C_9DC5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}
