//! The task of one target.

use crate::{
    Stop,
    clock::Clock,
    dead_letter::{self, Obituary},
    metrics::{BridgeMetrics, RuleMetrics},
    records::{self, Kept, NoRecord},
    running::RunningRule,
};
use bytes::Bytes;
use halley_backend::{Backend, Commit, Outgoing, Pulled};
use halley_connector_api::{Attempt, Sink, Verdict};
use halley_delivery::{
    Checkpoint, Cursor, Effect, Fetched, GiveUp, Input, Limits, Machine, StreamId, Verdict as Ended,
};
use halley_event::EventView;
use halley_model::{Millis, QueueId, QueueOffset, RecordView, TopicName, hash};
use halley_rules::config;
use std::{collections::BTreeSet, future::Future, sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    task::{JoinError, JoinSet},
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

/// A fetch waits so long for the first record.
const FETCH_WAIT: Duration = Duration::from_secs(20);

/// About the most bytes of one fetch.
const FETCH_BYTES_MAX: usize = 1024 * 1024;

/// How often topics are looked at for queues that were added.
const QUEUES_CHECK: Duration = Duration::from_secs(2);

/// A target with its machine.
pub(crate) struct TargetTask<B, S> {
    name: Arc<str>,
    machine: Machine,
    rules: Vec<TargetRule<S>>,
    /// By the machine's numbers.
    streams: Vec<Stream>,
    /// Rules whose gauges are to be brought up to date.
    changed: BTreeSet<usize>,
    dead_letters: TopicName,
    backend: Arc<B>,
    cluster: Arc<str>,
    kept: Kept,
}

struct TargetRule<S> {
    running: RunningRule<S>,
    metrics: RuleMetrics,
    /// Its streams, by queue.
    streams: Vec<StreamId>,
}

/// One rule's share of one queue.
struct Stream {
    rule: usize,
    queue: QueueId,
    /// The queue's end as last seen.
    end: QueueOffset,
}

/// What a spawned piece of work found. There are at most as many as the machine allows in flight, and one per stream.
enum Done {
    Fetched(StreamId, Option<Pulled>),
    Attempted(StreamId, QueueOffset, Ended, Duration),
    DeadLettered(StreamId, QueueOffset, Letter),
}

/// What became of a dead letter.
enum Letter {
    Written,
    /// There is nothing left to write.
    Gone,
    Failed,
}

impl<B: Backend, S: Sink> TargetTask<B, S> {
    pub(crate) fn new(
        target: &config::Target,
        rules: Vec<RunningRule<S>>,
        dead_letters: TopicName,
        backend: Arc<B>,
        metrics: &BridgeMetrics,
        seed: u64,
    ) -> Self {
        let limits = Limits { inflight_max: target.max_inflight, ..Limits::default() };
        let rules = rules.into_iter().map(|running| {
            let metrics = metrics.of(&running.rule.name, &target.name);
            TargetRule { running, metrics, streams: Vec::new() }
        });
        let cluster = backend.cluster().into();
        Self {
            name: target.name.as_str().into(),
            machine: Machine::new(limits, seed),
            rules: rules.collect(),
            streams: Vec::new(),
            changed: BTreeSet::new(),
            dead_letters,
            backend,
            cluster,
            kept: Kept::default(),
        }
    }

    /// Delivers until told to stop.
    pub(crate) async fn run(mut self, clock: Clock, mut stop: watch::Receiver<Stop>) {
        let (mut work, mut effects) = (JoinSet::new(), Vec::new());
        for rule in 0..self.rules.len() {
            for cursor in std::mem::take(&mut self.rules[rule].running.cursors) {
                self.open(clock.now(), rule, cursor, &mut effects);
            }
        }
        let mut queues_check = interval(QUEUES_CHECK);
        queues_check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.perform(clock.now(), &mut effects, &mut work);
            self.show();
            let stopping = *stop.borrow();
            if stopping == Stop::Now || stopping == Stop::Drain && self.machine.running() == 0 {
                break;
            }
            let due = self.machine.deadline().map(|due| clock.at(due));
            let input = tokio::select! {
                Some(done) = work.join_next() => {
                    let mut next = Some(done);
                    while let Some(done) = next {
                        let input = self.take(finished(done));
                        self.machine.step(clock.now(), input, &mut effects);
                        next = work.try_join_next();
                    }
                    continue;
                }
                () = sleep_or_never(due) => Input::Tick,
                _ = queues_check.tick() => {
                    self.open_new_queues(clock.now(), &mut effects);
                    continue;
                }
                told = stop.changed() => match told {
                    Ok(()) => Input::Stop,
                    // The bridge was dropped.
                    Err(_) => break,
                },
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

    /// Begins the next queue of a rule.
    fn open(&mut self, now: Millis, rule: usize, cursor: Cursor, effects: &mut Vec<Effect>) {
        let number = u32::try_from(self.streams.len()).expect("a target has far fewer than 2^32 streams");
        let stream = StreamId(number);
        let of = &mut self.rules[rule];
        let queue = u32::try_from(of.streams.len()).expect("a topic has at most 65,536 queues");
        of.streams.push(stream);
        self.streams.push(Stream { rule, queue, end: cursor.next });
        self.changed.insert(rule);
        let policy = of.running.policy.clone();
        self.machine.step(now, Input::Open { stream, policy, cursor }, effects);
    }

    /// Queues added to a topic while the rule runs are read from their beginning.
    fn open_new_queues(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        for rule in 0..self.rules.len() {
            let TargetRule { running, streams, .. } = &self.rules[rule];
            let queues = self.backend.queues(&running.rule.topic).unwrap_or(0);
            for queue in streams.len()..queues as usize {
                let running = &self.rules[rule].running;
                tracing::info!(rule = %running.rule.name, topic = %running.rule.topic, queue, "a new queue");
                self.open(now, rule, Cursor::at(0), effects);
            }
        }
    }

    /// Carries out what the machine wants.
    fn perform(&mut self, now: Millis, effects: &mut Vec<Effect>, work: &mut JoinSet<Done>) {
        for effect in effects.drain(..) {
            match effect {
                Effect::Fetch { stream, from, max } => {
                    let (backend, topic, queue) = self.place(stream);
                    work.spawn(async move {
                        let pulled =
                            backend.pull(&topic, queue, from, max, FETCH_BYTES_MAX, FETCH_WAIT).await;
                        if let Err(error) = &pulled {
                            tracing::warn!(%topic, queue, %error, "a fetch failed");
                        }
                        Done::Fetched(stream, pulled.ok())
                    });
                }
                Effect::Deliver { stream, offset, attempt } => {
                    let record = self.record(stream, offset);
                    let sink = self.rule_of(stream).running.sink.clone();
                    let cluster = self.cluster.clone();
                    work.spawn(async move {
                        let started = Instant::now();
                        let ended = match record.await {
                            Ok(record) => {
                                ended(sink.deliver(Attempt { record, cluster, number: attempt }).await)
                            }
                            Err(NoRecord::Gone) => Ended::Gone,
                            Err(NoRecord::Unreadable(reason)) => Ended::Retry { reason, retry_after: None },
                        };
                        Done::Attempted(stream, offset, ended, started.elapsed())
                    });
                }
                Effect::DeadLetter { stream, offset, reason, attempts, first_error, last_error } => {
                    let why = Why { reason, attempts, first_error, last_error, now };
                    let writing = self.dead_letter(stream, offset, why);
                    work.spawn(async move { Done::DeadLettered(stream, offset, writing.await) });
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
                self.changed.insert(self.streams[index_of(stream)].rule);
                let metrics = &self.rule_of(stream).metrics;
                match &verdict {
                    Ended::Delivered => _ = metrics.delivered.inc(),
                    Ended::Retry { .. } => _ = metrics.retried.inc(),
                    Ended::Reject { .. } => {}
                    Ended::Gone => _ = metrics.gone.inc(),
                }
                if verdict != Ended::Gone {
                    metrics.latency.observe(took.as_secs_f64());
                }
                Input::Outcome { stream, offset, verdict }
            }
            Done::DeadLettered(stream, offset, letter) => {
                self.changed.insert(self.streams[index_of(stream)].rule);
                let metrics = &self.rule_of(stream).metrics;
                let written = match letter {
                    Letter::Written => {
                        metrics.dead_lettered.inc();
                        true
                    }
                    Letter::Gone => {
                        metrics.gone.inc();
                        true
                    }
                    Letter::Failed => false,
                };
                Input::DeadLettered { stream, offset, written }
            }
        }
    }

    /// Which of the fetched records are for the target.
    fn evaluate(&mut self, id: StreamId, pulled: &Pulled) -> Input {
        let stream = &mut self.streams[index_of(id)];
        stream.end = stream.end.max(pulled.max);
        self.changed.insert(stream.rule);
        let TargetRule { running, metrics, .. } = &self.rules[stream.rule];
        let mut records = Vec::with_capacity(pulled.records.len());
        // Where the log's beginning has moved past the asked offset, the stream follows.
        let mut next = pulled.min;
        for bytes in &pulled.records {
            let record = match RecordView::parse(bytes) {
                Ok(record) => record,
                Err(error) => {
                    // Without its offset it cannot even be passed over: it is read again, later.
                    tracing::error!(topic = %running.rule.topic, queue = stream.queue, %error, "a stored record");
                    break;
                }
            };
            let (event, offset) = (EventView::new(record, &self.cluster), record.queue_offset());
            next = offset + 1;
            if !running.rule.matches(&event) {
                records.push((offset, Fetched::Skipped));
                continue;
            }
            metrics.matched.inc();
            self.kept.keep(id, offset, bytes);
            let key = running.rule.order_key.as_ref().and_then(|name| event.attribute(name));
            records.push((offset, Fetched::Matched { key: key.map(|key| hash::of_key(key.as_bytes())) }));
        }
        if records.is_empty() && !pulled.records.is_empty() {
            return Input::FetchFailed { stream: id };
        }
        Input::Fetched { stream: id, records, next }
    }

    /// The record of an attempt: kept, or read again.
    fn record(
        &mut self,
        stream: StreamId,
        offset: QueueOffset,
    ) -> impl Future<Output = Result<Bytes, NoRecord>> + Send + use<B, S> {
        let kept = self.kept.take(stream, offset);
        let (backend, topic, queue) = self.place(stream);
        async move {
            match kept {
                Some(record) => Ok(record),
                None => records::read(&*backend, &topic, queue, offset).await,
            }
        }
    }

    /// Writes a dead letter.
    fn dead_letter(
        &mut self,
        stream: StreamId,
        offset: QueueOffset,
        why: Why,
    ) -> impl Future<Output = Letter> + Send + use<B, S> {
        let record = self.record(stream, offset);
        let rule = &self.rule_of(stream).running.rule;
        let (rule_name, topic) = (rule.name.clone(), rule.dead_letter.as_ref());
        let topic = topic.unwrap_or(&self.dead_letters).clone();
        let (backend, target) = (self.backend.clone(), self.name.clone());
        async move {
            let record = match record.await {
                Ok(record) => record,
                Err(NoRecord::Gone) => return Letter::Gone,
                Err(NoRecord::Unreadable(error)) => {
                    tracing::warn!(%topic, error, "a dead letter was not stored, it is tried again");
                    return Letter::Failed;
                }
            };
            let view = RecordView::parse(&record).expect("a kept or read record was parsed before");
            let obituary = Obituary {
                reason: why.reason.as_str(),
                attempts: why.attempts,
                first_error: why.first_error.as_deref(),
                last_error: why.last_error.as_deref(),
                rule: &rule_name,
                target: &target,
                now: why.now,
            };
            let message = Outgoing {
                topic: topic.clone(),
                queue: None,
                body: view.body_of(&record),
                properties: dead_letter::properties(&view, &obituary).into(),
                born: view.born(),
            };
            let stored = async {
                if backend.queues(&topic).is_none() {
                    backend.ensure_topic(&topic, 1).await?;
                }
                backend.send(vec![message]).await
            };
            match stored.await {
                Ok(_) => Letter::Written,
                Err(error) => {
                    tracing::warn!(%topic, %error, "a dead letter was not stored, it is tried again");
                    Letter::Failed
                }
            }
        }
    }

    fn commit(&self, stream: StreamId, checkpoint: Checkpoint) {
        let RunningRule { rule, group, .. } = &self.rule_of(stream).running;
        let Checkpoint { offset, metadata } = checkpoint;
        let queue = self.streams[index_of(stream)].queue;
        self.backend.commit(group, &rule.topic, queue, Commit { offset, metadata });
    }

    fn place(&self, stream: StreamId) -> (Arc<B>, TopicName, QueueId) {
        let topic = self.rule_of(stream).running.rule.topic.clone();
        (self.backend.clone(), topic, self.streams[index_of(stream)].queue)
    }

    fn rule_of(&self, stream: StreamId) -> &TargetRule<S> {
        &self.rules[self.streams[index_of(stream)].rule]
    }

    /// Brings the gauges of rules that changed up to date.
    fn show(&mut self) {
        while let Some(rule) = self.changed.pop_first() {
            let TargetRule { metrics, streams, .. } = &self.rules[rule];
            let (mut lag, mut open, mut full) = (0, 0, 0);
            for stream in streams {
                let Some(backlog) = self.machine.backlog(*stream) else { continue };
                lag += self.streams[index_of(*stream)].end.saturating_sub(backlog.low);
                open += backlog.open;
                full += i64::from(backlog.full);
            }
            metrics.lag.set(i64::try_from(lag).unwrap_or(i64::MAX));
            metrics.open.set(i64::try_from(open).unwrap_or(i64::MAX));
            metrics.full.set(full);
        }
    }
}

/// Why an event is given up, as the machine says it.
struct Why {
    reason: GiveUp,
    attempts: u32,
    first_error: Option<Arc<str>>,
    last_error: Option<Arc<str>>,
    now: Millis,
}

/// What work found. A panic in it is passed on: an event whose end is unknown would hold its place for ever.
fn finished(done: Result<Done, JoinError>) -> Done {
    match done {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(error) => panic!("work is aborted only after the last look at it: {error}"),
        },
    }
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

fn index_of(stream: StreamId) -> usize {
    stream.0 as usize
}
