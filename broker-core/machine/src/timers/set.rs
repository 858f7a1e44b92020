//! A set of timers in their order: 8 bytes each and what the trees need, which is half of what one tree of timers takes.
//!
//! As JSON each is two numbers: by how much its time and its offset differ from those of the one before. That makes 4 to 12
//! bytes, where time and offset themselves, the form of earlier snapshots, made 67.

use super::Timer;
use halley_model::Millis;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, SeqAccess, Visitor},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// Timers of so many milliseconds, as a power of two, share a tree: 65 s, so that a million timers over some days are not
/// spread too thinly.
const SHARED_BITS: u32 = 16;

/// What is left of a key for the offset, and the bit that tells messages from recalls.
const OFFSET_BITS: u32 = 64 - SHARED_BITS - 1;

/// By the time's upper bits: the lower ones, whether it is a message, and the offset, in this order as one number. No tree
/// is empty.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Set(BTreeMap<Millis, BTreeSet<u64>>);

impl Set {
    pub(super) fn insert(&mut self, timer: Timer) {
        let (shared, key) = split(timer);
        self.0.entry(shared).or_default().insert(key);
    }

    /// Whether it was there.
    pub(super) fn remove(&mut self, timer: Timer) -> bool {
        let (shared, key) = split(timer);
        let Some(keys) = self.0.get_mut(&shared) else { return false };
        let removed = keys.remove(&key);
        if keys.is_empty() {
            self.0.remove(&shared);
        }
        removed
    }

    pub(super) fn contains(&self, timer: Timer) -> bool {
        let (shared, key) = split(timer);
        self.0.get(&shared).is_some_and(|keys| keys.contains(&key))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Timer> {
        self.0.iter().flat_map(|(shared, keys)| keys.iter().map(|key| join(*shared, *key)))
    }

    pub(super) fn len(&self) -> usize {
        self.0.values().map(BTreeSet::len).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn retain(&mut self, keep: impl Fn(Timer) -> bool) {
        self.0.retain(|shared, keys| {
            keys.retain(|key| keep(join(*shared, *key)));
            !keys.is_empty()
        });
    }
}

fn split(timer: Timer) -> (Millis, u64) {
    let offset = timer.offset();
    assert!(offset < 1 << OFFSET_BITS, "offset {offset} of a timer: nobody has stored so many");
    let lower = timer.at().cast_unsigned() << (u64::BITS - SHARED_BITS);
    let message = u64::from(!timer.is_recall()) << OFFSET_BITS;
    (timer.at() >> SHARED_BITS, lower | message | offset)
}

fn join(shared: Millis, key: u64) -> Timer {
    let at = (shared << SHARED_BITS) | (key >> (u64::BITS - SHARED_BITS)).cast_signed();
    let offset = key & ((1 << OFFSET_BITS) - 1);
    let is_message = key >> OFFSET_BITS & 1 == 1;
    if is_message { Timer::message(at, offset) } else { Timer::recall(at, offset) }
}

impl FromIterator<Timer> for Set {
    /// Trees that are made at once have full nodes.
    fn from_iter<I: IntoIterator<Item = Timer>>(timers: I) -> Self {
        let mut keys: Vec<_> = timers.into_iter().map(split).collect();
        keys.sort_unstable();
        let trees = keys.chunk_by(|one, other| one.0 == other.0);
        Self(trees.map(|keys| (keys[0].0, keys.iter().map(|(_, key)| *key).collect())).collect())
    }
}

impl Serialize for Set {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut before = (0, 0);
        to.collect_seq(self.iter().flat_map(|timer| {
            let (at, place) = (timer.0, timer.1.rotate_left(1).cast_signed());
            let steps = [at.wrapping_sub(before.0), place.wrapping_sub(before.1)];
            before = (at, place);
            steps
        }))
    }
}

impl<'de> Deserialize<'de> for Set {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_seq(Timers)
    }
}

struct Timers;

#[derive(Deserialize)]
#[serde(untagged)]
enum Element {
    Step(Millis),
    Whole(Timer),
}

impl<'de> Visitor<'de> for Timers {
    type Value = Set;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("timers")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Set, A::Error> {
        let mut timers = Vec::new();
        let (mut at, mut place) = (0i64, 0i64);
        while let Some(element) = elements.next_element()? {
            let timer = match element {
                Element::Whole(timer) => timer,
                Element::Step(of_time) => {
                    let of_place: i64 =
                        elements.next_element()?.ok_or_else(|| A::Error::custom("half a timer"))?;
                    (at, place) = (at.wrapping_add(of_time), place.wrapping_add(of_place));
                    Timer(at, place.cast_unsigned().rotate_right(1))
                }
            };
            if timer.offset() >= 1 << OFFSET_BITS {
                return Err(A::Error::custom("a timer of an offset that cannot be"));
            }
            timers.push(timer);
        }
        Ok(timers.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mixed() -> Vec<Timer> {
        let last = (1 << OFFSET_BITS) - 1;
        let times = [Millis::MIN, -65_537, -65_536, -1, 0, 1, 65_535, 65_536, Millis::MAX];
        let of_time = |at| {
            [Timer::recall(at, 0), Timer::recall(at, last), Timer::message(at, 0), Timer::message(at, last)]
        };
        times.into_iter().flat_map(of_time).collect()
    }

    #[test]
    fn the_order_is_that_of_timers() {
        let timers = mixed();
        assert!(timers.is_sorted());
        let mut set = Set::default();
        timers.iter().rev().for_each(|timer| set.insert(*timer));
        assert!(set.iter().eq(timers.iter().copied()));
        assert_eq!(set, timers.iter().copied().collect());
        assert_eq!((set.len(), set.iter().next()), (timers.len(), timers.first().copied()));
        set.retain(|timer| !timer.is_recall());
        assert_eq!(set.len(), timers.len() / 2);
        for timer in &timers {
            assert_eq!(set.remove(*timer), !timer.is_recall());
        }
        assert!(set.is_empty() && !set.remove(timers[0]));
    }

    #[test]
    fn timers_are_packed_tightly() {
        let at = |number: u64| 1_800_000_000_000 + number.cast_signed() / 3;
        let set: Set = (0..1000).map(|number| Timer::message(at(number), number)).collect();
        let json = serde_json::to_string(&set).unwrap();
        assert!(json.len() < 4_100, "{} bytes", json.len());
        assert_eq!(serde_json::from_str::<Set>(&json).unwrap(), set);
        let mixed: Set = mixed().into_iter().collect();
        assert_eq!(serde_json::from_str::<Set>(&serde_json::to_string(&mixed).unwrap()).unwrap(), mixed);
    }

    #[test]
    fn earlier_snapshots_are_read() {
        let json = "[[10,9223372036854775809],[20,0]]";
        let timers = [Timer::message(10, 1), Timer::recall(20, 0)];
        assert_eq!(serde_json::from_str::<Set>(json).unwrap(), timers.into_iter().collect());
        for refused in ["[1,2,3]", "[[1,140737488355328]]", "[\"\"]"] {
            assert!(serde_json::from_str::<Set>(refused).is_err(), "{refused}");
        }
    }
}
