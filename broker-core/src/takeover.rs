//! Taking over a store of RocketMQ's in place.
//!
//! A directory with a `commitlog` is RocketMQ's. Its files stay as they are; Halley's own lie beside them in `halley`. The store
//! reads RocketMQ's records where they are (`halley_store::Foreign`). What RocketMQ kept in other files and in topics of its own
//! becomes state records, once: [`run`] writes them before anybody is served, and last of all that it is done. Until
//! then every start does it again, with the same outcome, since RocketMQ's files do not change. Only
//! messages that wait for a delay level are copied; each copy is staged with how far the copying got.

mod files;
mod under_way;

use crate::{clock, follow::follow, state_writer::StateWriter};
use files::Files;
use halley_machine::{
    delay::{TIMER_TOPIC, Waiting},
    state::{BeginState, StateRecord, Tables},
    taken_over::TakenOver,
};
use halley_model::{QueueOffset, RecordBody, RecordView, TopicName};
use halley_store::{
    Foreign, LogIo, LogReader, Poisoned, ReadError, StageError,
    disk::{Disk, DiskError, RealDisk, RealLock},
};
use halley_takeover::{config::ConfigError, is_internal};
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use under_way::UnderWay;

/// Where Halley's own files lie beside RocketMQ's.
pub(crate) const OWN_DIR: &str = "halley";

/// RocketMQ's log, in its directory.
pub(crate) const LOG_DIR: &str = "commitlog";

/// Most topics, groups or offsets in one state record.
const PER_RECORD: usize = 1_000;

/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_secs(2);

/// A directory that RocketMQ wrote, locked against its broker.
pub(crate) struct JavaStore {
    files: Files,
    own: PathBuf,
    _lock: Option<RealLock>,
}

/// Why a store was not taken over. RocketMQ's files are as they were.
#[derive(Debug, thiserror::Error)]
pub enum TakeoverError {
    /// A file cannot be read, or RocketMQ's broker is running.
    #[error("{0}")]
    Disk(#[from] DiskError),
    /// A file or directory cannot be read.
    #[error("{path}: {reason}", path = .path.display())]
    File {
        /// the file
        path: PathBuf,
        /// why
        reason: String,
    },
    /// A file has something that cannot be used.
    #[error("{path}: {error}", path = .path.display())]
    Config {
        /// the file
        path: PathBuf,
        /// what is wrong
        error: ConfigError,
    },
    /// RocketMQ kept something in a way that Halley does not read.
    #[error("{0}")]
    Refused(String),
    /// The log cannot be read.
    #[error("the log cannot be read: {0}")]
    Read(#[from] ReadError),
    /// The log did not take a record.
    #[error("the log did not take a record: {0}")]
    Stage(#[from] StageError),
    /// The store stopped.
    #[error("{0}")]
    Poisoned(#[from] Poisoned),
}

impl JavaStore {
    /// What RocketMQ wrote in this directory; `None` where it is not RocketMQ's.
    pub(crate) fn find(data: &Path) -> Result<Option<Self>, TakeoverError> {
        if data.join("log").is_dir() {
            return Ok(None);
        }
        let files = Files::new(data);
        if !data.join(LOG_DIR).is_dir() {
            return match files.refuse_without_log() {
                Some(reason) => Err(TakeoverError::Refused(reason)),
                None => Ok(None),
            };
        }
        files.check()?;
        let lock = RealDisk::new(data)?.lock_beside_java("lock")?;
        Ok(Some(Self { files, own: data.join(OWN_DIR), _lock: lock }))
    }

    /// Where Halley's own files lie.
    pub(crate) fn own(&self) -> &Path {
        &self.own
    }

    /// RocketMQ's log as the store in [`JavaStore::own`] reads it.
    pub(crate) fn foreign(&self) -> Foreign {
        Foreign::new(format!("../{LOG_DIR}"), tell)
    }
}

/// Tells how much of RocketMQ's log is read, now and then.
fn tell(done: u64, total: u64) {
    static LAST: Mutex<Option<Instant>> = Mutex::new(None);
    let mut last = LAST.lock();
    let now = Instant::now();
    if last.is_none_or(|last| now - last >= TELL_EVERY) {
        *last = Some(now);
        let (done_mib, total_mib) = (done >> 20, total >> 20);
        tracing::info!(done_mib, total_mib, "reading RocketMQ's log, once");
    }
}

/// Takes over what RocketMQ kept beside its log. `tables` have what the log says so far, and will have everything.
pub(crate) fn run<D: Disk>(
    java: &JavaStore,
    reader: &LogReader<D>,
    io: &mut LogIo<D>,
    writer: StateWriter,
    tables: &mut Tables,
) -> Result<(), TakeoverError> {
    tracing::info!(log_end = reader.foreign_end(), "taking over RocketMQ's topics, groups and offsets");
    let mut takeover = Takeover { files: &java.files, reader, io, writer, tables };
    takeover.refuse_unread()?;
    takeover.settings()?;
    takeover.queues()?;
    let under_way = UnderWay::read(&java.files, reader)?;
    takeover.offsets(&under_way)?;
    takeover.delayed(&under_way)?;
    let (timers, halves) = under_way.ranges();
    tracing::info!(
        topics = takeover.tables.topics.all().len(),
        groups = takeover.tables.groups.all().count(),
        timers = under_way.timers.len(),
        transactions = under_way.halves.len(),
        "RocketMQ's store is taken over"
    );
    for timers in timers {
        takeover.taken_over(TakenOver { timers: vec![timers], ..TakenOver::default() })?;
    }
    for halves in halves {
        takeover.taken_over(TakenOver { halves: vec![halves], ..TakenOver::default() })?;
    }
    takeover.taken_over(TakenOver { done: true, ..TakenOver::default() })?;
    // The copies, too.
    let timers = &mut tables.timers;
    Ok(follow(reader, TIMER_TOPIC, timers.next(), |record| timers.see(Waiting::of(record).timer()))?)
}

struct Takeover<'a, D: Disk> {
    files: &'a Files,
    reader: &'a LogReader<D>,
    io: &'a mut LogIo<D>,
    writer: StateWriter,
    tables: &'a mut Tables,
}

impl<D: Disk> Takeover<'_, D> {
    /// What would be lost silently.
    fn refuse_unread(&self) -> Result<(), TakeoverError> {
        match self.reader.bounds(halley_takeover::ROCKSDB_HALF_TOPIC, 0) {
            Some((min, max)) if min < max => Err(TakeoverError::Refused(
                "the broker kept transactions in RocksDB (transRocksDBEnable), which Halley does not read"
                    .to_owned(),
            )),
            _ => Ok(()),
        }
    }

    fn settings(&mut self) -> Result<(), TakeoverError> {
        let topics = self.files.topics()?;
        for topics in topics.chunks(PER_RECORD) {
            self.say(StateRecord { topics: topics.to_vec(), ..StateRecord::default() })?;
        }
        for mapping in self.files.mappings()? {
            self.say(StateRecord { mappings: vec![mapping], ..StateRecord::default() })?;
        }
        let (groups, forbidden) = self.files.groups()?;
        for groups in groups.chunks(PER_RECORD) {
            self.say(StateRecord { groups: groups.to_vec(), ..StateRecord::default() })?;
        }
        for (group, topics) in &forbidden {
            self.say(StateRecord::forbidden(group, topics))?;
        }
        self.say(StateRecord { kv: self.files.kv()?, ..StateRecord::default() })?;
        let request_modes = self.files.request_modes()?;
        self.say(StateRecord { request_modes, ..StateRecord::default() })
    }

    /// Where queues begin that do not begin with their first record in the log.
    fn queues(&mut self) -> Result<(), TakeoverError> {
        let mut begins: BTreeMap<TopicName, Vec<QueueOffset>> = BTreeMap::new();
        let mut begin = |topic: &str, queue: usize, offset| {
            if let Ok(topic) = TopicName::new(topic) {
                let queues = begins.entry(topic).or_default();
                queues.resize(queues.len().max(queue + 1), 0);
                queues[queue] = offset;
            }
        };
        // Queues whose records were too old, and deleted with their files.
        for (topic, queue, end) in self.files.queue_ends(self.reader.foreign_end())? {
            if !is_internal(&topic) && self.reader.bounds(&topic, queue).is_none() {
                begin(&topic, queue as usize, end);
            }
        }
        // Topics that were deleted: the log has their records until its files are too old.
        for topic in self.reader.topics() {
            if is_internal(&topic)
                || self.tables.topics.get(&topic).is_some()
                || self.files.has_queues(&topic)
            {
                continue;
            }
            for queue in 0..self.reader.queues(&topic) {
                if let Some((_, end)) = self.reader.bounds(&topic, queue) {
                    begin(&topic, queue as usize, end);
                }
            }
        }
        let begins: Vec<_> =
            begins.into_iter().map(|(topic, queues)| BeginState::new(topic, queues)).collect();
        for begins in begins.chunks(PER_RECORD) {
            self.say(StateRecord { begins: begins.to_vec(), ..StateRecord::default() })?;
        }
        Ok(())
    }

    fn offsets(&mut self, under_way: &UnderWay) -> Result<(), TakeoverError> {
        let offsets = under_way.offsets(self.reader, clock::now());
        for some in offsets.chunks(PER_RECORD) {
            self.say(StateRecord::offsets(some.iter().map(|(key, committed)| (key, committed))))?;
        }
        Ok(())
    }

    /// Copies messages that wait for a delay level into the queue in which Halley's messages wait.
    fn delayed(&mut self, under_way: &UnderWay) -> Result<(), TakeoverError> {
        for level in halley_takeover::delayed::levels() {
            let mut next = under_way.delays.get(&level).copied().unwrap_or(0);
            next = next.max(self.tables.takeover.delayed.get(&level).copied().unwrap_or(0));
            loop {
                let records = under_way::some_of_level(self.reader, level, next)?;
                let Some(last) = records.last() else { break };
                next = parse(last)?.queue_offset() + 1;
                self.copy_delayed(level, &records, next)?;
            }
        }
        Ok(())
    }

    fn copy_delayed(
        &mut self,
        level: u8,
        records: &[bytes::Bytes],
        next: QueueOffset,
    ) -> Result<(), TakeoverError> {
        let now = clock::now();
        let delayed = BTreeMap::from([(level, next)]);
        let taken_over = Some(TakenOver { delayed, ..TakenOver::default() });
        let state = StateRecord { taken_over, ..StateRecord::default() };
        let encoded = state.encode();
        let mut properties = vec![Vec::new(); records.len()];
        let mut group = Vec::with_capacity(records.len() + 1);
        for (record, properties) in records.iter().zip(&mut properties) {
            group.extend(halley_takeover::delayed::waiting(&parse(record)?, level, now, properties));
        }
        let writer = self.writer.clone();
        group.push(writer.body(&encoded, now));
        self.store(&group)?;
        state.fold(self.tables);
        Ok(())
    }

    fn taken_over(&mut self, taken_over: TakenOver) -> Result<(), TakeoverError> {
        self.say(StateRecord { taken_over: Some(taken_over), ..StateRecord::default() })
    }

    /// Logs a state record and takes it in.
    fn say(&mut self, record: StateRecord) -> Result<(), TakeoverError> {
        if record == StateRecord::default() {
            return Ok(());
        }
        let encoded = record.encode();
        let writer = self.writer.clone();
        self.store(&[writer.body(&encoded, clock::now())])?;
        record.fold(self.tables);
        Ok(())
    }

    /// Stores records as one group; they are acknowledged when this returns.
    fn store(&mut self, group: &[RecordBody<'_>]) -> Result<(), TakeoverError> {
        const TRIES_MAX: usize = 100;
        let mut tries = 0;
        loop {
            let now = clock::now();
            match self.writer.stage_group(group, now) {
                Err(StageError::NoSegment | StageError::Overloaded { .. }) if tries < TRIES_MAX => tries += 1,
                staged => {
                    staged?;
                    self.io.run_once(now)?;
                    return Ok(());
                }
            }
            self.io.run_once(now)?;
        }
    }
}

fn parse(bytes: &[u8]) -> Result<RecordView<'_>, ReadError> {
    RecordView::parse(bytes).map_err(|error| ReadError::Damaged { at: 0, reason: error.to_string() })
}

#[cfg(test)]
mod tests;
