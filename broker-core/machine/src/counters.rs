//! What a counter counted in the last minute, hour and day (`StatsItem`, 5.5).

use halley_model::Millis;
use std::collections::VecDeque;

/// Samples of a minute and of an hour: six stretches have seven ends.
const SHORT_SAMPLES: usize = 7;

/// Samples of a day.
const DAY_SAMPLES: usize = 25;

/// A counter and how often it was counted. It counts two numbers at the same times.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Messages.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How often it was counted.
    pub times: u64,
}

/// A counter's samples: only those that differ from the one before, and none for one that counts nothing for a day. There
/// may be hundred thousands.
#[derive(Debug, Default)]
pub struct Samples {
    /// The counter as all stretches without a sample saw it.
    seen: Count,
    /// Of all stretches, oldest first.
    kept: Vec<Sample>,
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
    stretch: Stretch,
    at: Millis,
    count: Count,
}

/// When samples of one stretch were taken, the same of all counters: oldest first, those that still matter.
#[derive(Debug, Default)]
pub struct Ticks(VecDeque<Millis>);

impl Stretch {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Minute, Self::Hour, Self::Day];

    /// Between samples, in milliseconds.
    pub fn rhythm(self) -> Millis {
        match self {
            Self::Minute => 10_000,
            Self::Hour => 600_000,
            Self::Day => 3_600_000,
        }
    }

    fn samples(self) -> usize {
        match self {
            Self::Minute | Self::Hour => SHORT_SAMPLES,
            Self::Day => DAY_SAMPLES,
        }
    }
}

impl Ticks {
    /// Samples of this stretch are taken now.
    pub fn add(&mut self, stretch: Stretch, at: Millis) {
        self.0.push_back(at);
        if self.0.len() > stretch.samples() {
            self.0.pop_front();
        }
    }

    /// Where the stretch begins: with all its samples at the first of them.
    fn begin(&self, stretch: Stretch) -> Millis {
        self.0.front().filter(|_| self.0.len() == stretch.samples()).copied().unwrap_or(Millis::MIN)
    }
}

impl Samples {
    /// Takes a sample of a counter that began at 0, at the newest of the stretch's ticks.
    pub fn take(&mut self, stretch: Stretch, ticks: &Ticks, count: Count) {
        let Some(at) = ticks.0.back().copied() else { return };
        let begin = ticks.begin(stretch);
        match self.of(stretch).last() {
            Some(last) if last.count == count => {}
            Some(_) => self.add(Sample { stretch, at, count }),
            None if self.seen == count => {}
            None => {
                // RocketMQ has a new counter begin one rhythm ago.
                let began = if self.seen.times == 0 { at - stretch.rhythm() } else { begin };
                self.add(Sample { stretch, at: began, count: self.seen });
                self.add(Sample { stretch, at, count });
            }
        }
        // Of those up to the stretch's beginning only the newest tells anything.
        while self.of(stretch).nth(1).is_some_and(|second| second.at <= begin) {
            let oldest = self.kept.iter().position(|sample| sample.stretch == stretch);
            self.kept.remove(oldest.expect("there are two"));
        }
        let [minute, hour, day] = Stretch::ALL.map(|stretch| self.of(stretch).count());
        if (minute, hour, day) == (1, 1, 1) && self.kept.iter().all(|sample| sample.count == count) {
            *self = Self { seen: count, kept: Vec::new() };
        }
    }

    /// What was counted between the first and the last tick, of the number that is picked.
    pub fn sum(&self, stretch: Stretch, ticks: &Ticks, pick: impl Fn(&Count) -> u64) -> Sum {
        let ends = self.of(stretch).next().zip(self.of(stretch).last()).zip(ticks.0.back());
        let Some(((first, last), to)) = ends else { return Sum::default() };
        let sum = pick(&last.count).saturating_sub(pick(&first.count));
        let time = to - first.at.max(ticks.begin(stretch));
        let times = last.count.times.saturating_sub(first.count.times);
        let rate = |of: f64| if of > 0.0 { sum as f64 / of } else { 0.0 };
        Sum { sum, per_second: rate(time as f64 / 1000.0), per_time: rate(times as f64) }
    }

    fn of(&self, stretch: Stretch) -> impl Iterator<Item = &Sample> {
        self.kept.iter().filter(move |sample| sample.stretch == stretch)
    }

    fn add(&mut self, sample: Sample) {
        if self.kept.len() == self.kept.capacity() {
            self.kept.reserve_exact(2);
        }
        self.kept.push(sample);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Scene {
        samples: Samples,
        ticks: [Ticks; 3],
    }

    impl Scene {
        fn take(&mut self, stretch: Stretch, at: Millis, messages: u64, times: u64) {
            let ticks = &mut self.ticks[stretch as usize];
            ticks.add(stretch, at);
            self.samples.take(stretch, ticks, Count { messages, bytes: 100 * messages, times });
        }

        fn sum(&self, stretch: Stretch) -> Sum {
            let ticks = &self.ticks[stretch as usize];
            let bytes = self.samples.sum(stretch, ticks, |count| count.bytes);
            let messages = self.samples.sum(stretch, ticks, |count| count.messages);
            assert_eq!(bytes.sum, 100 * messages.sum);
            messages
        }
    }

    #[test]
    fn the_last_minute_is_six_samples() {
        let mut scene = Scene::default();
        assert_eq!(scene.sum(Stretch::Minute), Sum::default());
        scene.take(Stretch::Minute, 10_000, 1, 1);
        assert_eq!(scene.sum(Stretch::Minute), Sum { sum: 1, per_second: 0.1, per_time: 1.0 });
        for tick in 2..=20 {
            scene.take(Stretch::Minute, tick * 10_000, tick as u64 * 30, tick as u64);
        }
        assert_eq!(scene.sum(Stretch::Minute), Sum { sum: 180, per_second: 3.0, per_time: 30.0 });
        assert_eq!(scene.sum(Stretch::Day), Sum::default());
        scene.take(Stretch::Hour, 600_000, 60, 6);
        assert_eq!(scene.sum(Stretch::Hour).per_second, 0.1);
    }

    #[test]
    fn a_counter_that_comes_later_begins_one_sample_before() {
        let mut scene = Scene::default();
        (1..=20).for_each(|tick| scene.take(Stretch::Minute, tick * 10_000, 0, 0));
        assert!(scene.samples.kept.is_empty());
        scene.take(Stretch::Minute, 210_000, 4, 1);
        assert_eq!(scene.sum(Stretch::Minute), Sum { sum: 4, per_second: 0.4, per_time: 4.0 });
        scene.take(Stretch::Minute, 220_000, 4, 1);
        assert_eq!(scene.sum(Stretch::Minute), Sum { sum: 4, per_second: 0.2, per_time: 4.0 });
    }

    #[test]
    fn what_does_not_move_needs_little_and_is_counted_on() {
        let mut scene = Scene::default();
        scene.take(Stretch::Minute, 10_000, 5, 1);
        for tick in 2..=7 {
            assert_eq!(scene.sum(Stretch::Minute).sum, 5, "{tick}");
            assert_eq!(scene.samples.kept.len(), 2);
            scene.take(Stretch::Minute, tick * 10_000, 5, 1);
        }
        assert_eq!(scene.sum(Stretch::Minute), Sum::default());
        assert_eq!(scene.samples.kept.len(), 1, "the hour has not seen it yet");
        scene.take(Stretch::Minute, 80_000, 6, 2);
        let sum = Sum { sum: 1, per_second: 1.0 / 60.0, per_time: 1.0 };
        assert_eq!(scene.sum(Stretch::Minute), sum, "RocketMQ looks back a minute");
        for (stretch, rounds) in [(Stretch::Minute, 7), (Stretch::Hour, 7), (Stretch::Day, 25)] {
            for round in 1..=rounds {
                scene.take(stretch, 100_000 + round * stretch.rhythm(), 6, 2);
                assert!(scene.samples.kept.len() <= 4);
            }
        }
        assert!(scene.samples.kept.is_empty());
        scene.take(Stretch::Minute, 180_000, 9, 3);
        assert_eq!(scene.sum(Stretch::Minute), Sum { sum: 3, per_second: 0.05, per_time: 3.0 });
        scene.take(Stretch::Hour, 4_900_000, 9, 3);
        assert_eq!(scene.sum(Stretch::Hour).sum, 3);
    }
}
