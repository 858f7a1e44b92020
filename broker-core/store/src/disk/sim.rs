//! A disk in memory that behaves as badly as a real one may, reproducibly from a seed.
//!
//! It keeps what is readable and what is durable apart. A power cut keeps any part of what was not synced, by
//! sectors, in any order; names not made durable with [`Disk::sync_dir`] may fall back. A failed sync leaves its
//! data readable but possibly not durable, for ever, and the next sync succeeds (as Linux does). Directories
//! themselves are durable at once.

mod random;
mod state;

use super::{Disk, DiskError, DiskFile};
use parking_lot::Mutex;
#[cfg(any(test, feature = "canaries"))]
pub(crate) use random::Random;
use state::{Fault, State};
use std::sync::Arc;

/// How the life of everything that uses the disk ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// The process is killed: what was written stays.
    Kill,
    /// The power fails: of what was not synced, any part stays.
    PowerCut,
}

/// The simulated disk. Clones are the same disk.
#[derive(Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

impl SimDisk {
    /// An empty disk without a limit, all of whose choices follow from `seed`.
    pub fn new(seed: u64) -> Self {
        Self { state: Arc::new(Mutex::new(State::new(seed))) }
    }

    /// A disk that has these files, durably.
    pub fn with_files(seed: u64, files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Self {
        let mut state = State::new(seed);
        files.into_iter().for_each(|(path, bytes)| state.put(path, bytes));
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Ends the life of all open files and locks, and switches the disk on again.
    pub fn crash(&self, crash: Crash) {
        self.state.lock().crash(crash);
    }

    /// Switches the disk off in the middle of the `operations`-th call from now (1 is the next). Every call from then on
    /// fails until [`SimDisk::crash`].
    pub fn switch_off_after(&self, operations: u64) {
        self.state.lock().plan(Fault::SwitchOff, operations);
    }

    /// Makes the `nth` sync from now fail (1 is the next), of a file or a directory.
    pub fn fail_sync(&self, nth: u64) {
        self.state.lock().plan(Fault::Sync, nth);
    }

    /// Makes the `nth` write from now fail (1 is the next), after a part of it was written.
    pub fn fail_write(&self, nth: u64) {
        self.state.lock().plan(Fault::Write, nth);
    }

    /// Makes the `nth` sync from now (1 is the next) and all later ones lies, until the next crash: they succeed, and nothing is
    /// durable by them.
    pub fn lie_on_sync(&self, nth: u64) {
        self.state.lock().plan(Fault::LyingSync, nth);
    }

    /// Makes the `nth` write from now a lie (1 is the next): it succeeds, is readable, and never durable.
    pub fn lose_write(&self, nth: u64) {
        self.state.lock().plan(Fault::LostWrite, nth);
    }

    /// Makes the `nth` write from now reach the medium at another place (1 is the next), of this file or another.
    pub fn misdirect_write(&self, nth: u64) {
        self.state.lock().plan(Fault::MisdirectedWrite, nth);
    }

    /// Takes back all planned faults that have not happened.
    pub fn heal(&self) {
        self.state.lock().heal();
    }

    /// Limits the bytes of all files together; `None` for no limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state.lock().capacity = bytes;
    }

    /// Bytes of all files together.
    pub fn used(&self) -> u64 {
        self.state.lock().used()
    }

    /// Flips one bit, readable and durable, as decay would. `false` where the file has no such byte.
    pub fn flip_bit(&self, path: &str, at: u64, bit: u8) -> bool {
        self.state.lock().flip_bit(path, at, bit)
    }

    /// What is readable of a file.
    pub fn contents(&self, path: &str) -> Option<Vec<u8>> {
        self.state.lock().contents(path)
    }

    /// The paths of all files, sorted.
    pub fn paths(&self) -> Vec<String> {
        self.state.lock().names.keys().cloned().collect()
    }

    /// How many calls there were.
    pub fn operations(&self) -> u64 {
        self.state.lock().operations
    }

    /// How many syncs, of files and directories, there were.
    pub fn syncs(&self) -> u64 {
        self.state.lock().syncs
    }

    /// How many planned faults have happened.
    pub fn faults_happened(&self) -> u64 {
        self.state.lock().faults_happened
    }

    /// A hash over all calls and their bytes: equal for equal histories.
    pub fn trace_hash(&self) -> u64 {
        self.state.lock().trace
    }
}

impl Disk for SimDisk {
    type File = SimFile;
    type Lock = SimLock;

    fn create_dir(&self, dir: &str) -> Result<(), DiskError> {
        self.state.lock().begin("creation", dir)
    }

    fn create(&self, path: &str) -> Result<SimFile, DiskError> {
        let mut state = self.state.lock();
        state.begin("creation", path)?;
        let inode = state.create(path);
        Ok(self.file(&state, inode, path))
    }

    fn open(&self, path: &str) -> Result<SimFile, DiskError> {
        let mut state = self.state.lock();
        state.begin("opening", path)?;
        let inode = state.find(path)?;
        Ok(self.file(&state, inode, path))
    }

    fn open_to_read(&self, path: &str) -> Result<SimFile, DiskError> {
        self.open(path)
    }

    fn list(&self, dir: &str) -> Result<Vec<String>, DiskError> {
        let mut state = self.state.lock();
        state.begin("listing", dir)?;
        Ok(state.list(dir))
    }

    fn remove(&self, path: &str) -> Result<(), DiskError> {
        let mut state = self.state.lock();
        state.begin("removal", path)?;
        state.remove(path)
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        let mut state = self.state.lock();
        state.begin("renaming", from)?;
        state.rename(from, to)
    }

    fn sync_dir(&self, dir: &str) -> Result<(), DiskError> {
        let mut state = self.state.lock();
        state.begin("sync", dir)?;
        state.sync_dir(dir)
    }

    fn lock(&self, path: &str) -> Result<SimLock, DiskError> {
        let mut state = self.state.lock();
        state.begin("locking", path)?;
        if !state.locks.insert(path.to_owned()) {
            return Err(DiskError::Locked { path: path.to_owned() });
        }
        Ok(SimLock { state: Arc::clone(&self.state), life: state.life, path: path.to_owned() })
    }
}

impl SimDisk {
    fn file(&self, state: &State, inode: usize, path: &str) -> SimFile {
        SimFile { state: Arc::clone(&self.state), life: state.life, inode, path: path.to_owned() }
    }
}

/// A lock on a simulated disk.
pub struct SimLock {
    state: Arc<Mutex<State>>,
    life: u64,
    path: String,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        if state.life == self.life {
            state.locks.remove(&self.path);
        }
    }
}

/// A file of a simulated disk; dead after a crash.
pub struct SimFile {
    state: Arc<Mutex<State>>,
    life: u64,
    inode: usize,
    path: String,
}

impl SimFile {
    fn with<T>(
        &self,
        operation: &'static str,
        act: impl FnOnce(&mut State) -> Result<T, DiskError>,
    ) -> Result<T, DiskError> {
        let mut state = self.state.lock();
        if state.life != self.life {
            let reason = "the file was opened before a crash".to_owned();
            return Err(DiskError::Failed { operation, path: self.path.clone(), reason });
        }
        state.begin(operation, &self.path)?;
        act(&mut state)
    }
}

impl DiskFile for SimFile {
    fn write_at(&self, offset: u64, parts: &[&[u8]]) -> Result<(), DiskError> {
        let bytes = parts.concat();
        let mut state = self.state.lock();
        if state.life != self.life {
            drop(state);
            return self.with("write", |_| Ok(()));
        }
        match state.begin("write", &self.path) {
            Ok(()) => state.write(self.inode, &self.path, offset, bytes),
            Err(error) => {
                state.write_torn(self.inode, offset, bytes);
                Err(error)
            }
        }
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<usize, DiskError> {
        self.with("read", |state| Ok(state.read(self.inode, offset, into)))
    }

    fn sync_data(&self) -> Result<(), DiskError> {
        self.with("sync", |state| state.sync(self.inode, &self.path))
    }

    fn sync_all(&self) -> Result<(), DiskError> {
        self.sync_data()
    }

    fn truncate(&self, len: u64) -> Result<(), DiskError> {
        self.with("truncation", |state| {
            state.set_len(self.inode, len);
            Ok(())
        })
    }

    fn preallocate(&self, len: u64) -> Result<(), DiskError> {
        self.with("reservation of space", |state| state.preallocate(self.inode, &self.path, len))
    }

    fn len(&self) -> Result<u64, DiskError> {
        self.with("inspection", |state| Ok(state.len(self.inode)))
    }
}
