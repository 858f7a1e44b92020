//! Bytes that are read from the disk before they are asked for, for those who read in order.
//!
//! Who goes on about where a read ended gets a *window*, one longer read whose bytes are kept for the reads that follow: of the
//! same queue, and of others whose records lie between. Windows grow while at least half of what they have is used; they shrink,
//! and end, where less than a quarter is, because the records of the queue lie far apart, and where they were dropped before
//! they were used, because many read at many places. A single read, such as that of a message by its id, reads what it needs.
//! Windows are read past the system's cache where it can do that, so that a replay does not push out what others use.

use crate::{
    disk::{DiskError, DiskFile, read_full},
    segment::Segment,
};
use halley_model::LogOffset;
use parking_lot::Mutex;
use std::{collections::VecDeque, sync::Arc};

/// Bytes of all windows.
const KEPT_BYTES_MAX: usize = 16 << 20;
/// Bytes of a reader's first window, and of its longest.
const WINDOW_BYTES_MIN: usize = 64 << 10;
const WINDOW_BYTES_MAX: usize = 512 << 10;
/// How many readers are remembered.
const STREAMS_MAX: usize = 256;
/// How much of what it passes one reads is judged after so many bytes.
const JUDGED_BYTES: u64 = 32 << 10;
/// Who goes on at most so far from where a read ended reads in order.
const NEAR_BYTES: u64 = 2 << 20;

/// What is read ahead.
pub(crate) struct Ahead {
    kept: Mutex<Kept>,
    /// Bytes of all windows.
    bytes_max: usize,
}

impl Default for Ahead {
    fn default() -> Self {
        Self { kept: Mutex::default(), bytes_max: KEPT_BYTES_MAX }
    }
}

#[derive(Default)]
struct Kept {
    /// The one used last at the end.
    windows: VecDeque<Arc<Window>>,
    bytes: usize,
    /// The one that read last at the end.
    streams: VecDeque<Stream>,
    /// The buffer of a dropped window.
    spare: Vec<u8>,
}

/// Bytes of the log.
pub(crate) struct Window {
    at: LogOffset,
    bytes: Vec<u8>,
}

/// One who reads in order, or several who do so about the same place.
#[derive(Debug, Clone, Copy)]
struct Stream {
    /// Where its furthest read ended.
    next: LogOffset,
    /// How much of what lies behind this it has read.
    mark: LogOffset,
    used: u64,
    /// Bytes of its windows, 0 while what it reads lies too far apart for any, and where the last one began.
    window_bytes: usize,
    window_at: LogOffset,
}

impl Window {
    fn get(&self, at: LogOffset, len: usize) -> Option<&[u8]> {
        let from = usize::try_from(at.checked_sub(self.at)?).ok()?;
        self.bytes.get(from..from.checked_add(len)?)
    }
}

impl Ahead {
    /// Appends the bytes `[at, at + len)` of a segment to `out`; `false` where it has not so many. Nothing is read from `end` on.
    /// `last` is the window that the caller used last.
    pub(crate) fn read<F: DiskFile>(
        &self,
        segment: &Segment<F>,
        (at, len): (LogOffset, usize),
        end: LogOffset,
        last: &mut Option<Arc<Window>>,
        out: &mut Vec<u8>,
    ) -> Result<bool, DiskError> {
        if let Some(bytes) = last.as_ref().and_then(|window| window.get(at, len)) {
            out.extend_from_slice(bytes);
            return Ok(true);
        }
        let (window_bytes, buffer) = {
            let mut kept = self.kept.lock();
            if let Some(window) = kept.find(at, len) {
                kept.went_on(at, len);
                drop(kept);
                out.extend_from_slice(window.get(at, len).unwrap_or_default());
                *last = Some(window);
                return Ok(true);
            }
            let room = usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX);
            let window_bytes = kept.plan(at, len).min(room);
            let fits =
                (window_bytes..=2 * window_bytes).contains(&kept.spare.capacity()) && window_bytes > len;
            (window_bytes, if fits { std::mem::take(&mut kept.spare) } else { Vec::new() })
        };
        if window_bytes <= len {
            let from = out.len();
            out.resize(from + len, 0);
            let whole = read_full(&segment.file, segment.position(at), &mut out[from..])?;
            if !whole {
                out.truncate(from);
            }
            return Ok(whole);
        }
        let mut bytes = buffer;
        bytes.resize(window_bytes, 0);
        let read = segment.file.read_once_at(segment.position(at), &mut bytes)?;
        bytes.truncate(read);
        let window = Arc::new(Window { at, bytes });
        let Some(found) = window.get(at, len) else { return Ok(false) };
        out.extend_from_slice(found);
        self.kept.lock().keep(Arc::clone(&window), self.bytes_max);
        *last = Some(window);
        Ok(true)
    }
}

impl Kept {
    fn find(&mut self, at: LogOffset, len: usize) -> Option<Arc<Window>> {
        let found = self.windows.iter().rposition(|window| window.get(at, len).is_some())?;
        let window = self.windows.remove(found)?;
        self.windows.push_back(Arc::clone(&window));
        Some(window)
    }

    /// Who reads here was nearby before.
    fn stream(&mut self, at: LogOffset) -> Option<Stream> {
        let found = self.streams.iter().rposition(|stream| stream.next.abs_diff(at) <= NEAR_BYTES)?;
        self.streams.remove(found)
    }

    fn remember(&mut self, stream: Stream) {
        if self.streams.len() == STREAMS_MAX {
            self.streams.pop_front();
        }
        self.streams.push_back(stream);
    }

    /// A window was used.
    fn went_on(&mut self, at: LogOffset, len: usize) {
        if let Some(stream) = self.stream(at) {
            let (next, used) = (stream.next.max(at + len as u64), stream.used + len as u64);
            self.remember(Stream { next, used, ..stream });
        }
    }

    /// How much to read from `at` on where no window has it: no more than `len` for who was not nearby before, or reads little
    /// of what lies there.
    fn plan(&mut self, at: LogOffset, len: usize) -> usize {
        let end = at + len as u64;
        let Some(mut stream) = self.stream(at) else {
            self.remember(Stream { next: end, mark: at, used: len as u64, window_bytes: 0, window_at: at });
            return len;
        };
        let before = stream.window_bytes;
        stream.next = stream.next.max(end);
        stream.used += len as u64;
        let span = stream.next.saturating_sub(stream.mark);
        // What its last window had was dropped before it was used.
        let was_dropped = at >= stream.window_at && end <= stream.window_at + before as u64;
        if was_dropped || (span >= JUDGED_BYTES && stream.used * 4 < span) {
            stream.window_bytes = if before / 2 >= WINDOW_BYTES_MIN { before / 2 } else { 0 };
        } else if span >= JUDGED_BYTES && stream.used * 2 >= span {
            stream.window_bytes = (before * 2).clamp(WINDOW_BYTES_MIN, WINDOW_BYTES_MAX);
        }
        if was_dropped || span >= JUDGED_BYTES {
            (stream.mark, stream.used) = (stream.next, 0);
        }
        if stream.window_bytes > len {
            stream.window_at = at;
        }
        self.remember(stream);
        stream.window_bytes
    }

    fn keep(&mut self, window: Arc<Window>, bytes_max: usize) {
        self.bytes += window.bytes.capacity();
        self.windows.push_back(window);
        while self.bytes > bytes_max {
            let Some(oldest) = self.windows.pop_front() else { break };
            self.bytes -= oldest.bytes.capacity();
            if let Ok(window) = Arc::try_unwrap(oldest) {
                self.spare = window.bytes;
            }
        }
    }
}

#[cfg(test)]
mod tests;
