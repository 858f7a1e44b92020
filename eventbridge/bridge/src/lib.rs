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
mod records;
mod running;
mod target;

use crate::{clock::Clock, metrics::BridgeMetrics, running::RunningRule, target::TargetTask};
use halley_backend::{Backend, PullError, SendError};
use halley_connector_api::Sink;
use halley_model::{GroupName, TopicName};
use halley_rules::{
    Config,
    config::{self, Rule},
};
use prometheus_client::registry::Registry;
use std::{sync::Arc, time::Duration};
use tokio::{sync::watch, task::JoinHandle, time::timeout};

/// Why the bridge did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A topic or the rules' first commits could not be stored.
    #[error("the rules' state could not be stored: {0}")]
    Store(#[from] SendError),
    /// The end of a queue could not be found.
    #[error("the place where a rule begins could not be read: {0}")]
    Read(#[from] PullError),
    /// A topic or group name could not be made from a rule or target.
    #[error("{0}")]
    Name(#[from] halley_model::NameError),
}

/// The running deliveries. Dropping it is an abrupt [`Bridge::stop`]: nothing is waited for.
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
            let mut rules = Vec::new();
            for rule in config.rules.iter().filter(|rule| rule.target == target.name) {
                rules.push(RunningRule::open(&*backend, rule, sink_of(rule, target)).await?);
            }
            let dead_letters = TopicName::dead_letters_of(&GroupName::new(&target.name)?);
            ready.push((target, rules, dead_letters));
        }
        backend.flush_commits().await?;
        let tasks = ready.into_iter().filter(|(_, rules, _)| !rules.is_empty());
        let tasks = tasks.map(|(target, rules, dead_letters)| {
            let clock = Clock::start();
            // The time differs from start to start, which is all that the jitter of retries needs.
            let seed = clock.now().cast_unsigned();
            let task = TargetTask::new(target, rules, dead_letters, backend.clone(), &metrics, seed);
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

#[cfg(test)]
mod tests;
