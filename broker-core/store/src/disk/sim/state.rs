//! What lies on the simulated disk, readable and durable.

mod lies;

use super::{Crash, DiskError, random::Random};
use crate::hash;
use std::collections::{BTreeMap, BTreeSet};

/// Something that will go wrong at a counted call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    SwitchOff,
    Sync,
    Write,
    LyingSync,
    LostWrite,
    MisdirectedWrite,
}

pub(super) struct State {
    random: Random,
    inodes: Vec<Inode>,
    pub(super) names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    unsynced_names: Vec<NameChange>,
    pub(super) locks: BTreeSet<String>,
    /// Counts crashes; handles of an earlier life are dead.
    pub(super) life: u64,
    off: bool,
    pub(super) capacity: Option<u64>,
    planned: BTreeMap<Fault, u64>,
    /// Syncs do nothing, until the next crash.
    lies: bool,
    pub(super) operations: u64,
    pub(super) syncs: u64,
    pub(super) faults_happened: u64,
    pub(super) trace: u64,
}

#[derive(Default)]
struct Inode {
    readable: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write { offset: u64, bytes: Vec<u8> },
    Length(u64),
}

enum NameChange {
    Link { name: String, inode: usize },
    Unlink { name: String },
    Rename { from: String, to: String, inode: usize },
}

impl State {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            inodes: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            unsynced_names: Vec::new(),
            locks: BTreeSet::new(),
            life: 0,
            off: false,
            capacity: None,
            planned: BTreeMap::new(),
            lies: false,
            operations: 0,
            syncs: 0,
            faults_happened: 0,
            trace: 0,
        }
    }

    /// Counts and traces a call; fails where the disk is off or goes off now.
    pub(super) fn begin(&mut self, operation: &'static str, path: &str) -> Result<(), DiskError> {
        self.operations += 1;
        self.note(hash::of(operation) ^ hash::of(path).rotate_left(17));
        if self.happens(Fault::SwitchOff) {
            self.off = true;
        }
        if self.off {
            let reason = "the machine is switched off".to_owned();
            return Err(DiskError::Failed { operation, path: path.to_owned(), reason });
        }
        Ok(())
    }

    pub(super) fn plan(&mut self, fault: Fault, nth: u64) {
        self.planned.insert(fault, nth.max(1));
    }

    pub(super) fn heal(&mut self) {
        self.planned.clear();
    }

    /// Counts towards a planned fault; whether it is due.
    fn happens(&mut self, fault: Fault) -> bool {
        let Some(left) = self.planned.get_mut(&fault) else { return false };
        *left -= 1;
        let due = *left == 0;
        if due {
            self.planned.remove(&fault);
            self.faults_happened += 1;
        }
        due
    }

    /// Whether this sync is a lie.
    fn lies(&mut self) -> bool {
        self.lies |= self.happens(Fault::LyingSync);
        self.lies
    }

    fn note(&mut self, word: u64) {
        self.trace = (self.trace.rotate_left(5) ^ word).wrapping_mul(0x517C_C1B7_2722_0A95);
    }

    pub(super) fn used(&self) -> u64 {
        self.names.values().map(|inode| self.inodes[*inode].readable.len() as u64).sum()
    }

    pub(super) fn create(&mut self, path: &str) -> usize {
        if let Some(inode) = self.names.get(path).copied() {
            self.set_len(inode, 0);
            return inode;
        }
        let inode = self.inodes.len();
        self.inodes.push(Inode::default());
        self.names.insert(path.to_owned(), inode);
        self.unsynced_names.push(NameChange::Link { name: path.to_owned(), inode });
        inode
    }

    /// A file that is there, durably.
    pub(super) fn put(&mut self, path: String, bytes: Vec<u8>) {
        let inode = self.inodes.len();
        self.inodes.push(Inode { readable: bytes.clone(), durable: bytes, unsynced: Vec::new() });
        self.names.insert(path.clone(), inode);
        self.durable_names.insert(path, inode);
    }

    pub(super) fn find(&self, path: &str) -> Result<usize, DiskError> {
        self.names.get(path).copied().ok_or_else(|| DiskError::NotFound { path: path.to_owned() })
    }

    pub(super) fn list(&self, dir: &str) -> Vec<String> {
        let in_dir = |path: &String| (dir_of(path) == dir).then(|| name_of(path).to_owned());
        self.names.keys().filter_map(in_dir).collect()
    }

    pub(super) fn remove(&mut self, path: &str) -> Result<(), DiskError> {
        self.find(path)?;
        self.names.remove(path);
        self.unsynced_names.push(NameChange::Unlink { name: path.to_owned() });
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> Result<(), DiskError> {
        let inode = self.find(from)?;
        self.names.remove(from);
        self.names.insert(to.to_owned(), inode);
        self.unsynced_names.push(NameChange::Rename { from: from.to_owned(), to: to.to_owned(), inode });
        Ok(())
    }

    pub(super) fn sync_dir(&mut self, dir: &str) -> Result<(), DiskError> {
        self.syncs += 1;
        if self.happens(Fault::Sync) {
            return Err(failed("sync", dir));
        }
        if self.lies() {
            return Ok(());
        }
        let changes = std::mem::take(&mut self.unsynced_names);
        for change in changes {
            if dir_of(change.name()) == dir {
                change.apply(&mut self.durable_names);
            } else {
                self.unsynced_names.push(change);
            }
        }
        Ok(())
    }

    pub(super) fn write(
        &mut self,
        inode: usize,
        path: &str,
        offset: u64,
        bytes: Vec<u8>,
    ) -> Result<(), DiskError> {
        self.note(u64::from(crc32fast::hash(&bytes)) << 32 ^ offset);
        if self.happens(Fault::Write) {
            self.write_torn(inode, offset, bytes);
            return Err(failed("write", path));
        }
        let grown = (offset + bytes.len() as u64).saturating_sub(self.len(inode));
        if grown > 0 && self.capacity.is_some_and(|capacity| self.used() + grown > capacity) {
            return Err(DiskError::Full { path: path.to_owned() });
        }
        if self.happens(Fault::LostWrite) {
            self.lose(inode, offset, bytes);
        } else if self.happens(Fault::MisdirectedWrite) {
            self.misdirect(inode, offset, bytes);
        } else {
            self.inodes[inode].change(Change::Write { offset, bytes });
        }
        Ok(())
    }

    /// Writes some first part of the bytes: what a write interrupted by a fault or by switching off leaves.
    pub(super) fn write_torn(&mut self, inode: usize, offset: u64, mut bytes: Vec<u8>) {
        let kept = self.random.below(bytes.len() as u64 + 1) as usize;
        bytes.truncate(kept);
        // A torn write never makes the file longer: the log writes into reserved space only.
        let room = self.len(inode).saturating_sub(offset);
        bytes.truncate(usize::try_from(room).unwrap_or(usize::MAX));
        self.inodes[inode].change(Change::Write { offset, bytes });
    }

    pub(super) fn read(&self, inode: usize, offset: u64, into: &mut [u8]) -> usize {
        let readable = &self.inodes[inode].readable;
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(readable.len());
        let len = into.len().min(readable.len() - from);
        into[..len].copy_from_slice(&readable[from..from + len]);
        len
    }

    pub(super) fn sync(&mut self, inode: usize, path: &str) -> Result<(), DiskError> {
        self.syncs += 1;
        if self.lies() {
            return Ok(());
        }
        let fails = self.happens(Fault::Sync);
        let file = &mut self.inodes[inode];
        for change in std::mem::take(&mut file.unsynced) {
            // After a failed sync the kernel takes the pages for clean, whether they were written or not.
            if !fails || self.random.coin() {
                change.apply(&mut file.durable);
            }
        }
        if fails { Err(failed("sync", path)) } else { Ok(()) }
    }

    pub(super) fn set_len(&mut self, inode: usize, len: u64) {
        self.note(len);
        self.inodes[inode].change(Change::Length(len));
    }

    pub(super) fn preallocate(&mut self, inode: usize, path: &str, len: u64) -> Result<(), DiskError> {
        let grown = len.saturating_sub(self.len(inode));
        if self.capacity.is_some_and(|capacity| self.used() + grown > capacity) {
            return Err(DiskError::Full { path: path.to_owned() });
        }
        if grown > 0 {
            self.set_len(inode, len);
        }
        Ok(())
    }

    pub(super) fn len(&self, inode: usize) -> u64 {
        self.inodes[inode].readable.len() as u64
    }

    pub(super) fn contents(&self, path: &str) -> Option<Vec<u8>> {
        self.names.get(path).map(|inode| self.inodes[*inode].readable.clone())
    }

    pub(super) fn flip_bit(&mut self, path: &str, at: u64, bit: u8) -> bool {
        let Some(inode) = self.names.get(path).copied() else { return false };
        let file = &mut self.inodes[inode];
        let mut flipped = false;
        for bytes in [&mut file.readable, &mut file.durable] {
            if let Some(byte) = usize::try_from(at).ok().and_then(|at| bytes.get_mut(at)) {
                *byte ^= 1 << (bit & 7);
                flipped = true;
            }
        }
        flipped
    }

    pub(super) fn crash(&mut self, crash: Crash) {
        self.life += 1;
        (self.off, self.lies) = (false, false);
        self.locks.clear();
        self.note(self.life);
        if crash == Crash::PowerCut {
            self.cut_names();
            for at in 0..self.inodes.len() {
                self.inodes[at].cut(&mut self.random);
            }
        }
    }

    fn cut_names(&mut self) {
        let changes = std::mem::take(&mut self.unsynced_names);
        // A journal keeps the first few; other file systems may keep any.
        let ordered = self.random.coin();
        let kept = self.random.below(changes.len() as u64 + 1) as usize;
        for (at, change) in changes.into_iter().enumerate() {
            if if ordered { at < kept } else { self.random.coin() } {
                change.apply(&mut self.durable_names);
            }
        }
        self.names = self.durable_names.clone();
    }
}

impl Inode {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.readable);
        self.unsynced.push(change);
    }

    fn cut(&mut self, random: &mut Random) {
        let changes = std::mem::take(&mut self.unsynced);
        let grain = if random.coin() { 512 } else { 4096 };
        let style = random.below(4);
        let kept = random.below(changes.len() as u64 + 1) as usize;
        for (at, change) in changes.into_iter().enumerate() {
            match style {
                0 => {}
                1 => change.apply(&mut self.durable),
                2 if at < kept => change.apply(&mut self.durable),
                2 if at > kept => {}
                _ => change.apply_in_part(grain, random, &mut self.durable),
            }
        }
        self.readable.clone_from(&self.durable);
    }
}

impl Change {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Self::Length(len) => to.resize(*len as usize, 0),
            Self::Write { offset, bytes } => {
                let from = *offset as usize;
                if to.len() < from + bytes.len() {
                    to.resize(from + bytes.len(), 0);
                }
                to[from..from + bytes.len()].copy_from_slice(bytes);
            }
        }
    }

    /// Each sector of a write is kept or lost by itself; a change of length is atomic.
    fn apply_in_part(&self, grain: u64, random: &mut Random, to: &mut Vec<u8>) {
        match self {
            Self::Length(_) => {
                if random.coin() {
                    self.apply(to);
                }
            }
            Self::Write { offset, bytes } => {
                let end = offset + bytes.len() as u64;
                let mut at = *offset;
                while at < end {
                    let next = ((at / grain + 1) * grain).min(end);
                    if random.coin() {
                        let part = &bytes[(at - offset) as usize..(next - offset) as usize];
                        Self::Write { offset: at, bytes: part.to_vec() }.apply(to);
                    }
                    at = next;
                }
            }
        }
    }
}

impl NameChange {
    fn name(&self) -> &str {
        match self {
            Self::Link { name, .. } | Self::Unlink { name } | Self::Rename { to: name, .. } => name,
        }
    }

    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Link { name, inode } => {
                names.insert(name.clone(), *inode);
            }
            Self::Unlink { name } => {
                names.remove(name);
            }
            Self::Rename { from, to, inode } => {
                names.remove(from);
                names.insert(to.clone(), *inode);
            }
        }
    }
}

fn failed(operation: &'static str, path: &str) -> DiskError {
    DiskError::Failed { operation, path: path.to_owned(), reason: "a planned fault".to_owned() }
}

fn dir_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}

fn name_of(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}
