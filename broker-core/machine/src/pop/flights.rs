//! The messages in flight, by offset, with an order of expiry.
//!
//! There can be very many, hence 24 bytes each in chunks of up to [`CHUNK_LEN`], sorted by offset. New ones come at the end and
//! may leave from anywhere. Each chunk knows a time before which none of its messages is due; so does the whole. A time may
//! be too early after messages left, which costs one look at the chunk and nothing else, so that no
//! message is in a second, sorted structure.

use halley_model::{Millis, QueueOffset};
use std::collections::VecDeque;

/// Messages in one chunk, at most: moving half of them when one leaves is cheap.
const CHUNK_LEN: usize = 64;

/// A message in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flight {
    /// Its offset.
    pub offset: QueueOffset,
    /// When it was given out; part of its handle.
    pub popped: Millis,
    /// When it will be visible again.
    pub visible: Millis,
    /// The attempt does not count.
    pub suspended: bool,
}

impl Flight {
    /// A message given out in the usual way.
    pub fn new(offset: QueueOffset, popped: Millis, visible: Millis) -> Self {
        Self { offset, popped, visible, suspended: false }
    }
}

/// The messages in flight.
#[derive(Debug, Clone)]
pub struct Flights {
    chunks: VecDeque<Chunk>,
    len: usize,
    /// None is due before.
    earliest: Millis,
}

#[derive(Debug, Clone)]
struct Chunk {
    /// Sorted by offset, never empty.
    entries: Vec<Entry>,
    /// None is due before.
    earliest: Millis,
}

/// A [`Flight`] in 24 bytes.
#[derive(Debug, Clone, Copy)]
struct Entry {
    /// The offset, above two bits.
    key: u64,
    popped: Millis,
    /// [`Millis::MAX`] while taken.
    visible: Millis,
}

const FLAG_BITS: u32 = 2;
const SUSPENDED: u64 = 1;
/// It is on its way to the retry topic.
const TAKEN: u64 = 2;

impl Default for Flights {
    fn default() -> Self {
        Self { chunks: VecDeque::new(), len: 0, earliest: Millis::MAX }
    }
}

impl Flights {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The lowest offset.
    pub fn first(&self) -> Option<QueueOffset> {
        self.chunks.front().map(|chunk| chunk.entries[0].offset())
    }

    /// A time before which none is due, `None` where none ever is.
    pub fn earliest(&self) -> Option<Millis> {
        (self.earliest < Millis::MAX).then_some(self.earliest)
    }

    /// All, by offset. One on its way to the retry topic is due at [`Millis::MIN`].
    pub fn iter(&self) -> impl Iterator<Item = Flight> {
        self.chunks.iter().flat_map(|chunk| &chunk.entries).map(Entry::flight)
    }

    /// Adds one behind all others.
    pub fn push(&mut self, flight: Flight) {
        let entry = Entry::of(flight);
        self.earliest = self.earliest.min(entry.visible);
        self.len += 1;
        match self.chunks.back_mut() {
            Some(last) if last.entries.len() < CHUNK_LEN => {
                let end = last.entries[last.entries.len() - 1].offset();
                assert!(end < flight.offset, "message {} is given out after {end}", flight.offset);
                last.earliest = last.earliest.min(entry.visible);
                last.entries.push(entry);
            }
            last => {
                if let Some(end) = last.map(|last| last.entries[last.entries.len() - 1].offset()) {
                    assert!(end < flight.offset, "message {} is given out after {end}", flight.offset);
                }
                self.chunks.push_back(Chunk { entries: vec![entry], earliest: entry.visible });
            }
        }
    }

    /// Removes the message, if it is in flight since `popped` and not taken.
    pub fn remove(&mut self, offset: QueueOffset, popped: Millis) -> bool {
        self.remove_if(offset, |entry| entry.popped == popped && !entry.has(TAKEN))
    }

    /// Removes a message that was taken.
    pub fn remove_taken(&mut self, offset: QueueOffset) -> bool {
        self.remove_if(offset, |entry| entry.has(TAKEN))
    }

    /// Puts `flight` in the place of the message with its offset, if that is in flight since `popped` and not taken.
    pub fn replace(&mut self, popped: Millis, flight: Flight) -> bool {
        self.change(flight.offset, |entry| {
            let found = entry.popped == popped && !entry.has(TAKEN);
            if found {
                *entry = Entry::of(flight);
            }
            found
        })
    }

    /// A taken message is due at `until`.
    pub fn give_back(&mut self, offset: QueueOffset, until: Millis) {
        self.change(offset, |entry| {
            let found = entry.has(TAKEN);
            if found {
                entry.key &= !TAKEN;
                entry.visible = until;
            }
            found
        });
    }

    /// Takes up to `max` messages that are due. They stay, and are not due any more.
    pub fn take_due(&mut self, now: Millis, max: usize, mut each: impl FnMut(Flight)) {
        if now < self.earliest {
            return;
        }
        let mut taken = 0;
        for chunk in self.chunks.iter_mut().filter(|chunk| chunk.earliest <= now) {
            let mut earliest = Millis::MAX;
            for entry in &mut chunk.entries {
                if entry.visible <= now && taken < max {
                    each(entry.flight());
                    entry.key |= TAKEN;
                    entry.visible = Millis::MAX;
                    taken += 1;
                }
                earliest = earliest.min(entry.visible);
            }
            chunk.earliest = earliest;
            if taken == max {
                break;
            }
        }
        self.earliest = self.chunks.iter().map(|chunk| chunk.earliest).min().unwrap_or(Millis::MAX);
    }

    fn change(&mut self, offset: QueueOffset, change: impl FnOnce(&mut Entry) -> bool) -> bool {
        let Some((at, index)) = self.find(offset) else { return false };
        let chunk = &mut self.chunks[at];
        let entry = &mut chunk.entries[index];
        let changed = change(entry);
        chunk.earliest = chunk.earliest.min(entry.visible);
        self.earliest = self.earliest.min(entry.visible);
        changed
    }

    fn remove_if(&mut self, offset: QueueOffset, holds: impl FnOnce(&Entry) -> bool) -> bool {
        let Some((at, index)) = self.find(offset) else { return false };
        let entries = &mut self.chunks[at].entries;
        if !holds(&entries[index]) {
            return false;
        }
        entries.remove(index);
        self.len -= 1;
        if entries.is_empty() {
            self.chunks.remove(at);
        } else if entries.len() <= CHUNK_LEN / 4 {
            self.join(at);
        }
        if self.len == 0 {
            *self = Self::default();
        }
        true
    }

    /// Joins a small chunk with the next one, so that few messages never hold much memory.
    fn join(&mut self, at: usize) {
        let [Some(small), Some(next)] = [self.chunks.get(at), self.chunks.get(at + 1)] else { return };
        if small.entries.len() + next.entries.len() > CHUNK_LEN / 2 {
            return;
        }
        if let Some(next) = self.chunks.remove(at + 1) {
            let small = &mut self.chunks[at];
            small.entries.extend(next.entries);
            small.earliest = small.earliest.min(next.earliest);
        }
    }

    fn find(&self, offset: QueueOffset) -> Option<(usize, usize)> {
        // The chunk that begins last at or before the offset.
        let after = self.chunks.partition_point(|chunk| chunk.entries[0].offset() <= offset);
        let at = after.checked_sub(1)?;
        let index = self.chunks[at].entries.binary_search_by_key(&offset, Entry::offset).ok()?;
        Some((at, index))
    }

    /// Bytes held, for the test of the bound.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        let entries: usize =
            self.chunks.iter().map(|chunk| chunk.entries.capacity() * size_of::<Entry>()).sum();
        entries + self.chunks.capacity() * size_of::<Chunk>() + size_of::<Self>()
    }
}

impl Entry {
    fn of(flight: Flight) -> Self {
        assert!(flight.offset < 1 << (u64::BITS - FLAG_BITS), "no queue has that many messages");
        let suspended = if flight.suspended { SUSPENDED } else { 0 };
        let key = flight.offset << FLAG_BITS | suspended;
        // The highest time means "taken".
        Self { key, popped: flight.popped, visible: flight.visible.min(Millis::MAX - 1) }
    }

    fn flight(&self) -> Flight {
        Flight {
            offset: self.offset(),
            popped: self.popped,
            visible: if self.has(TAKEN) { Millis::MIN } else { self.visible },
            suspended: self.has(SUSPENDED),
        }
    }

    fn offset(&self) -> QueueOffset {
        self.key >> FLAG_BITS
    }

    fn has(&self, flag: u64) -> bool {
        self.key & flag != 0
    }
}

#[cfg(test)]
mod tests;
