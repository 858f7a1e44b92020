use super::*;
use crate::disk::{Disk, SimDisk};

const KIB: u64 = 1024;

struct Log {
    ahead: Ahead,
    disk: SimDisk,
    segment: Segment<<SimDisk as Disk>::File>,
    bytes: Vec<u8>,
}

impl Log {
    fn new(mib: usize) -> Self {
        Self::keeping(mib, KEPT_BYTES_MAX)
    }

    fn keeping(mib: usize, bytes_max: usize) -> Self {
        let disk = SimDisk::new(1);
        let bytes: Vec<u8> = (0..mib << 18).flat_map(|word| (word as u32).to_be_bytes()).collect();
        let file = disk.create("s").unwrap();
        file.write_at(0, &[&bytes]).unwrap();
        Self { ahead: Ahead { bytes_max, ..Ahead::default() }, segment: Segment::new(0, file), disk, bytes }
    }

    /// Reads and checks; how many times the disk was asked.
    fn read(&self, at: u64, len: usize) -> u64 {
        let before = self.disk.operations();
        let mut out = vec![7];
        let whole = self.ahead.read(&self.segment, (at, len), self.bytes.len() as u64, &mut None, &mut out);
        assert_eq!(whole, Ok(true));
        assert_eq!((out[0], &out[1..]), (7, &self.bytes[at as usize..at as usize + len]));
        assert!(self.ahead.kept.lock().bytes <= self.ahead.bytes_max);
        self.disk.operations() - before
    }
}

#[test]
fn who_reads_in_order_seldom_waits() {
    let log = Log::new(8);
    let reads: u64 = (0..8 * KIB).map(|at| log.read(at * KIB, 1024)).sum();
    assert!(reads < 60, "{reads} reads of 8 MiB");
}

#[test]
fn several_queues_between_each_other_share_windows() {
    let log = Log::new(8);
    // Eight readers, each of every eighth record, somewhat apart.
    let mut reads = 0;
    for round in 0..KIB - 64 {
        for queue in 0..8 {
            reads += log.read((round + queue * 5) * 8 * KIB + queue * KIB, 1024);
        }
    }
    assert!(reads < 200, "{reads} reads of 8 MiB");
}

#[test]
fn who_reads_here_and_there_reads_what_it_needs() {
    let log = Log::new(16);
    for step in 0..40 {
        let at = step * 7_919 % 16_000 * KIB;
        assert_eq!(log.read(at, 1024), 1);
    }
    // A queue among hundreds of others: its records are about 100 KiB apart.
    for step in 0..150 {
        assert_eq!(log.read(step * 100 * KIB, 1024), 1);
    }
    assert!(log.ahead.kept.lock().bytes < 1 << 20, "at the beginning it may seem otherwise");
}

#[test]
fn more_readers_than_there_is_room_for_get_short_windows() {
    let log = Log::keeping(24, 1 << 20);
    // At eight places, far apart: there is room for windows of 128 KiB.
    let mut reads = 0;
    for round in 0..1500 {
        for reader in 0..8 {
            reads += log.read(reader * 3100 * KIB + round * KIB, 1024);
        }
    }
    assert!(reads < 8 * (32 + 2 * 1500 / 64), "{reads} reads of 12 MiB");
}

#[test]
fn nothing_is_read_behind_the_end() {
    let log = Log::new(1);
    let end = 100 * KIB;
    let mut out = Vec::new();
    for at in 0..100 {
        assert_eq!(log.ahead.read(&log.segment, (at * KIB, 1024), end, &mut None, &mut out), Ok(true));
    }
    let kept = log.ahead.kept.lock();
    assert!(kept.windows.iter().all(|window| window.at + window.bytes.len() as u64 <= end));
    drop(kept);
    let beyond = (log.bytes.len() as u64 - 10, 20);
    assert_eq!(log.ahead.read(&log.segment, beyond, u64::MAX, &mut None, &mut out), Ok(false));
}
