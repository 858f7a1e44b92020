//! RocketMQ's files, other than its log.

use super::{LOG_DIR, TakeoverError};
use halley_machine::{kv_configs::KvState, request_modes::RequestMode, state::Forbidden};
use halley_model::{
    GroupConfig, LogOffset, QUEUES_MAX, QueueId, QueueMappingDetail, QueueOffset, TopicConfig,
};
use halley_takeover::{
    config::{self, ConfigError, Offsets},
    consume_queue::{self, ENTRY_BYTES},
    timers,
};
use halley_wire::body::kv_configs;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

/// Directories of brokers that keep their settings in RocksDB (`RocksDBConfigManager`, 5.5).
const ROCKSDB_DIRS: [&str; 4] = ["topics", "subscriptionGroups", "consumerOffsets", "metadata"];

/// Values of a name server (`KVConfigManager`, 5.5).
const NAME_SERVER_FILE: &str = "kvConfig.json";

/// A directory of RocketMQ's.
pub(super) struct Files {
    root: PathBuf,
}

impl Files {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Why this directory is RocketMQ's though it has no log; `None` where it is not.
    pub(super) fn refuse_without_log(&self) -> Option<String> {
        let config = self.root.join("config").join(config::TOPICS);
        config.exists().then(|| {
            format!(
                "{} is a store of RocketMQ's without a {LOG_DIR}: where storePathCommitLog lies elsewhere, link it here; \
                 a log of DLedger cannot be taken over",
                self.root.display()
            )
        })
    }

    /// Refuses what Halley does not read.
    pub(super) fn check(&self) -> Result<(), TakeoverError> {
        let config = self.root.join("config");
        if let Some(dir) = ROCKSDB_DIRS.iter().find(|dir| config.join(dir).is_dir()) {
            return Err(TakeoverError::Refused(format!(
                "{}: the broker kept its settings in RocksDB, which Halley does not read; \
                 start RocketMQ once more with configStorePath as files (mqadmin rocksDBConfigToJson writes them)",
                config.join(dir).display()
            )));
        }
        let pops = self.root.join("kvStore");
        if pops.is_dir() {
            return Err(TakeoverError::Refused(format!(
                "{}: the broker kept POP's progress in RocksDB (popConsumerKVServiceEnable), which Halley does not read",
                pops.display()
            )));
        }
        let is_empty = names(&self.root.join(LOG_DIR))?.is_empty();
        if self.text(config::TOPICS)?.is_none() && !is_empty {
            return Err(TakeoverError::Refused(format!(
                "{} is missing: without it Halley does not know which topics there are",
                config.join(config::TOPICS).display()
            )));
        }
        Ok(())
    }

    pub(super) fn topics(&self) -> Result<Vec<TopicConfig>, TakeoverError> {
        self.read(config::TOPICS, config::topics)
    }

    pub(super) fn mappings(&self) -> Result<Vec<QueueMappingDetail>, TakeoverError> {
        self.read(config::MAPPINGS, config::mappings)
    }

    pub(super) fn groups(&self) -> Result<(Vec<GroupConfig>, Forbidden), TakeoverError> {
        self.read(config::GROUPS, config::groups)
    }

    pub(super) fn request_modes(&self) -> Result<Vec<RequestMode>, TakeoverError> {
        self.read(config::REQUEST_MODES, config::request_modes)
    }

    /// Committed offsets. Where light queues were switched on or off there are two files, and only the one written last is
    /// kept up to date.
    pub(super) fn offsets(&self) -> Result<Offsets, TakeoverError> {
        let written = |name| {
            let of = |name: &str| fs::metadata(self.root.join("config").join(name)).ok()?.modified().ok();
            of(name).max(of(&format!("{name}.bak")))
        };
        let light = written(config::LIGHT_OFFSETS);
        let name = if light.is_some() && light >= written(config::OFFSETS) {
            config::LIGHT_OFFSETS
        } else {
            config::OFFSETS
        };
        self.read(name, config::offsets)
    }

    pub(super) fn delays(&self) -> Result<BTreeMap<u8, QueueOffset>, TakeoverError> {
        self.read(config::DELAYS, config::delays)
    }

    /// What a name server kept, where somebody put its file here.
    pub(super) fn kv(&self) -> Result<Vec<KvState>, TakeoverError> {
        let path = self.root.join(NAME_SERVER_FILE);
        let Some(bytes) = read_if_there(&path)?.filter(|bytes| !bytes.is_empty()) else {
            return Ok(Vec::new());
        };
        let namespaces = kv_configs::decode_file(&bytes)
            .map_err(|error| TakeoverError::Config { path, error: error.into() })?;
        let states = namespaces.iter().flat_map(|(namespace, values)| {
            values.iter().map(|(key, value)| KvState::new(namespace, key, Some(value)))
        });
        Ok(states.collect())
    }

    pub(super) fn timers(&self) -> Result<timers::Checkpoint, TakeoverError> {
        let path = self.root.join("config").join(config::TIMERS);
        Ok(timers::Checkpoint::decode(&read_if_there(&path)?.unwrap_or_default()))
    }

    /// Whether the topic has queues: RocketMQ removes them with the topic.
    pub(super) fn has_queues(&self, topic: &str) -> bool {
        self.root.join("consumequeue").join(topic).is_dir()
    }

    /// How far each queue went, of those that went anywhere; records at `log_end` or behind are lost and do not count.
    pub(super) fn queue_ends(
        &self,
        log_end: LogOffset,
    ) -> Result<Vec<(String, QueueId, QueueOffset)>, TakeoverError> {
        let root = self.root.join("consumequeue");
        let mut ends = Vec::new();
        for topic in names(&root)? {
            for queue in names(&root.join(&topic))? {
                let dir = root.join(&topic).join(&queue);
                let Some(queue) = queue.parse().ok().filter(|queue| *queue < QUEUES_MAX) else { continue };
                let end = queue_end(&dir, log_end)?;
                if end > 0 {
                    ends.push((topic.clone(), queue, end));
                }
            }
        }
        Ok(ends)
    }

    /// A file, or its backup where it is missing, empty or wrong, as `ConfigManager.load` does (5.5); nothing without both.
    fn read<T: Default>(
        &self,
        name: &str,
        decode: impl Fn(&[u8]) -> Result<T, ConfigError>,
    ) -> Result<T, TakeoverError> {
        let path = self.root.join("config").join(name);
        let backup = path.with_file_name(format!("{name}.bak"));
        let mut wrong = None;
        for path in [path, backup] {
            match read_if_there(&path)?.filter(|bytes| !bytes.is_empty()).map(|bytes| decode(&bytes)) {
                None => {}
                Some(Ok(value)) => return Ok(value),
                Some(Err(error)) => wrong = wrong.or(Some(TakeoverError::Config { path, error })),
            }
        }
        wrong.map_or_else(|| Ok(T::default()), Err)
    }

    fn text(&self, name: &str) -> Result<Option<Vec<u8>>, TakeoverError> {
        let path = self.root.join("config").join(name);
        let backup = path.with_file_name(format!("{name}.bak"));
        Ok(read_if_there(&path)?.or(read_if_there(&backup)?).filter(|bytes| !bytes.is_empty()))
    }
}

fn queue_end(dir: &Path, log_end: LogOffset) -> Result<QueueOffset, TakeoverError> {
    let mut files: Vec<(u64, String)> =
        names(dir)?.into_iter().filter_map(|name| Some((name.parse().ok()?, name))).collect();
    files.sort();
    for (base, name) in files.into_iter().rev() {
        let path = dir.join(name);
        let failed = |error: io::Error| file_error(&path, &error);
        let file = File::open(&path).map_err(failed)?;
        let entries = file.metadata().map_err(failed)?.len() / ENTRY_BYTES;
        let end = consume_queue::end_of_file(entries, log_end, |number| {
            let mut entry = [0; ENTRY_BYTES as usize];
            file.read_exact_at(&mut entry, number * ENTRY_BYTES).map(|()| Some(entry))
        });
        let end = end.map_err(failed)?;
        if end > 0 {
            return Ok(consume_queue::offset_at(base, end));
        }
    }
    Ok(0)
}

/// The names in a directory, sorted; none where it does not exist.
fn names(dir: &Path) -> Result<Vec<String>, TakeoverError> {
    let list = match fs::read_dir(dir) {
        Ok(list) => list,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(file_error(dir, &error)),
    };
    let mut names = Vec::new();
    for entry in list {
        let entry = entry.map_err(|error| file_error(dir, &error))?;
        names.extend(entry.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, TakeoverError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(file_error(path, &error)),
    }
}

fn file_error(path: &Path, error: &io::Error) -> TakeoverError {
    TakeoverError::File { path: path.to_owned(), reason: error.to_string() }
}
