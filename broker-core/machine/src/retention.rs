//! How much of the log's beginning is to be removed.
//!
//! A removal costs: what is still needed of the removed part is put into the log again. So below the watermarks of the disk nothing
//! is removed that does not free twice what it costs, which also ends a race that nobody wins: messages that wait for long and
//! do not fit the wanted size would be moved again and again.

use halley_model::{LogOffset, Millis};

/// What is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// What was stored longer ago is removed (`fileReservedTime`, 5.5); `None` for never, in milliseconds.
    pub age: Option<Millis>,
    /// What makes the log longer is removed, in bytes; `None` for any length.
    pub size: Option<u64>,
    /// Marks of how full the disk may be.
    pub disk: Watermarks,
    /// Whether [`Watermarks::forced`] holds (`cleanFileForciblyEnable`, 5.5).
    pub force: bool,
}

/// How full the disk may be, in percent, whoever fills it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watermarks {
    /// Above this what is too old or too much is removed whatever it costs (`diskMaxUsedSpaceRatio`, 5.5).
    pub clean: u8,
    /// Above this the oldest is removed, however young it is (`diskSpaceCleanForciblyRatio`, 5.5).
    pub forced: u8,
    /// Above this producers are refused (`diskSpaceWarningLevelRatio`, 5.5).
    pub refuse: u8,
}

/// A segment that can be removed together with all before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Where the log would begin without it.
    pub end: LogOffset,
    /// Store time of its last record.
    pub stored: Millis,
}

/// The log and the disk as they are.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// The time.
    pub now: Millis,
    /// Where the log begins.
    pub begin: LogOffset,
    /// Where it ends.
    pub end: LogOffset,
    /// What can be removed, oldest first.
    pub removable: &'a [Segment],
    /// How full the disk is, in percent.
    pub disk: u8,
    /// How many bytes the last removal put into the log.
    pub cost: u64,
}

/// Why something is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It is too old.
    Age,
    /// The log is too long.
    Size,
    /// The disk is too full.
    Disk,
}

impl Default for Policy {
    /// RocketMQ's.
    fn default() -> Self {
        let disk = Watermarks { clean: 75, forced: 85, refuse: 90 };
        Self { age: Some(72 * 60 * 60 * 1000), size: None, disk, force: true }
    }
}

impl Policy {
    /// The same, but nothing is too old that is not older than `age`, in milliseconds: some topic keeps it.
    #[must_use]
    pub fn keeping(self, age: Millis) -> Self {
        let age = self.age.filter(|_| age < Millis::MAX).map(|own| own.max(age));
        Self { age, ..self }
    }

    /// Up to where the log is to be removed, and why; `None` where it is to stay as it is.
    pub fn until(&self, seen: &Seen<'_>) -> Option<(LogOffset, Reason)> {
        let is_old = |segment: &&Segment| self.age.is_some_and(|age| seen.now - segment.stored > age);
        let old = seen.removable.iter().take_while(is_old).last();
        // What is still behind a boundary is long enough.
        let is_much = |segment: &&Segment| self.size.is_some_and(|size| seen.end - segment.end >= size);
        let much = seen.removable.iter().take_while(is_much).last();
        let wanted = [(old, Reason::Age), (much, Reason::Size)].into_iter();
        let wanted = wanted.filter_map(|(segment, reason)| Some((segment?.end, reason)));
        // Of two the longer one, by age where both are the same.
        let wanted = wanted.reduce(|one, other| if other.0 > one.0 { other } else { one });
        if let Some((until, _)) = wanted
            && (seen.disk > self.disk.clean || until - seen.begin >= seen.cost.saturating_mul(2))
        {
            return wanted;
        }
        // One by one, so that no more goes than must, and never for less than it costs.
        let is_enough = |segment: &&Segment| segment.end - seen.begin > seen.cost;
        let first =
            seen.removable.iter().find(is_enough).filter(|_| self.force && seen.disk > self.disk.forced);
        first.map(|segment| (segment.end, Reason::Disk))
    }

    /// Whether producers are refused.
    pub fn refuses(&self, disk: u8) -> bool {
        disk > self.disk.refuse
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Segments of 100 bytes, one stored each second, and 50 bytes in the last one.
    fn segments(count: u64) -> Vec<Segment> {
        (1..=count).map(|number| Segment { end: number * 100, stored: number as Millis * 1000 }).collect()
    }

    fn seen(removable: &[Segment]) -> Seen<'_> {
        let end = removable.last().map_or(0, |last| last.end) + 50;
        Seen { now: 10_000, begin: 0, end, removable, disk: 10, cost: 0 }
    }

    fn nothing() -> Policy {
        Policy { age: None, ..Policy::default() }
    }

    #[test]
    fn what_is_old_goes() {
        let ten = segments(10);
        let policy = |age| Policy { age: Some(age), ..nothing() };
        assert_eq!(policy(10_000).until(&seen(&ten)), None);
        assert_eq!(policy(9_000).until(&seen(&ten)), None, "not on the millisecond");
        assert_eq!(policy(8_999).until(&seen(&ten)), Some((100, Reason::Age)));
        assert_eq!(policy(5_500).until(&seen(&ten)), Some((400, Reason::Age)));
        assert_eq!(policy(0).until(&Seen { now: 99_999, ..seen(&ten) }), Some((1000, Reason::Age)));
        assert_eq!(nothing().until(&seen(&ten)), None);
        assert_eq!(policy(0).until(&seen(&[])), None);
        // A clock that was set back keeps what lies behind a young segment, too.
        let mut set_back = ten;
        set_back[1].stored = 9_999;
        assert_eq!(policy(5_500).until(&seen(&set_back)), Some((100, Reason::Age)));
    }

    #[test]
    fn what_a_topic_keeps_longer_stays() {
        let ten = segments(10);
        let policy = Policy { age: Some(5_500), ..nothing() };
        assert_eq!(policy.keeping(5_000), policy);
        assert_eq!(policy.keeping(8_999).until(&seen(&ten)), Some((100, Reason::Age)));
        assert_eq!(policy.keeping(Millis::MAX).until(&seen(&ten)), None);
        assert_eq!(nothing().keeping(1), nothing());
        let short = Policy { size: Some(950), ..policy };
        assert_eq!(
            short.keeping(Millis::MAX).until(&seen(&ten)),
            Some((100, Reason::Size)),
            "size goes first"
        );
    }

    #[test]
    fn what_is_too_much_goes() {
        let ten = segments(10);
        let policy = |size| Policy { size: Some(size), ..nothing() };
        assert_eq!(policy(1050).until(&seen(&ten)), None);
        assert_eq!(policy(951).until(&seen(&ten)), None, "as much as wanted stays");
        assert_eq!(policy(950).until(&seen(&ten)), Some((100, Reason::Size)));
        assert_eq!(policy(0).until(&seen(&ten)), Some((1000, Reason::Size)));
        let both = Policy { age: Some(5_500), ..policy(0) };
        assert_eq!(both.until(&seen(&ten)), Some((1000, Reason::Size)));
        let both = Policy { age: Some(5_500), ..policy(950) };
        assert_eq!(both.until(&seen(&ten)), Some((400, Reason::Age)));
    }

    #[test]
    fn nothing_goes_that_costs_too_much() {
        let ten = segments(10);
        let policy = Policy { age: Some(5_500), ..nothing() };
        assert_eq!(policy.until(&Seen { cost: 200, ..seen(&ten) }), Some((400, Reason::Age)));
        assert_eq!(policy.until(&Seen { cost: 201, ..seen(&ten) }), None);
        let full = Seen { cost: 201, disk: 76, ..seen(&ten) };
        assert_eq!(policy.until(&full), Some((400, Reason::Age)), "unless room is needed");
    }

    #[test]
    fn a_full_disk_takes_the_oldest() {
        let ten = segments(10);
        let at = |disk| Seen { disk, ..seen(&ten) };
        assert_eq!(nothing().until(&at(85)), None);
        assert_eq!(nothing().until(&at(86)), Some((100, Reason::Disk)));
        assert_eq!(
            nothing().until(&Seen { cost: 250, ..at(86) }),
            Some((300, Reason::Disk)),
            "more than it costs"
        );
        assert_eq!(nothing().until(&Seen { cost: 5000, ..at(86) }), None);
        assert_eq!(Policy { force: false, ..nothing() }.until(&at(99)), None);
        assert_eq!(
            nothing().until(&Seen { begin: 200, removable: &ten[2..], ..at(86) }),
            Some((300, Reason::Disk))
        );
        assert!(!nothing().refuses(90) && nothing().refuses(91));
    }
}
