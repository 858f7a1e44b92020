//! Consume queues: for each queue files of entries of 20 bytes (`ConsumeQueue`, 4.9 and 5.5).
//!
//! ```text
//! 0 physical offset 8 · size 4 · tag code 8
//! ```
//! A file's name is the position of its first entry, in bytes. What was never written is zero.

use halley_model::{LogOffset, QueueOffset};

/// Bytes of an entry.
pub const ENTRY_BYTES: u64 = 20;

/// Bytes of a file (`mappedFileSizeConsumeQueue`, 5.5).
pub const FILE_BYTES: u64 = 300_000 * ENTRY_BYTES;

/// An entry.
pub fn entry(at: LogOffset, size: u32, tag: i64) -> [u8; ENTRY_BYTES as usize] {
    let mut bytes = [0; ENTRY_BYTES as usize];
    bytes[..8].copy_from_slice(&at.to_be_bytes());
    bytes[8..12].copy_from_slice(&size.to_be_bytes());
    bytes[12..].copy_from_slice(&tag.to_be_bytes());
    bytes
}

/// Where the entries of a file end, in entries from its beginning, and so where the queue goes on: found by halving, since
/// what is written comes before what is not. `read` gives an entry's bytes, `None` where the file ends before. Entries of
/// records behind the log's end `log_end` do not count: a crash took the records.
pub fn end_of_file<E>(
    entries: u64,
    log_end: LogOffset,
    mut read: impl FnMut(u64) -> Result<Option<[u8; ENTRY_BYTES as usize]>, E>,
) -> Result<u64, E> {
    let (mut low, mut high) = (0, entries);
    while low < high {
        let middle = low + (high - low) / 2;
        let counts = match read(middle)? {
            None => false,
            Some(entry) => {
                let at = LogOffset::from_be_bytes(entry[..8].try_into().expect("eight bytes"));
                let size = i32::from_be_bytes(entry[8..12].try_into().expect("four bytes"));
                size > 0 && at < log_end
            }
        };
        if counts { low = middle + 1 } else { high = middle }
    }
    Ok(low)
}

/// The offset of the queue's record whose entry lies at this place.
pub fn offset_at(file_base: u64, entry: u64) -> QueueOffset {
    file_base / ENTRY_BYTES + entry
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(at: u64, size: i32) -> [u8; 20] {
        let mut bytes = [0; 20];
        bytes[..8].copy_from_slice(&at.to_be_bytes());
        bytes[8..12].copy_from_slice(&size.to_be_bytes());
        bytes
    }

    #[test]
    fn a_queue_ends_behind_its_last_entry() {
        // What lay before the first entry of a queue that begins later (`ConsumeQueue.fillPreBlank`).
        let mut file = vec![entry(0, i32::MAX); 3];
        file.extend((0..4).map(|number| entry(1000 + number * 100, 100)));
        file.extend([[0; 20]; 5]);
        let read = |number: u64| Ok::<_, ()>(file.get(number as usize).copied());
        assert_eq!(end_of_file(12, 5000, read), Ok(7));
        assert_eq!(end_of_file(99, 5000, read), Ok(7));
        assert_eq!(end_of_file(12, 1200, read), Ok(5));
        assert_eq!(end_of_file(0, 5000, read), Ok(0));
        assert_eq!(offset_at(6_000_000, 7), 300_007);
    }
}
