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

/// A counter's samples.
#[derive(Debug, Default)]
pub struct Samples {
    minute: VecDeque<Sample>,
    hour: VecDeque<Sample>,
    day: VecDeque<Sample>,
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
    value: u64,
    times: u64,
}

impl Samples {
    /// Takes a sample of a counter that began at 0, in the rhythm of the stretch.
    pub fn take(&mut self, stretch: Stretch, at: Millis, value: u64, times: u64) {
        let (samples, rhythm, most) = match stretch {
            Stretch::Minute => (&mut self.minute, MINUTE_SAMPLE_MS, SHORT_SAMPLES),
            Stretch::Hour => (&mut self.hour, HOUR_SAMPLE_MS, SHORT_SAMPLES),
            Stretch::Day => (&mut self.day, DAY_SAMPLE_MS, DAY_SAMPLES),
        };
        if samples.is_empty() {
            samples.push_back(Sample { at: at - rhythm, value: 0, times: 0 });
        }
        samples.push_back(Sample { at, value, times });
        if samples.len() > most {
            samples.pop_front();
        }
    }

    /// What was counted between the first and the last sample.
    pub fn sum(&self, stretch: Stretch) -> Sum {
        let samples = match stretch {
            Stretch::Minute => &self.minute,
            Stretch::Hour => &self.hour,
            Stretch::Day => &self.day,
        };
        let (Some(first), Some(last)) = (samples.front(), samples.back()) else { return Sum::default() };
        let sum = last.value.saturating_sub(first.value);
        let (time, times) = (last.at - first.at, last.times.saturating_sub(first.times));
        let rate = |of: f64| if of > 0.0 { sum as f64 / of } else { 0.0 };
        Sum { sum, per_second: rate(time as f64 / 1000.0), per_time: rate(times as f64) }
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
}
