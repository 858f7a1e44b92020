//! When a failed event is tried again, and when it is given up.

use crate::random::Random;
use halley_model::Millis;
use std::time::Duration;

/// A rule's retry policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Attempts in all, the first included; 0 counts as 1.
    pub attempts_max: u32,
    /// An attempt that would begin later than this after the first one is not made.
    pub age_max: Duration,
    /// How long to wait between attempts.
    pub backoff: Backoff,
    /// The longest `Retry-After` that is obeyed; a longer one counts as this. Zero ignores it.
    pub retry_after_max: Duration,
}

/// The wait before the next attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backoff {
    /// The wait after the first failure.
    pub initial: Duration,
    /// The longest wait.
    pub max: Duration,
    /// How the wait grows.
    pub growth: Growth,
    /// How chance spreads it.
    pub jitter: Jitter,
}

/// How the wait grows with the number of failures `n`, counted from 0 (Knative `docs/spec/data-plane.md`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Growth {
    /// `initial * 2^n`.
    Exponential,
    /// `initial * (n + 1)`.
    Linear,
}

/// How chance spreads the wait, so that events that failed together do not come back together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Jitter {
    /// Anything between 1 ms and the computed wait, evenly.
    Full,
    /// The computed wait exactly.
    None,
}

impl Default for Policy {
    /// 12 attempts within 24 hours, exponential from 500 ms to 5 minutes with full jitter, `Retry-After` up to 10 minutes.
    fn default() -> Self {
        Self {
            attempts_max: 12,
            age_max: Duration::from_secs(24 * 3600),
            backoff: Backoff {
                initial: Duration::from_millis(500),
                max: Duration::from_secs(300),
                growth: Growth::Exponential,
                jitter: Jitter::Full,
            },
            retry_after_max: Duration::from_secs(600),
        }
    }
}

impl Policy {
    /// The wait after the `failures`-th failure (from 1): the larger of the backoff and what the target asked for.
    pub(crate) fn delay(&self, failures: u32, retry_after: Option<Duration>, random: &mut Random) -> Millis {
        let asked = retry_after.map_or(0, |asked| millis(asked.min(self.retry_after_max)));
        self.backoff.delay(failures, random).max(asked)
    }
}

impl Backoff {
    /// The wait after the `failures`-th failure (from 1), at least 1 ms.
    pub(crate) fn delay(&self, failures: u32, random: &mut Random) -> Millis {
        let before = failures.saturating_sub(1);
        let factor = match self.growth {
            Growth::Exponential => 1_i64.checked_shl(before).filter(|factor| *factor > 0).unwrap_or(i64::MAX),
            Growth::Linear => i64::from(before) + 1,
        };
        let full = millis(self.initial).saturating_mul(factor).min(millis(self.max)).max(1);
        match self.jitter {
            Jitter::Full => 1 + random.up_to(full.unsigned_abs() - 1).cast_signed(),
            Jitter::None => full,
        }
    }
}

/// Whole milliseconds, the longest representable where the duration is longer.
pub(crate) fn millis(duration: Duration) -> Millis {
    Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delays(backoff: &Backoff, failures: impl Iterator<Item = u32>) -> Vec<Millis> {
        let mut random = Random::new(7);
        failures.map(|n| backoff.delay(n, &mut random)).collect()
    }

    #[test]
    fn waits_grow_up_to_the_maximum() {
        let mut backoff = Policy::default().backoff;
        backoff.jitter = Jitter::None;
        assert_eq!(delays(&backoff, 1..=4), [500, 1000, 2000, 4000]);
        assert_eq!(
            delays(&backoff, [10, 11, 64, 65, u32::MAX].into_iter()),
            [256_000, 300_000, 300_000, 300_000, 300_000]
        );
        backoff.growth = Growth::Linear;
        assert_eq!(delays(&backoff, 1..=3), [500, 1000, 1500]);
        backoff.initial = Duration::MAX;
        backoff.max = Duration::MAX;
        assert_eq!(delays(&backoff, [u32::MAX].into_iter()), [i64::MAX]);
    }

    #[test]
    fn jitter_spreads_over_the_whole_wait() {
        let drawn = delays(&Policy::default().backoff, std::iter::repeat_n(3, 2000));
        assert!(drawn.iter().all(|delay| (1..=2000).contains(delay)));
        assert!(drawn.iter().any(|delay| *delay < 100) && drawn.iter().any(|delay| *delay > 1900));
    }

    #[test]
    fn the_larger_of_backoff_and_retry_after_wins() {
        let mut policy = Policy::default();
        policy.backoff.jitter = Jitter::None;
        let mut random = Random::new(1);
        let mut delay = |asked| policy.delay(3, Some(Duration::from_secs(asked)), &mut random);
        assert_eq!(delay(1), 2000);
        assert_eq!(delay(30), 30_000);
        assert_eq!(delay(u64::MAX), 600_000);
        policy.retry_after_max = Duration::ZERO;
        assert_eq!(policy.delay(3, Some(Duration::from_secs(30)), &mut random), 2000);
    }
}
