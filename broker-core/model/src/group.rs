//! A consumer group's settings.

use crate::{GroupName, Millis};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Attempts at a message after the first, before it is given up (`retryMaxTimes`, 5.5).
pub const RETRY_MAX_DEFAULT: i32 = 16;

/// A consumer group's settings (RocketMQ `SubscriptionGroupConfig`, 5.5). What Halley does not act on is kept, so that
/// tools read back what they wrote.
///
/// It is stored in the log as it stands here: names never change, and a field that comes later has a default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupConfig {
    /// The group.
    pub name: GroupName,
    /// Whether its consumers may read.
    pub consume_enable: bool,
    /// Kept.
    pub consume_from_min_enable: bool,
    /// Whether its consumers may read in broadcasting mode.
    pub consume_broadcast_enable: bool,
    /// Whether its messages are consumed in order.
    pub consume_message_orderly: bool,
    /// Queues of its `%RETRY%` topic; 0 means that nothing is tried again.
    pub retry_queue_nums: u32,
    /// Attempts at a message after the first, before it is given up.
    pub retry_max_times: i32,
    /// How long to wait between attempts.
    pub retry_policy: RetryPolicy,
    /// The broker to read from; 0 is the master.
    pub broker_id: i64,
    /// The broker to read from where the master is slow.
    pub which_broker_when_consume_slowly: i64,
    /// Whether members are told that members changed.
    pub notify_consumer_ids_changed_enable: bool,
    /// Passed through.
    pub system_flag: i32,
    /// Kept.
    pub consume_timeout_minutes: i32,
    /// Named settings beyond these, since 5.0.
    pub attributes: BTreeMap<String, String>,
}

/// How long a group waits between attempts (RocketMQ `GroupRetryPolicy`, 5.5).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RetryPolicy {
    /// By attempt, the last one repeated.
    Customized {
        /// the waits
        next: Vec<Millis>,
    },
    /// `initial * multiplier^attempt`, at most `max`.
    Exponential {
        /// the first wait
        initial: Millis,
        /// the longest wait
        max: Millis,
        /// the factor
        multiplier: i64,
    },
}

impl GroupConfig {
    /// A group that nobody configured.
    pub fn new(name: GroupName) -> Self {
        Self {
            name,
            consume_enable: true,
            consume_from_min_enable: true,
            consume_broadcast_enable: true,
            consume_message_orderly: false,
            retry_queue_nums: 1,
            retry_max_times: RETRY_MAX_DEFAULT,
            retry_policy: RetryPolicy::default(),
            broker_id: 0,
            which_broker_when_consume_slowly: 1,
            notify_consumer_ids_changed_enable: true,
            system_flag: 0,
            consume_timeout_minutes: 15,
            attributes: BTreeMap::new(),
        }
    }
}

impl Default for RetryPolicy {
    /// RocketMQ's delay levels 3 to 18 with two short ones before them (`CustomizedRetryPolicy`, 5.5).
    fn default() -> Self {
        const SECOND: Millis = 1000;
        const MINUTE: Millis = 60 * SECOND;
        const HOUR: Millis = 60 * MINUTE;
        let next = [
            SECOND,
            5 * SECOND,
            10 * SECOND,
            30 * SECOND,
            MINUTE,
            2 * MINUTE,
            3 * MINUTE,
            4 * MINUTE,
            5 * MINUTE,
            6 * MINUTE,
            7 * MINUTE,
            8 * MINUTE,
            9 * MINUTE,
            10 * MINUTE,
            20 * MINUTE,
            30 * MINUTE,
            HOUR,
            2 * HOUR,
        ];
        Self::Customized { next: next.to_vec() }
    }
}

impl RetryPolicy {
    /// The wait before the attempt after `attempts` failed ones.
    pub fn delay(&self, attempts: i32) -> Millis {
        let attempts = usize::try_from(attempts).unwrap_or(0);
        // `ExponentialRetryPolicy.nextDelayDuration`.
        const EXPONENT_MAX: usize = 32;
        match self {
            // The first attempts of a pushed message wait for level 3 (`CustomizedRetryPolicy.nextDelayDuration`).
            Self::Customized { next } => {
                next.get(attempts.saturating_add(2)).or(next.last()).copied().unwrap_or(0)
            }
            Self::Exponential { initial, max, multiplier } => {
                let factor = multiplier.saturating_pow(attempts.min(EXPONENT_MAX) as u32);
                initial.saturating_mul(factor).min(*max)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow() {
        let levels = RetryPolicy::default();
        assert_eq!([levels.delay(0), levels.delay(1), levels.delay(99)], [10_000, 30_000, 7_200_000]);
        let doubled = RetryPolicy::Exponential { initial: 5_000, max: 60_000, multiplier: 2 };
        assert_eq!([doubled.delay(0), doubled.delay(3), doubled.delay(1000)], [5_000, 40_000, 60_000]);
    }
}
