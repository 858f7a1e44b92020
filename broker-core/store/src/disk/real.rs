//! A directory of the operating system.

// The one place in this crate that may touch files.
#![allow(clippy::disallowed_methods)]

use super::{Disk, DiskError, DiskFile};
use rustix::{
    fs::SeekFrom,
    io::{Errno, ReadWriteFlags},
};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, IoSlice, IoSliceMut},
    ops::Range,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

/// Files below one directory.
#[derive(Debug, Clone)]
pub struct RealDisk {
    root: PathBuf,
}

impl RealDisk {
    /// The directory `root`, made where it does not exist.
    pub fn new(root: impl Into<PathBuf>) -> Result<Self, DiskError> {
        let root = root.into();
        let disk = Self { root };
        disk.create_dir("")?;
        Ok(disk)
    }

    /// Locks a file that exists as RocketMQ's broker locks its own (a POSIX lock of the first byte), so that neither of both
    /// runs while the other does; [`DiskError::Locked`] where it is held. `None` without such a file.
    pub fn lock_beside_java(&self, path: &str) -> Result<Option<RealLock>, DiskError> {
        let file = match OpenOptions::new().read(true).write(true).open(self.at(path)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("opening", path, &error)),
        };
        match rustix::fs::fcntl_lock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(RealLock { _file: file })),
            Err(rustix::io::Errno::ACCESS | rustix::io::Errno::AGAIN) => {
                Err(DiskError::Locked { path: path.to_owned() })
            }
            Err(error) => Err(failed("locking", path, &error.into())),
        }
    }

    fn at(&self, path: &str) -> PathBuf {
        if path.is_empty() { self.root.clone() } else { self.root.join(path) }
    }
}

impl Disk for RealDisk {
    type File = RealFile;
    type Lock = RealLock;

    fn create_dir(&self, dir: &str) -> Result<(), DiskError> {
        let path = self.at(dir);
        let made = first_missing(&path);
        fs::create_dir_all(&path).map_err(|error| failed("creation", dir, &error))?;
        // Each new directory's name lies in its parent, which must be synced for the name to last.
        let mut level = path.as_path();
        while let (Some(first), Some(parent)) = (&made, level.parent()) {
            sync_dir(parent).map_err(|error| failed("sync", dir, &error))?;
            if level == first.as_path() {
                break;
            }
            level = parent;
        }
        Ok(())
    }

    fn create(&self, path: &str) -> Result<RealFile, DiskError> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(self.at(path));
        file.map(|file| RealFile::new(file, path)).map_err(|error| failed("creation", path, &error))
    }

    fn open(&self, path: &str) -> Result<RealFile, DiskError> {
        let file = OpenOptions::new().read(true).write(true).open(self.at(path));
        file.map(|file| RealFile::new(file, path)).map_err(|error| failed("opening", path, &error))
    }

    fn open_to_read(&self, path: &str) -> Result<RealFile, DiskError> {
        let file = OpenOptions::new().read(true).open(self.at(path));
        file.map(|file| RealFile::new(file, path)).map_err(|error| failed("opening", path, &error))
    }

    fn list(&self, dir: &str) -> Result<Vec<String>, DiskError> {
        let list = || -> io::Result<Vec<String>> {
            let mut names = Vec::new();
            for entry in fs::read_dir(self.at(dir))? {
                let entry = entry?;
                if entry.file_type()?.is_file()
                    && let Ok(name) = entry.file_name().into_string()
                {
                    names.push(name);
                }
            }
            names.sort_unstable();
            Ok(names)
        };
        list().map_err(|error| failed("listing", dir, &error))
    }

    fn remove(&self, path: &str) -> Result<(), DiskError> {
        fs::remove_file(self.at(path)).map_err(|error| failed("removal", path, &error))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        fs::rename(self.at(from), self.at(to)).map_err(|error| failed("renaming", from, &error))
    }

    fn sync_dir(&self, dir: &str) -> Result<(), DiskError> {
        sync_dir(&self.at(dir)).map_err(|error| failed("sync", dir, &error))
    }

    fn lock(&self, path: &str) -> Result<RealLock, DiskError> {
        let file = self.create(path)?.file;
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(RealLock { _file: file }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(DiskError::Locked { path: path.to_owned() }),
            Err(error) => Err(failed("locking", path, &error.into())),
        }
    }
}

/// The first directory on the way to `path` that does not exist yet.
fn first_missing(path: &Path) -> Option<PathBuf> {
    path.ancestors()
        .filter(|level| !level.as_os_str().is_empty())
        .take_while(|level| !level.exists())
        .last()
        .map(Path::to_owned)
}

fn sync_dir(path: &Path) -> io::Result<()> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    File::open(path)?.sync_all()
}

/// A `flock` on a file, let go when dropped or when the process ends.
#[derive(Debug)]
pub struct RealLock {
    _file: File,
}

/// A file of the operating system.
#[derive(Debug)]
pub struct RealFile {
    file: File,
    path: String,
    /// Whether the system cannot read past its cache.
    only_cached: AtomicBool,
}

/// How many slices one `pwritev` may take (`IOV_MAX` on Linux).
const SLICES_MAX: usize = 1024;

/// `RWF_DONTCACHE` (Linux 6.14, ext4, XFS and others): pages that a read brings into the cache leave it again, those that were
/// there stay.
const UNCACHED: ReadWriteFlags = ReadWriteFlags::from_bits_retain(0x80);

impl DiskFile for RealFile {
    fn write_at(&self, mut offset: u64, parts: &[&[u8]]) -> Result<(), DiskError> {
        for some in parts.chunks(SLICES_MAX) {
            let mut slices: Vec<IoSlice<'_>> =
                some.iter().filter(|part| !part.is_empty()).map(|part| IoSlice::new(part)).collect();
            let mut rest = slices.as_mut_slice();
            while !rest.is_empty() {
                match rustix::io::pwritev(&self.file, rest, offset) {
                    Ok(0) => return Err(failed("write", &self.path, &io::ErrorKind::WriteZero.into())),
                    Ok(written) => {
                        offset += written as u64;
                        IoSlice::advance_slices(&mut rest, written);
                    }
                    Err(Errno::INTR) => {}
                    Err(error) => return Err(failed("write", &self.path, &error.into())),
                }
            }
        }
        Ok(())
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<usize, DiskError> {
        let mut read = 0;
        while read < into.len() {
            match self.file.read_at(&mut into[read..], offset + read as u64) {
                Ok(0) => break,
                Ok(some) => read += some,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed("read", &self.path, &error)),
            }
        }
        Ok(read)
    }

    fn read_once_at(&self, offset: u64, into: &mut [u8]) -> Result<usize, DiskError> {
        let mut read = 0;
        while read < into.len() && !self.only_cached.load(Ordering::Relaxed) {
            let parts = &mut [IoSliceMut::new(&mut into[read..])];
            match rustix::io::preadv2(&self.file, parts, offset + read as u64, UNCACHED) {
                Ok(0) => return Ok(read),
                Ok(some) => read += some,
                Err(Errno::INTR) => {}
                // Not this kernel, or not this file system. What else is wrong shows in the ordinary read.
                Err(_) => self.only_cached.store(true, Ordering::Relaxed),
            }
        }
        Ok(read + self.read_at(offset + read as u64, &mut into[read..])?)
    }

    fn sync_data(&self) -> Result<(), DiskError> {
        self.file.sync_data().map_err(|error| failed("sync", &self.path, &error))
    }

    fn sync_all(&self) -> Result<(), DiskError> {
        self.file.sync_all().map_err(|error| failed("sync", &self.path, &error))
    }

    fn truncate(&self, len: u64) -> Result<(), DiskError> {
        self.file.set_len(len).map_err(|error| failed("truncation", &self.path, &error))
    }

    fn preallocate(&self, len: u64) -> Result<(), DiskError> {
        if len == 0 {
            return Ok(());
        }
        loop {
            match rustix::fs::fallocate(&self.file, rustix::fs::FallocateFlags::empty(), 0, len) {
                Ok(()) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(rustix::io::Errno::OPNOTSUPP) => return self.fill(len),
                Err(error) => return Err(failed("reservation of space", &self.path, &error.into())),
            }
        }
    }

    fn len(&self) -> Result<u64, DiskError> {
        match self.file.metadata() {
            Ok(metadata) => Ok(metadata.len()),
            Err(error) => Err(failed("inspection", &self.path, &error)),
        }
    }

    fn written(&self, from: u64) -> Result<Vec<Range<u64>>, DiskError> {
        let mut stretches = Vec::new();
        let mut at = from;
        while let Some(begin) = self.seek(SeekFrom::Data(at), at)? {
            let end = self.seek(SeekFrom::Hole(begin), u64::MAX)?.unwrap_or(u64::MAX).min(self.len()?);
            if end <= begin {
                break;
            }
            stretches.push(begin..end);
            at = end;
        }
        Ok(stretches)
    }
}

impl RealFile {
    fn new(file: File, path: &str) -> Self {
        Self { file, path: path.to_owned(), only_cached: AtomicBool::new(false) }
    }

    /// Where `to` leads, `None` where there is nothing such, `otherwise` where the file system does not know. Reads and writes
    /// name their place: where the file's own position is does not matter.
    fn seek(&self, to: SeekFrom, otherwise: u64) -> Result<Option<u64>, DiskError> {
        match rustix::fs::seek(&self.file, to) {
            Ok(at) => Ok(Some(at)),
            Err(Errno::NXIO) => Ok(None),
            Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(Some(otherwise)),
            Err(error) => Err(failed("inspection", &self.path, &error.into())),
        }
    }

    /// Reserves space where the file system cannot: by writing zeros.
    fn fill(&self, len: u64) -> Result<(), DiskError> {
        const ZEROS: &[u8] = &[0; 1 << 16];
        let mut at = self.len()?;
        while at < len {
            let part = ZEROS.len().min(usize::try_from(len - at).unwrap_or(usize::MAX));
            self.write_at(at, &[&ZEROS[..part]])?;
            at += part as u64;
        }
        Ok(())
    }
}

fn failed(operation: &'static str, path: &str, error: &io::Error) -> DiskError {
    // Of the directory itself.
    let path = if path.is_empty() { "." } else { path }.to_owned();
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => DiskError::Full { path },
        io::ErrorKind::NotFound => DiskError::NotFound { path },
        _ => DiskError::Failed { operation, path, reason: error.to_string() },
    }
}
