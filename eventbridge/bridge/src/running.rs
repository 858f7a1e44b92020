//! A rule as its target's task runs it, and where it begins in each queue.

use crate::StartError;
use halley_backend::{Backend, Commit};
use halley_delivery::{Backoff, Cursor, Growth, Jitter, Policy};
use halley_model::{GroupName, QueueId};
use halley_rules::config::{self, Rule};
use std::{sync::Arc, time::Duration};

/// Queues of a topic that a rule reads and that nobody made yet.
const TOPIC_QUEUES: u32 = 8;

/// A rule with its group, its retry policy and the sink of its target.
pub(crate) struct RunningRule<S> {
    pub(crate) rule: Rule,
    pub(crate) group: GroupName,
    pub(crate) policy: Arc<Policy>,
    pub(crate) sink: Arc<S>,
    /// Where it goes on, by queue.
    pub(crate) cursors: Vec<Cursor>,
}

impl<S> RunningRule<S> {
    /// Finds the rule's place in each queue of its topic, which is made where it does not exist.
    ///
    /// A rule without any progress is new: it begins at the end of its queues, since nobody expects it to deliver what was
    /// there before. A rule with progress in some queue but not in this one has seen the topic before the queue
    /// existed, so this one is read from its beginning. Either place is committed here and must be made durable before the
    /// first event is accepted.
    pub(crate) async fn open<B: Backend>(backend: &B, rule: &Rule, sink: S) -> Result<Self, StartError> {
        let topic = &rule.topic;
        if backend.queues(topic).is_none() {
            backend.ensure_topic(topic, TOPIC_QUEUES).await?;
        }
        let group = GroupName::new(&format!("HALLEY-{}", rule.name))?;
        let queues = backend.queues(topic).unwrap_or(0);
        let commits: Vec<_> = (0..queues).map(|queue| backend.committed(&group, topic, queue)).collect();
        let is_new = commits.iter().all(Option::is_none);
        let mut cursors = Vec::with_capacity(commits.len());
        for (queue, commit) in (0..).zip(commits) {
            let end = backend.pull(topic, queue, u64::MAX, 1, 1, Duration::ZERO).await?.max;
            let cursor = match commit {
                Some(commit) => restore(&group, rule, queue, &commit, end),
                None => {
                    let offset = if is_new { end } else { 0 };
                    backend.commit(&group, topic, queue, Commit { offset, metadata: String::new() });
                    Cursor::at(offset)
                }
            };
            cursors.push(cursor);
        }
        let policy = Arc::new(policy_of(rule));
        Ok(Self { rule: rule.clone(), group, policy, sink: Arc::new(sink), cursors })
    }
}

/// The cursor of a commit.
fn restore(group: &GroupName, rule: &Rule, queue: QueueId, commit: &Commit, end: u64) -> Cursor {
    let topic = &rule.topic;
    let cursor = Cursor::decode(commit.offset, &commit.metadata).unwrap_or_else(|error| {
        // Happens after a reset with RocketMQ's tools: the offset counts.
        tracing::warn!(%group, %topic, queue, %error, "the rule goes on at its committed offset");
        Cursor::at(commit.offset)
    });
    if cursor.next > end {
        // The topic was deleted and made again: its offsets name other records now.
        tracing::warn!(%group, %topic, queue, next = cursor.next, end, "the queue ends before the rule's place");
        return Cursor::at(0);
    }
    cursor
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
