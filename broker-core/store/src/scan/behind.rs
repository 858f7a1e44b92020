//! Frames behind one that cannot be read.

use super::{CHECKS, Scanner};
use crate::{
    disk::{DiskError, DiskFile},
    frame::{self, HEADER_BYTES, Header, Kind},
    segment::START_BYTES,
};
use halley_model::LogOffset;

/// Bytes in which a readable frame is looked for at once.
const SEARCH_BYTES: u64 = 1 << 20;

/// Where a frame says, behind `end` where the log cannot be read on, that it was durable beyond `end`. Only such frames are
/// believed whose predecessor is there, so that the chain shows that they are whole, and whose records lie where they say:
/// a message that holds a copy of a segment proves nothing.
pub(crate) fn durable_beyond<F: DiskFile>(
    file: &F,
    base: LogOffset,
    end: LogOffset,
    limit: u64,
) -> Result<Option<LogOffset>, DiskError> {
    let mut at = end;
    while let Some((behind, chain, epoch)) = resume(file, base, at, limit)? {
        let mut scanner = Scanner::resume(file, base, behind, (chain, epoch), limit, CHECKS);
        while let Ok(found) = scanner.next()? {
            let says = found.at.saturating_sub(found.header.unsynced);
            let in_place = || frame::for_each_record(found.bytes, &found.header, found.at, |_| Ok(()));
            if found.header.kind == Kind::Records && says > end && in_place().is_ok() {
                return Ok(Some(found.at));
            }
        }
        at = scanner.position();
    }
    Ok(None)
}

/// Where readable frames go on behind one at `at` that is not, with the crc and epoch that they go on from: where the next
/// one proves that what its predecessor says of itself is right.
pub(crate) fn resume<F: DiskFile>(
    file: &F,
    base: LogOffset,
    at: LogOffset,
    limit: u64,
) -> Result<Option<(LogOffset, u32, u32)>, DiskError> {
    // Most of the last segment is only reserved. Asked before anything is read, for what was read counts as written.
    let written = file.written(at - base)?;
    if let Some(behind) = believed(file, base, at, limit)? {
        return Ok(Some(behind));
    }
    let mut bytes = Vec::new();
    for stretch in written {
        let (mut position, end) = (stretch.start.max(at - base + 1), stretch.end.min(limit));
        while position + HEADER_BYTES as u64 <= end {
            bytes.resize((end - position).min(SEARCH_BYTES) as usize, 0);
            let read = file.read_at(position, &mut bytes)?;
            for found in memchr::memmem::find_iter(&bytes[..read], &frame::MAGIC.to_be_bytes()) {
                let begin = (position + found as u64).checked_sub(4).filter(|begin| *begin > at - base);
                let Some(begin) = begin else { continue };
                if let Some(behind) = believed(file, base, base + begin, limit)? {
                    return Ok(Some(behind));
                }
            }
            if read < bytes.len() {
                break;
            }
            position += (read - 3) as u64;
        }
    }
    Ok(None)
}

/// Whether a frame follows the one at `at`, whatever that one holds: where, and what it goes on from.
fn believed<F: DiskFile>(
    file: &F,
    base: LogOffset,
    at: LogOffset,
    limit: u64,
) -> Result<Option<(LogOffset, u32, u32)>, DiskError> {
    let mut head = [0; HEADER_BYTES];
    let position = at - base;
    if position < START_BYTES as u64 || file.read_at(position, &mut head)? < HEADER_BYTES {
        return Ok(None);
    }
    let Ok(header) = Header::parse(&head) else { return Ok(None) };
    let behind = at + header.length as u64;
    let from = (header.crc, header.epoch);
    if behind - base >= limit {
        return Ok(None);
    }
    let follows = Scanner::resume(file, base, behind, from, limit, CHECKS).next()?.is_ok();
    Ok(follows.then_some((behind, header.crc, header.epoch)))
}
