//! From the log through rules to targets.
//!
//! One task per target owns its delivery machine (`halley-delivery`), evaluates its rules on what it fetches, and has
//! the machine's effects carried out: fetches, attempts, dead letters, commits. It sees the broker as a [`Backend`]
//! and targets as [`Sink`]s only.
//!
//! A rule's progress is a consumer group `HALLEY-<rule>`. A rule that never ran begins at the end of its queues; that
//! place is durable before [`Bridge::start`] ends, so that no event accepted later can be missed.

#![allow(clippy::disallowed_methods, reason = "this is a shell: it has tasks and a clock")]

mod clock;
mod dead_letter;
mod metrics;
mod target;

use crate::{
    clock::Clock,
    metrics::BridgeMetrics,
    target::{Stream, TargetTask},
};
use halley_backend::{Backend, Commit, SendError};
use halley_connector_api::Sink;
use halley_delivery::{Backoff, Cursor, Growth, Jitter, Policy};
use halley_model::{GroupName, QueueId, TopicName};
use halley_rules::{
    Config,
    config::{self, Rule},
};
use prometheus_client::registry::Registry;
use std::{sync::Arc, time::Duration};
use tokio::{sync::watch, task::JoinHandle, time::timeout};

/// Queues of a topic that a rule reads and that nobody made yet.
const TOPIC_QUEUES: u32 = 8;

/// Why the bridge did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A topic or the rules' first commits could not be stored.
    #[error("the rules' state could not be stored: {0}")]
    Store(#[from] SendError),
    /// A topic or group name could not be made from a rule or target.
    #[error("{0}")]
    Name(#[from] halley_model::NameError),
}

/// The running deliveries.
pub struct Bridge {
    metrics: BridgeMetrics,
    stop: watch::Sender<Stop>,
    tasks: Vec<JoinHandle<()>>,
}

/// What tasks are told about stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Go on.
    No,
    /// Begin nothing new, end when what runs has ended.
    Drain,
    /// End now.
    Now,
}

/// The bridge's metrics, apart from the bridge itself. Clones count the same.
#[derive(Clone)]
pub struct Metrics(BridgeMetrics);

impl Metrics {
    /// Makes the counters known.
    pub fn register(&self, registry: &mut Registry) {
        self.0.register(registry);
    }
}

impl Bridge {
    /// Starts delivering for all rules of a configuration; `sink_of` makes the sink of a rule's target.
    pub async fn start<B: Backend, S: Sink>(
        backend: Arc<B>,
        config: &Config,
        sink_of: impl Fn(&Rule, &config::Target) -> S,
    ) -> Result<Self, StartError> {
        let metrics = BridgeMetrics::default();
        let (stop, stopped) = watch::channel(Stop::No);
        let mut ready = Vec::new();
        for target in &config.targets {
            let mut streams = Vec::new();
            for rule in config.rules.iter().filter(|rule| rule.target == target.name) {
                let sink = Arc::new(sink_of(rule, target));
                streams.extend(open_streams(&*backend, rule, sink).await?);
            }
            let dead_letters = TopicName::dead_letters_of(&GroupName::new(&target.name)?);
            ready.push((target, streams, dead_letters));
        }
        backend.flush_commits().await?;
        let tasks = ready.into_iter().filter(|(_, streams, _)| !streams.is_empty());
        let tasks = tasks.map(|(target, streams, dead_letters)| {
            let clock = Clock::start();
            // The time differs from start to start, which is all that the jitter of retries needs.
            let seed = clock.now().cast_unsigned();
            let task = TargetTask::new(target, streams, dead_letters, backend.clone(), metrics.clone(), seed);
            tokio::spawn(task.run(clock, stopped.clone()))
        });
        let tasks = tasks.collect();
        Ok(Self { metrics, stop, tasks })
    }

    /// The metrics.
    pub fn metrics(&self) -> Metrics {
        Metrics(self.metrics.clone())
    }

    /// Begins no new deliveries, gives running ones `drain` to end, and commits how far each rule came.
    pub async fn stop(self, drain: Duration) {
        self.stop.send_replace(Stop::Drain);
        let mut tasks = self.tasks;
        let drained = timeout(drain, join_all(&mut tasks)).await;
        if drained.is_err() {
            self.stop.send_replace(Stop::Now);
            join_all(&mut tasks).await;
        }
    }
}

async fn join_all(tasks: &mut Vec<JoinHandle<()>>) {
    while let Some(task) = tasks.last_mut() {
        if let Err(error) = task.await {
            tracing::error!(%error, "a target's task ended badly");
        }
        tasks.pop();
    }
}

/// The streams of a rule, one per queue, each at its cursor.
async fn open_streams<B: Backend, S: Sink>(
    backend: &B,
    rule: &Rule,
    sink: Arc<S>,
) -> Result<Vec<Stream<S>>, StartError> {
    let topic = &rule.topic;
    if backend.queues(topic).is_none() {
        backend.ensure_topic(topic, TOPIC_QUEUES).await?;
    }
    let group = GroupName::new(&format!("HALLEY-{}", rule.name))?;
    let policy = Arc::new(policy_of(rule));
    let rule = Arc::new(rule.clone());
    let queues = backend.queues(topic).unwrap_or(0);
    let mut streams = Vec::with_capacity(queues as usize);
    for queue in 0..queues {
        let cursor = cursor_of(backend, &group, topic, queue).await;
        streams.push(Stream {
            rule: rule.clone(),
            group: group.clone(),
            queue,
            sink: sink.clone(),
            policy: policy.clone(),
            cursor,
        });
    }
    Ok(streams)
}

/// The committed cursor; without one, the queue's end, which is committed at once.
async fn cursor_of<B: Backend>(backend: &B, group: &GroupName, topic: &TopicName, queue: QueueId) -> Cursor {
    if let Some(Commit { offset, metadata }) = backend.committed(group, topic, queue) {
        return Cursor::decode(offset, &metadata).unwrap_or_else(|error| {
            // Happens after a crash that cut the log, and after a reset with RocketMQ's tools: the offset counts.
            tracing::warn!(%group, %topic, queue, %error, "the rule goes on at its committed offset");
            Cursor::at(offset)
        });
    }
    let end = match backend.pull(topic, queue, u64::MAX, 1, 1, Duration::ZERO).await {
        Ok(pulled) => pulled.max,
        Err(error) => {
            tracing::warn!(%group, %topic, queue, %error, "the rule begins at the queue's first record");
            0
        }
    };
    backend.commit(group, topic, queue, Commit { offset: end, metadata: String::new() });
    Cursor::at(end)
}

fn policy_of(rule: &Rule) -> Policy {
    let retry = &rule.retry;
    Policy {
        attempts_max: retry.max_attempts,
        age_max: retry.max_age,
        backoff: Backoff {
            initial: retry.initial,
            max: retry.max,
            growth: match retry.growth {
                config::Growth::Exponential => Growth::Exponential,
                config::Growth::Linear => Growth::Linear,
            },
            jitter: if retry.jitter { Jitter::Full } else { Jitter::None },
        },
        retry_after_max: retry.retry_after_max,
    }
}

#[cfg(test)]
mod tests;
