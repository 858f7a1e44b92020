//! A disk that notes every change, and what was promised by then.

use crate::disk::{Disk, DiskError, DiskFile, SimDisk, SimFile, SimLock};
use halley_model::LogOffset;
use parking_lot::Mutex;
use std::{collections::BTreeMap, sync::Arc};

/// A file, known by the order in which files came into being.
pub(super) type FileId = usize;

/// Files by path.
pub(super) type Image = BTreeMap<String, Vec<u8>>;

/// What the store has promised. Groups are known by their number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Promise {
    /// Which list of groups is meant.
    pub(super) list: usize,
    /// So many groups may be there.
    pub(super) staged: usize,
    /// So many must be there after a power cut.
    pub(super) must: usize,
    /// Where the log begins, or may begin since a removal is under way.
    pub(super) begin: LogOffset,
    pub(super) begin_or: Option<LogOffset>,
    /// The newest snapshot that was written.
    pub(super) snapshot: Option<LogOffset>,
}

/// Something that happened.
#[derive(Debug)]
pub(super) enum Event {
    /// A new file.
    Create { path: String, file: FileId },
    /// Bytes were written.
    Write { file: FileId, offset: u64, bytes: Vec<u8> },
    /// A file was made longer or shorter.
    Length { file: FileId, len: u64 },
    /// A file has another name.
    Rename { from: String, to: String },
    /// A name is gone.
    Remove { path: String },
    /// Contents and length of a file are durable.
    Sync { file: FileId },
    /// The names in a directory are durable.
    SyncDir { dir: String },
    /// From here on this is promised.
    Promise(Promise),
}

/// What happened, in order, to a disk that had these files.
#[derive(Debug, Default)]
pub(super) struct History {
    pub(super) before: Image,
    pub(super) events: Vec<Event>,
    names: BTreeMap<String, FileId>,
    files: usize,
}

/// The recording disk. Clones are the same disk.
#[derive(Clone)]
pub(super) struct Recorder {
    disk: SimDisk,
    history: Arc<Mutex<History>>,
}

impl Recorder {
    /// A disk that has these files, durably.
    pub(super) fn new(before: Image) -> Self {
        let disk = SimDisk::with_files(1, before.clone());
        let names: BTreeMap<_, _> = before.keys().cloned().zip(0..).collect();
        let files = names.len();
        let history = History { before, events: Vec::new(), names, files };
        Self { disk, history: Arc::new(Mutex::new(history)) }
    }

    /// From here on this is promised.
    pub(super) fn promise(&self, promise: Promise) {
        self.history.lock().events.push(Event::Promise(promise));
    }

    /// What happened so far; nothing is left here.
    pub(super) fn take(&self) -> History {
        std::mem::take(&mut *self.history.lock())
    }

    fn file(&self, file: SimFile, id: FileId) -> RecordedFile {
        RecordedFile { file, id, history: Arc::clone(&self.history) }
    }
}

impl Disk for Recorder {
    type File = RecordedFile;
    type Lock = SimLock;

    fn create_dir(&self, dir: &str) -> Result<(), DiskError> {
        self.disk.create_dir(dir)
    }

    fn create(&self, path: &str) -> Result<RecordedFile, DiskError> {
        let file = self.disk.create(path)?;
        let mut history = self.history.lock();
        let known = history.names.get(path).copied();
        let id = known.unwrap_or(history.files);
        if known.is_some() {
            history.events.push(Event::Length { file: id, len: 0 });
        } else {
            history.files += 1;
            history.names.insert(path.to_owned(), id);
            history.events.push(Event::Create { path: path.to_owned(), file: id });
        }
        drop(history);
        Ok(self.file(file, id))
    }

    fn open(&self, path: &str) -> Result<RecordedFile, DiskError> {
        let file = self.disk.open(path)?;
        let id = self.history.lock().names[path];
        Ok(self.file(file, id))
    }

    fn open_to_read(&self, path: &str) -> Result<RecordedFile, DiskError> {
        self.open(path)
    }

    fn list(&self, dir: &str) -> Result<Vec<String>, DiskError> {
        self.disk.list(dir)
    }

    fn remove(&self, path: &str) -> Result<(), DiskError> {
        self.disk.remove(path)?;
        let mut history = self.history.lock();
        history.names.remove(path);
        history.events.push(Event::Remove { path: path.to_owned() });
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        self.disk.rename(from, to)?;
        let mut history = self.history.lock();
        if let Some(id) = history.names.remove(from) {
            history.names.insert(to.to_owned(), id);
        }
        history.events.push(Event::Rename { from: from.to_owned(), to: to.to_owned() });
        Ok(())
    }

    fn sync_dir(&self, dir: &str) -> Result<(), DiskError> {
        self.disk.sync_dir(dir)?;
        self.history.lock().events.push(Event::SyncDir { dir: dir.to_owned() });
        Ok(())
    }

    fn lock(&self, path: &str) -> Result<SimLock, DiskError> {
        self.disk.lock(path)
    }
}

/// A file of a recording disk.
pub(super) struct RecordedFile {
    file: SimFile,
    id: FileId,
    history: Arc<Mutex<History>>,
}

impl RecordedFile {
    fn note(&self, event: Event) {
        self.history.lock().events.push(event);
    }
}

impl DiskFile for RecordedFile {
    fn write_at(&self, offset: u64, parts: &[&[u8]]) -> Result<(), DiskError> {
        self.file.write_at(offset, parts)?;
        self.note(Event::Write { file: self.id, offset, bytes: parts.concat() });
        Ok(())
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<usize, DiskError> {
        self.file.read_at(offset, into)
    }

    fn sync_data(&self) -> Result<(), DiskError> {
        self.file.sync_data()?;
        self.note(Event::Sync { file: self.id });
        Ok(())
    }

    fn sync_all(&self) -> Result<(), DiskError> {
        self.sync_data()
    }

    fn truncate(&self, len: u64) -> Result<(), DiskError> {
        self.file.truncate(len)?;
        self.note(Event::Length { file: self.id, len });
        Ok(())
    }

    fn preallocate(&self, len: u64) -> Result<(), DiskError> {
        let before = self.file.len()?;
        self.file.preallocate(len)?;
        if before < len {
            self.note(Event::Length { file: self.id, len });
        }
        Ok(())
    }

    fn len(&self) -> Result<u64, DiskError> {
        self.file.len()
    }
}
