//! The newest frames in memory, so that readers who keep up never touch the disk and nothing is copied for them.

use bytes::Bytes;
use halley_model::LogOffset;
use parking_lot::RwLock;
use std::collections::VecDeque;

/// Frames in log order, the oldest dropped when there are more bytes than wanted.
pub(crate) struct Tail {
    extents: RwLock<Extents>,
    bytes_max: usize,
}

#[derive(Default)]
struct Extents {
    frames: VecDeque<Extent>,
    bytes: usize,
}

struct Extent {
    at: LogOffset,
    bytes: Bytes,
}

impl Tail {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { extents: RwLock::new(Extents::default()), bytes_max }
    }

    /// Adds frames, given with their addresses, behind all others.
    pub(crate) fn push(&self, frames: impl Iterator<Item = (LogOffset, Bytes)>) {
        let mut dropped = Vec::new();
        let mut extents = self.extents.write();
        for (at, bytes) in frames {
            extents.bytes += bytes.len();
            extents.frames.push_back(Extent { at, bytes });
        }
        while extents.bytes > self.bytes_max {
            let Some(oldest) = extents.frames.pop_front() else { break };
            extents.bytes -= oldest.bytes.len();
            dropped.push(oldest);
        }
        // Freeing memory can take long; readers need not wait for it.
        drop(extents);
        drop(dropped);
    }

    /// The bytes `[from, from + len)` of the log, where one frame in memory holds them all.
    pub(crate) fn get(&self, from: LogOffset, len: usize) -> Option<Bytes> {
        let extents = self.extents.read();
        let after = extents.frames.partition_point(|extent| extent.at <= from);
        let extent = &extents.frames[after.checked_sub(1)?];
        let start = usize::try_from(from - extent.at).ok()?;
        let end = start.checked_add(len)?;
        (end <= extent.bytes.len()).then(|| extent.bytes.slice(start..end))
    }

    /// The frame in memory that begins at `at`.
    pub(crate) fn frame_at(&self, at: LogOffset) -> Option<Bytes> {
        let extents = self.extents.read();
        let found = extents.frames.binary_search_by_key(&at, |extent| extent.at).ok()?;
        Some(extents.frames[found].bytes.clone())
    }

    /// Whether `at` is not older than what is in memory.
    pub(crate) fn begins_at_or_before(&self, at: LogOffset) -> bool {
        self.extents.read().frames.front().is_some_and(|first| first.at <= at)
    }

    /// Where the frame in memory that holds `at` ends.
    pub(crate) fn end_of(&self, at: LogOffset) -> Option<LogOffset> {
        let extents = self.extents.read();
        let after = extents.frames.partition_point(|extent| extent.at <= at);
        let extent = &extents.frames[after.checked_sub(1)?];
        let end = extent.at + extent.bytes.len() as u64;
        (at < end).then_some(end)
    }
}
