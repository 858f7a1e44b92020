//! Which file of the log is read again when, to find decay before somebody needs the records.
//!
//! The oldest check comes first. A file whose last check is unknown, because the process started since, counts as checked when
//! the process started, at different times for different files, so that a restart neither begins all anew nor forgets any.

use halley_model::{LogOffset, Millis};
use std::{collections::BTreeMap, time::Duration};

/// What is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// At most so many bytes are read per second.
    pub rate: u64,
    /// Each file is checked again after so long, in milliseconds, or later where the rate does not allow it.
    pub every: Millis,
}

impl Default for Policy {
    /// 8 MiB per second, each file once a week.
    fn default() -> Self {
        Self { rate: 8 << 20, every: 7 * 24 * 60 * 60 * 1000 }
    }
}

/// When each file is due.
#[derive(Debug, Clone)]
pub struct Scrub {
    policy: Policy,
    due: BTreeMap<LogOffset, Millis>,
    started: Option<Millis>,
}

impl Scrub {
    /// Nothing is known of any file.
    pub fn new(policy: Policy) -> Self {
        Self { policy, due: BTreeMap::new(), started: None }
    }

    /// The file to be checked at `now`, of those that begin at `bases`, oldest first; `None` where none is due.
    pub fn next(&mut self, now: Millis, bases: &[LogOffset]) -> Option<LogOffset> {
        self.due.retain(|base, _| bases.binary_search(base).is_ok());
        let every = self.policy.every.max(1);
        let started = *self.started.get_or_insert(now);
        let is_first = self.due.is_empty();
        for (number, base) in bases.iter().enumerate() {
            let spread = every / bases.len() as Millis * number as Millis;
            // Those that are there at the start take turns, those that come later have just been written.
            let due = if is_first && now == started { now + spread } else { now + every };
            self.due.entry(*base).or_insert(due);
        }
        // A clock set back does not put off anything for longer than an interval.
        self.due.values_mut().for_each(|due| *due = (*due).min(now + every));
        let (base, due) = self.due.iter().min_by_key(|(base, due)| (**due, **base))?;
        (*due <= now).then_some(*base)
    }

    /// A file was checked at `now`.
    pub fn checked(&mut self, now: Millis, base: LogOffset) {
        self.due.insert(base, now + self.policy.every.max(1));
    }

    /// How long to rest after so many bytes, which took `took` to read.
    pub fn rest(&self, bytes: u64, took: Duration) -> Duration {
        Duration::from_secs_f64(bytes as f64 / self.policy.rate.max(1) as f64).saturating_sub(took)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Millis = 24 * 60 * 60 * 1000;
    const START: Millis = 1_700_000_000_000;

    /// Which files are checked on which of the days, where each check takes an hour.
    fn run(
        scrub: &mut Scrub,
        days: std::ops::Range<Millis>,
        bases: &[LogOffset],
    ) -> Vec<(Millis, LogOffset)> {
        let mut checks = Vec::new();
        for hour in days.start * 24..days.end * 24 {
            let now = START + hour * DAY / 24;
            if let Some(base) = scrub.next(now, bases) {
                checks.push((hour / 24, base));
                scrub.checked(now, base);
            }
        }
        checks
    }

    #[test]
    fn each_file_has_its_turn_once_a_week() {
        let mut scrub = Scrub::new(Policy::default());
        let bases = [0, 100, 200, 300, 400, 500, 600];
        let week: Vec<_> = (0..7).map(|day| (day, bases[day as usize])).collect();
        assert_eq!(run(&mut scrub, 0..7, &bases), week, "spread over the week");
        assert_eq!(run(&mut scrub, 7..14, &bases).len(), 7);
    }

    #[test]
    fn new_files_wait_a_week_and_removed_ones_are_forgotten() {
        let mut scrub = Scrub::new(Policy::default());
        assert_eq!(run(&mut scrub, 0..2, &[]), []);
        assert_eq!(run(&mut scrub, 2..8, &[100]), []);
        assert_eq!(run(&mut scrub, 8..11, &[100, 200]), [(9, 100)]);
        assert_eq!(run(&mut scrub, 11..15, &[200]), []);
        assert_eq!(run(&mut scrub, 15..16, &[200]), [(15, 200)]);
    }

    #[test]
    fn too_many_for_the_rate_go_round_without_end() {
        let mut scrub = Scrub::new(Policy { every: DAY, ..Policy::default() });
        let bases: Vec<_> = (0..100).collect();
        let checks = run(&mut scrub, 0..20, &bases);
        assert!(checks.len() > 470, "no hour is lost once all are due: {}", checks.len());
        for base in bases {
            assert!(checks.iter().filter(|check| check.1 == base).count() >= 4, "{base}");
        }
    }

    #[test]
    fn a_clock_set_back_puts_nothing_off_for_long() {
        let mut scrub = Scrub::new(Policy::default());
        assert_eq!(scrub.next(START + 1000 * DAY, &[0]), Some(0));
        scrub.checked(START + 1000 * DAY, 0);
        assert_eq!(scrub.next(START, &[0]), None);
        assert_eq!(scrub.next(START + 7 * DAY, &[0]), Some(0));
    }

    #[test]
    fn the_rate_holds_whatever_reading_takes() {
        let scrub = Scrub::new(Policy::default());
        assert_eq!(scrub.rest(1 << 20, Duration::from_millis(25)), Duration::from_millis(100));
        assert_eq!(scrub.rest(1 << 20, Duration::from_secs(1)), Duration::ZERO);
    }
}
