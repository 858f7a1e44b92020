//! How fast what is old may be read while others send.
//!
//! One who replays takes what processors and disk can give, and whoever sends meanwhile waits. So all replays together have a rate
//! while the log grows; on a broker that nobody sends to they are as fast as the machine.

use halley_model::LogOffset;
use std::time::Duration;

/// The log counts as growing for so long after it grew.
const BUSY: Duration = Duration::from_millis(100);

/// What was not read in time may be read later as far as it fits into this, so that a thread that came late has lost nothing.
const BURST: Duration = Duration::from_millis(10);

/// Who is ahead of the rate by less than this need not wait yet: a thread that sleeps for each read costs more than the read.
const SLACK: Duration = Duration::from_millis(2);

/// The rate of all who read what is old.
#[derive(Debug, Clone)]
pub struct Pace {
    /// Bytes per second; `None` for any number.
    rate: Option<u64>,
    /// Where the log ended when it was looked at last.
    seen: LogOffset,
    busy_until: Duration,
    free_at: Duration,
    /// Nothing is read until `free_at`.
    paused: bool,
}

impl Pace {
    /// At most `rate` bytes per second while the log grows, `None` for any number. It ends at `end`.
    pub fn new(rate: Option<u64>, end: LogOffset) -> Self {
        Self { rate, seen: end, busy_until: Duration::ZERO, free_at: Duration::ZERO, paused: false }
    }

    /// How long the next read has to wait at `now`, a time that never goes back, while the log ends at `end`.
    pub fn wait(&mut self, now: Duration, end: LogOffset) -> Duration {
        if end != self.seen {
            self.seen = end;
            self.busy_until = now + BUSY;
        }
        if now >= self.busy_until {
            self.free_at = now;
        }
        let ahead = self.free_at.saturating_sub(now);
        self.paused = if self.paused { !ahead.is_zero() } else { ahead >= SLACK };
        if self.paused { ahead } else { Duration::ZERO }
    }

    /// So many bytes were read at `now`.
    pub fn read(&mut self, now: Duration, bytes: u64) {
        let Some(rate) = self.rate.filter(|_| now < self.busy_until) else { return };
        let takes = Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64);
        self.free_at = self.free_at.max(now.saturating_sub(BURST)) + takes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// How long it takes to read so many MiB in pieces of 256 KiB, each of which takes 1 ms.
    fn took(rate: Option<u64>, grows: bool, mib: u64) -> Duration {
        let mut pace = Pace::new(rate, 7);
        let (mut now, mut end) = (Duration::from_secs(5), 7);
        let started = now;
        for _ in 0..mib * 4 {
            end += u64::from(grows);
            now += pace.wait(now, end) + Duration::from_millis(1);
            pace.read(now, MIB / 4);
        }
        now - started
    }

    #[test]
    fn who_replays_has_a_rate_while_others_send() {
        let limited = took(Some(64 * MIB), true, 128);
        assert!((1_970..=2_010).contains(&limited.as_millis()), "{limited:?}");
        assert_eq!(took(Some(64 * MIB), false, 128), Duration::from_millis(512), "nobody sends");
        assert_eq!(took(None, true, 128), Duration::from_millis(512));
        assert_eq!(took(Some(1 << 40), true, 128), Duration::from_millis(512), "slower than it might be");
    }

    #[test]
    fn a_long_read_is_paid_for_afterwards_and_quiet_forgives_it() {
        let mut pace = Pace::new(Some(MIB), 0);
        let at = Duration::from_millis;
        assert_eq!(pace.wait(at(1000), 1), Duration::ZERO);
        pace.read(at(1000), MIB / 100);
        assert_eq!(pace.wait(at(1000), 1), Duration::ZERO, "what is a little early is not worth a sleep");
        pace.read(at(1000), 8 * MIB - MIB / 100);
        assert_eq!(pace.wait(at(1050), 2).as_millis(), 7940);
        assert_eq!(pace.wait(at(1149), 2).as_millis(), 7841);
        assert_eq!(pace.wait(at(1150), 2), Duration::ZERO, "nobody has sent for 100 ms");
        pace.read(at(1150), 8 * MIB);
        assert_eq!(pace.wait(at(1151), 2), Duration::ZERO);
    }
}
