//! What a name server keeps beyond its process: values of administrators, and its settings.
//!
//! Beside a broker they are state records in its log. Alone, the name server has two small files in RocketMQ's own forms,
//! `kvConfig.json` and `namesrv.properties`, each replaced as a whole.

use crate::{retention::Written, state_writer::StateWriter};
use halley_machine::{
    kv_configs::{KvConfigs, KvState, TooMuch},
    namesrv_settings::{BlackListed, NamesrvSettings},
    state::StateRecord,
};
use halley_model::LogOffset;
use halley_store::{
    StageError,
    disk::{Disk, DiskError, RealDisk, RealLock},
    whole_file,
};
use halley_wire::{BodyError, body};
use parking_lot::{Mutex, RwLock};
use std::{collections::BTreeMap, path::PathBuf};

const KV_FILE: &str = "kvConfig.json";
const SETTINGS_FILE: &str = "namesrv.properties";

/// Longest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The tables, and where they are kept.
pub(crate) struct Kept {
    tables: RwLock<KeptTables>,
    place: Place,
}

#[derive(Default)]
struct KeptTables {
    kv: KvConfigs,
    settings: NamesrvSettings,
    /// Counts changes.
    version: u64,
}

enum Place {
    Log(StateWriter),
    Files(Files),
}

struct Files {
    disk: RealDisk,
    /// Keeps a second process out.
    _lock: RealLock,
    /// The version that the files have; held while they are written.
    saved: Mutex<u64>,
}

/// When a change outlives the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keeping {
    /// When the log acknowledged this offset.
    Logged(LogOffset),
    /// After [`Kept::save`].
    Unsaved,
}

/// Why something was not changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChangeError {
    #[error("{0}")]
    TooMuch(#[from] TooMuch),
    #[error("{0}")]
    BlackListed(#[from] BlackListed),
    #[error("{0}")]
    Stage(#[from] StageError),
}

/// Why what a name server kept could not be read.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    /// The directory cannot be used.
    #[error("{0}")]
    Disk(#[from] DiskError),
    /// The KV configuration is not what it should be.
    #[error("{KV_FILE}: {0}")]
    Kv(#[from] BodyError),
    /// The settings are no lines of names and values.
    #[error("{SETTINGS_FILE} is no list of properties")]
    Settings,
}

impl Kept {
    /// Kept in a broker's log, from which it was read.
    pub(crate) fn in_log(kv: KvConfigs, settings: NamesrvSettings, writer: StateWriter) -> Self {
        Self { tables: RwLock::new(KeptTables { kv, settings, version: 0 }), place: Place::Log(writer) }
    }

    /// Kept in files of this directory. Blocks on the disk.
    pub(crate) fn in_files(directory: PathBuf) -> Result<Self, KeptError> {
        let disk = RealDisk::new(directory)?;
        let lock = disk.lock("lock")?;
        let mut tables = KeptTables::default();
        if let Some(bytes) = read(&disk, KV_FILE)? {
            tables.kv = body::kv_configs::decode_file(&bytes)?.into();
        }
        if let Some(bytes) = read(&disk, SETTINGS_FILE)? {
            let mut wanted = body::properties::decode(&bytes).ok_or(KeptError::Settings)?;
            // A file of RocketMQ's has what it cannot change, too.
            wanted.retain(|name, _| tables.settings.list().contains_key(name.as_str()));
            let _ = tables.settings.change(&wanted);
        }
        let files = Files { disk, _lock: lock, saved: Mutex::new(0) };
        Ok(Self { tables: RwLock::new(tables), place: Place::Files(files) })
    }

    /// The settings.
    pub(crate) fn settings(&self) -> NamesrvSettings {
        self.tables.read().settings.clone()
    }

    /// Looks at the values.
    pub(crate) fn kv<T>(&self, look: impl FnOnce(&KvConfigs) -> T) -> T {
        look(&self.tables.read().kv)
    }

    /// Sets or removes a value.
    pub(crate) fn put(&self, state: KvState) -> Result<Keeping, ChangeError> {
        let mut tables = self.tables.write();
        tables.kv.check(&state)?;
        let keeping = self.log(|| StateRecord::kv(state.clone()))?;
        tables.kv.put(state);
        tables.version += 1;
        Ok(keeping)
    }

    /// Changes settings, see [`NamesrvSettings::change`].
    pub(crate) fn change(&self, wanted: &BTreeMap<String, String>) -> Result<Keeping, ChangeError> {
        let mut tables = self.tables.write();
        let mut settings = tables.settings.clone();
        let changed = settings.change(wanted)?;
        let keeping = self.log(|| StateRecord::namesrv_settings(changed))?;
        tables.settings = settings;
        tables.version += 1;
        Ok(keeping)
    }

    /// Writes all there is into the log once more, where the log is the place.
    pub(crate) fn log_all(&self) -> Result<Written, StageError> {
        let Place::Log(writer) = &self.place else { return Ok(Written::default()) };
        let tables = self.tables.read();
        let all = StateRecord::default().with_names(&tables.kv, &tables.settings);
        let mut written = writer.write_pieces(all.kv, |kv| StateRecord { kv, ..StateRecord::default() })?;
        if !all.namesrv_settings.is_empty() {
            written.add(writer.write_counted(&StateRecord::namesrv_settings(all.namesrv_settings))?);
        }
        Ok(written)
    }

    /// Adds all there is to a snapshot of a broker's state.
    pub(crate) fn complete(&self, state: StateRecord) -> StateRecord {
        let tables = self.tables.read();
        state.with_names(&tables.kv, &tables.settings)
    }

    /// The files, where files are the place: what RocketMQ calls `kvConfigPath` and `configStorePath`.
    pub(crate) fn files(&self) -> Option<[(&'static str, &'static str); 2]> {
        match &self.place {
            Place::Log(_) => None,
            Place::Files(_) => Some([("kvConfigPath", KV_FILE), ("configStorePath", SETTINGS_FILE)]),
        }
    }

    /// Brings all changes up to now to the files. Blocks on the disk.
    pub(crate) fn save(&self) -> Result<(), DiskError> {
        let Place::Files(files) = &self.place else { return Ok(()) };
        let mut saved = files.saved.lock();
        let (kv, settings, version) = {
            let tables = self.tables.read();
            let settings = tables.settings.list();
            let lines = settings.iter().map(|(name, value)| (*name, value.as_str()));
            (
                body::kv_configs::encode_file(tables.kv.namespaces()),
                body::properties::encode(lines),
                tables.version,
            )
        };
        if *saved < version {
            whole_file::write(&files.disk, "", KV_FILE, &[&kv])?;
            whole_file::write(&files.disk, "", SETTINGS_FILE, &[&settings])?;
            *saved = version;
        }
        Ok(())
    }

    /// Stages a change in the log while the tables are locked, where the log is the place.
    fn log(&self, record: impl FnOnce() -> StateRecord) -> Result<Keeping, StageError> {
        match &self.place {
            Place::Log(writer) => Ok(Keeping::Logged(writer.write(&record())?)),
            Place::Files(_) => Ok(Keeping::Unsaved),
        }
    }
}

fn read(disk: &RealDisk, path: &str) -> Result<Option<Vec<u8>>, DiskError> {
    match whole_file::read(disk, path, FILE_BYTES_MAX) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(DiskError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_bring_back_what_was_saved() {
        let dir = tempfile::tempdir().unwrap();
        let kept = Kept::in_files(dir.path().to_owned()).unwrap();
        assert_eq!(kept.put(KvState::new("n", "k", Some("ü"))).unwrap(), Keeping::Unsaved);
        let wanted = BTreeMap::from([("orderMessageEnable".to_owned(), "true".to_owned())]);
        kept.change(&wanted).unwrap();
        assert!(kept.change(&BTreeMap::from([("kvConfigPath".to_owned(), String::new())])).is_err());
        kept.save().unwrap();
        kept.put(KvState::new("n", "unsaved", Some("v"))).unwrap();
        assert!(Kept::in_files(dir.path().to_owned()).is_err(), "one process at a time");
        drop(kept);
        let again = Kept::in_files(dir.path().to_owned()).unwrap();
        assert_eq!(again.kv(|kv| kv.get("n", "k").map(str::to_owned)).as_deref(), Some("ü"));
        assert_eq!(again.kv(|kv| kv.get("n", "unsaved").map(str::to_owned)), None);
        assert!(again.settings().order_message_enable);
    }
}
