//! Devices that say that they have written, and have not, or elsewhere.

use super::{Change, State};

/// Where a misdirected write may begin.
const GRAIN: u64 = 512;

impl State {
    /// A write that never reaches the medium: the kernel shows it until the power fails.
    pub(super) fn lose(&mut self, inode: usize, offset: u64, bytes: Vec<u8>) {
        Change::Write { offset, bytes }.apply(&mut self.inodes[inode].readable);
    }

    /// A write that reaches the medium elsewhere in this file or in another one, over what is there.
    pub(super) fn misdirect(&mut self, inode: usize, offset: u64, bytes: Vec<u8>) {
        let files: Vec<usize> = self.names.values().copied().collect();
        let other = files[self.random.below(files.len() as u64) as usize];
        let victim = if self.random.coin() { inode } else { other };
        let file = &mut self.inodes[victim];
        let len = file.readable.len().min(file.durable.len()) as u64;
        let at = self.random.below(len / GRAIN + 1) * GRAIN;
        let mut misplaced = bytes.clone();
        misplaced.truncate(usize::try_from(len.saturating_sub(at)).unwrap_or(usize::MAX));
        let change = Change::Write { offset: at, bytes: misplaced };
        change.apply(&mut file.readable);
        change.apply(&mut file.durable);
        self.lose(inode, offset, bytes);
    }
}
