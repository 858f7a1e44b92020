//! What a counter counted in the last minute, hour and day (`StatsItem`, 5.5).

use halley_model::Millis;
use std::collections::VecDeque;

/// Between samples of the last minute.
pub const MINUTE_SAMPLE_MS: Millis = 10_000;

/// Between samples of the last hour.
pub const HOUR_SAMPLE_MS: Millis = 600_000;

/// Between samples of the last day.
pub const DAY_SAMPLE_MS: Millis = 3_600_000;

/// Samples of a minute and of an hour: six stretches have seven ends.
const SHORT_SAMPLES: usize = 7;

/// Samples of a day.
const DAY_SAMPLES: usize = 25;

/// A counter's samples. One that counts nothing for a day needs none: there may be hundred thousands.
#[derive(Debug, Default)]
pub struct Samples {
    /// The counter when the last sample was taken.
    last: Count,
    /// `None` while no stretch has seen it move.
    kept: Option<Box<[Kept; 3]>>,
}

/// A counter and how often it was counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Count {
    value: u64,
    times: u64,
}

/// The samples of one stretch; none while the counter did not move in it.
#[derive(Debug, Default)]
struct Kept {
    last: Count,
    samples: VecDeque<Sample>,
}

/// A stretch of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stretch {
    /// The last minute.
    Minute,
    /// The last hour.
    Hour,
    /// The last day.
    Day,
}

/// What was counted in a stretch.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sum {
    /// The sum.
    pub sum: u64,
    /// The sum for each second.
    pub per_second: f64,
    /// The sum for each time that it was counted.
    pub per_time: f64,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Millis,
    count: Count,
}

impl Samples {
    /// Takes a sample of a counter that began at 0, in the rhythm of the stretch.
    pub fn take(&mut self, stretch: Stretch, at: Millis, value: u64, times: u64) {
        let count = Count { value, times };
        if self.kept.is_none() && count == self.last {
            return;
        }
        let last = self.last;
        let new = || Box::new([(); 3].map(|()| Kept { last, samples: VecDeque::new() }));
        let kept = self.kept.get_or_insert_with(new);
        kept[stretch as usize].take(stretch, at, count);
        if kept.iter().all(|kept| kept.samples.is_empty() && kept.last == count) {
            self.kept = None;
        }
        self.last = count;
    }

    /// What was counted between the first and the last sample.
    pub fn sum(&self, stretch: Stretch) -> Sum {
        let kept = self.kept.as_ref().map(|kept| &kept[stretch as usize].samples);
        let ends = kept.and_then(|samples| samples.front().zip(samples.back()));
        let Some((first, last)) = ends else { return Sum::default() };
        let sum = last.count.value.saturating_sub(first.count.value);
        let (time, times) = (last.at - first.at, last.count.times.saturating_sub(first.count.times));
        let rate = |of: f64| if of > 0.0 { sum as f64 / of } else { 0.0 };
        Sum { sum, per_second: rate(time as f64 / 1000.0), per_time: rate(times as f64) }
    }
}

impl Kept {
    fn take(&mut self, stretch: Stretch, at: Millis, count: Count) {
        let (rhythm, most) = match stretch {
            Stretch::Minute => (MINUTE_SAMPLE_MS, SHORT_SAMPLES),
            Stretch::Hour => (HOUR_SAMPLE_MS, SHORT_SAMPLES),
            Stretch::Day => (DAY_SAMPLE_MS, DAY_SAMPLES),
        };
        let last = std::mem::replace(&mut self.last, count);
        if self.samples.is_empty() {
            if last == count {
                return;
            }
            self.samples.push_back(Sample { at: at - rhythm, count: last });
        }
        self.samples.push_back(Sample { at, count });
        if self.samples.len() > most {
            self.samples.pop_front();
        }
        // Counters only grow: where the first is the last, nothing happened between.
        if self.samples.front().is_some_and(|first| first.count == count) {
            self.samples = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_minute_is_six_samples() {
        let mut samples = Samples::default();
        assert_eq!(samples.sum(Stretch::Minute), Sum::default());
        samples.take(Stretch::Minute, 10_000, 1, 1);
        assert_eq!(samples.sum(Stretch::Minute), Sum { sum: 1, per_second: 0.1, per_time: 1.0 });
        for tick in 2..=20 {
            samples.take(Stretch::Minute, tick * 10_000, tick as u64 * 30, tick as u64);
        }
        assert_eq!(samples.sum(Stretch::Minute), Sum { sum: 180, per_second: 3.0, per_time: 30.0 });
        assert_eq!(samples.sum(Stretch::Day), Sum::default());
        samples.take(Stretch::Hour, 600_000, 60, 6);
        assert_eq!(samples.sum(Stretch::Hour).per_second, 0.1);
    }

    #[test]
    fn what_does_not_move_is_forgotten_and_counted_on() {
        let mut samples = Samples::default();
        samples.take(Stretch::Minute, 10_000, 5, 1);
        for tick in 2..=7 {
            assert_eq!(samples.sum(Stretch::Minute).sum, 5, "{tick}");
            samples.take(Stretch::Minute, tick * 10_000, 5, 1);
        }
        assert_eq!(samples.sum(Stretch::Minute), Sum::default());
        assert!(samples.kept.is_some(), "the hour has not seen it yet");
        for (stretch, rounds) in [(Stretch::Hour, 7), (Stretch::Day, 25)] {
            for round in 1..=rounds {
                samples.take(stretch, round * 600_000, 5, 1);
            }
        }
        assert!(samples.kept.is_none());
        samples.take(Stretch::Minute, 10_010_000, 8, 2);
        assert_eq!(samples.sum(Stretch::Minute), Sum { sum: 3, per_second: 0.3, per_time: 3.0 });
        samples.take(Stretch::Hour, 10_200_000, 8, 2);
        assert_eq!(samples.sum(Stretch::Hour).sum, 3);
    }
}
