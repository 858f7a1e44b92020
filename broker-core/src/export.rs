//! The way back: a directory on which a broker of RocketMQ 5.5 starts, written from a store that no server has open.
//!
//! The records of all topics are copied in the order of the log, each with its new physical offset, and with the same queue
//! offset; consume queues lead to them. What waits (delayed messages, open transactions, popped messages) is stored again
//! behind them in the topics in which RocketMQ looks for it. Committed offsets, topics and groups become the files in
//! `config/`. A file `abort` makes the broker read the newest files of the log at its first start, and so index their keys.
//!
//! The log begins with the second file: what lies before it counts as deleted. So a queue that begins later than at 0, or has
//! no records any more, has entries that lead there.

mod consume_queues;
mod log_files;
mod under_way;

use crate::{
    broker::{SEGMENT_BYTES, StartError},
    identity::Identity,
    opening::{Missing, OpenStore, open_store},
};
use consume_queues::ConsumeQueues;
use halley_machine::{
    pop::PopQueue,
    state::{STATE_TOPIC, Tables},
    transactions::CheckPolicy,
};
use halley_model::{DataVersion, LogOffset, QueueId, QueueOffset, RecordView, light};
use halley_store::{Durability, LogReader, ReadError, disk::RealDisk};
use halley_takeover::{config, is_internal};
use halley_wire::{
    body::{
        assignment, group_config::AllGroupConfigs, progress, static_topic::AllMappings,
        topic_config::AllTopicConfigs,
    },
    request::{RequestMode, SetMessageRequestMode},
};
use log_files::LogFiles;
use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    ops::ControlFlow,
    path::{Path, PathBuf},
};

/// What to write.
#[derive(Debug, Clone)]
pub struct Options {
    /// The directory of the store.
    pub data: PathBuf,
    /// The directory to write, which does not exist or is empty.
    pub out: PathBuf,
    /// The cluster's name.
    pub cluster: String,
    /// The broker's name.
    pub name: String,
    /// Bytes of a file of RocketMQ's log (`mappedFileSizeCommitLog`); the broker refuses files of another size.
    pub file_bytes: u64,
}

/// What was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    /// Messages of topics.
    pub messages: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Topics.
    pub topics: u64,
    /// Groups.
    pub groups: u64,
    /// Committed offsets.
    pub offsets: u64,
    /// Messages that wait for their time.
    pub timers: u64,
    /// Transactions that are open.
    pub transactions: u64,
    /// Popped messages that are not acknowledged.
    pub in_flight: u64,
}

/// Why nothing useful was written.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The store cannot be opened; a server may have it open.
    #[error("{0}")]
    Open(#[from] Box<StartError>),
    /// The directory to write is not empty.
    #[error("{path} is not empty: name a directory that is new", path = .0.display())]
    NotEmpty(PathBuf),
    /// The store cannot be read.
    #[error("{0}")]
    Read(#[from] ReadError),
    /// A file cannot be written.
    #[error("{path}: {error}", path = .path.display())]
    Write {
        /// the file
        path: PathBuf,
        /// why
        error: io::Error,
    },
    /// A message does not fit a file of RocketMQ's log.
    #[error("a message of {bytes} bytes does not fit into a log file of {max}")]
    TooLong {
        /// its bytes
        bytes: usize,
        /// the file's
        max: u64,
    },
}

/// Writes the directory. `progress` is called now and then with how many bytes of the log are done, and of how many. Blocks on the
/// disk.
pub fn to_rocketmq(options: &Options, progress: &mut dyn FnMut(u64, u64)) -> Result<Report, ExportError> {
    let is_empty = match fs::read_dir(&options.out) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        Err(error) => return Err(write_error(&options.out, error)),
    };
    if !is_empty {
        return Err(ExportError::NotEmpty(options.out.clone()));
    }
    let identity = Identity {
        cluster: options.cluster.as_str().into(),
        name: options.name.as_str().into(),
        id: 0,
        address: ([127, 0, 0, 1], 10911).into(),
    };
    let checks = CheckPolicy::default();
    let OpenStore { opened, java: _java, tables, .. } =
        open_store(&options.data, (Durability::Os, SEGMENT_BYTES), &identity, &checks, Missing::Refuse)
            .map_err(Box::new)?;
    let mut export = Export::new(options, &opened.reader)?;
    export.messages(progress)?;
    export.under_way(&tables)?;
    export.config(&tables)?;
    let Export { log, queues, report, .. } = export;
    log.finish()?;
    queues.finish()?;
    // Last: without it the broker would think that everything is as it left it.
    write_file(&options.out.join("abort"), b"")?;
    Ok(report)
}

struct Export<'a> {
    options: &'a Options,
    reader: &'a LogReader<RealDisk>,
    log: LogFiles,
    queues: ConsumeQueues,
    report: Report,
}

impl<'a> Export<'a> {
    fn new(options: &'a Options, reader: &'a LogReader<RealDisk>) -> Result<Self, ExportError> {
        let log = LogFiles::new(&options.out.join("commitlog"), options.file_bytes)?;
        let queues = ConsumeQueues::new(options.out.join("consumequeue"));
        Ok(Self { options, reader, log, queues, report: Report::default() })
    }

    /// Copies the records of all topics, and lets queues without any go on where they are.
    fn messages(&mut self, progress: &mut dyn FnMut(u64, u64)) -> Result<(), ExportError> {
        let (start, end) = (self.reader.start(), self.reader.end());
        let mut failed = None;
        let mut told = start;
        let reader = self.reader.clone();
        reader.scan(start, |record| {
            if record.log_offset() - told >= TELL_BYTES {
                told = record.log_offset();
                progress(told - start, end - start);
            }
            match self.message(record) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        progress(end - start, end - start);
        for topic in self.reader.topics().iter().filter(|topic| !is_left_out(topic)) {
            for queue in 0..self.reader.queues(topic) {
                if let Some((min, max)) = self.reader.bounds(topic, queue)
                    && min == max
                {
                    self.queues.only_end(topic, queue, max)?;
                }
            }
        }
        Ok(())
    }

    fn message(&mut self, record: &RecordView<'_>) -> Result<(), ExportError> {
        if is_left_out(record.topic()) {
            return Ok(());
        }
        let min = self.reader.bounds(record.topic(), record.queue()).map_or(0, |(min, _)| min);
        if record.queue_offset() < min {
            return Ok(());
        }
        // Of a topic that was deleted and made anew RocketMQ's log may have both.
        if record.log_offset() < self.reader.foreign_end() && !self.reader.is_indexed(record)? {
            return Ok(());
        }
        self.report.messages += 1;
        self.report.bytes += record.total_len() as u64;
        let at = self.copy(record.bytes(), record)?;
        let is_foreign = record.log_offset() < self.reader.foreign_end();
        let of_rocketmq = light::positions_of_rocketmq(record).filter_map(Result::ok).filter(|_| is_foreign);
        for (name, offset) in light::positions(record).filter(|_| !is_foreign).chain(of_rocketmq) {
            let place = (name, light::QUEUE, offset);
            if self.reader.is_indexed_at(record, place)? {
                self.queues.add(place, record, at)?;
            }
        }
        Ok(())
    }

    /// Writes a record and the entry of its queue; where it lies.
    fn copy(&mut self, bytes: &[u8], record: &RecordView<'_>) -> Result<LogOffset, ExportError> {
        let at = self.log.append(bytes)?;
        self.queues.add((record.topic(), record.queue(), record.queue_offset()), record, at)?;
        Ok(at)
    }

    fn config(&mut self, tables: &Tables) -> Result<(), ExportError> {
        let dir = self.options.out.join("config");
        let version = DataVersion { counter: 1, ..DataVersion::default() };
        let topics = tables.topics.all();
        let topics: Vec<_> = topics.iter().filter(|topic| !is_internal(&topic.name)).collect();
        self.report.topics = topics.len() as u64;
        let body = AllTopicConfigs::new(version, topics.iter().map(|topic| &***topic)).encode();
        write_file(&dir.join(config::TOPICS), &body)?;
        let mappings = tables.mappings.clone().into_all();
        let mappings = AllMappings {
            data_version: version,
            topic_queue_mapping_info_map: mappings
                .map(|(topic, detail)| (topic.to_string(), detail))
                .collect(),
        };
        if !mappings.topic_queue_mapping_info_map.is_empty() {
            write_file(&dir.join(config::MAPPINGS), &mappings.encode())?;
        }
        let groups = AllGroupConfigs {
            data_version: version,
            forbidden_table: tables
                .forbidden
                .iter()
                .map(|(group, topics)| (group.to_string(), topics.clone()))
                .collect(),
            subscription_group_table: tables
                .groups
                .all()
                .map(|group| (group.name.to_string(), (&**group).into()))
                .collect(),
        };
        self.report.groups = groups.subscription_group_table.len() as u64;
        write_file(&dir.join(config::GROUPS), &groups.encode())?;
        let modes = tables.request_modes.all().map(|mode| SetMessageRequestMode {
            topic: mode.topic.to_string(),
            consumer_group: mode.group.to_string(),
            mode: if mode.pop { RequestMode::Pop } else { RequestMode::Pull },
            pop_share_queue_num: mode.share,
        });
        let modes: Vec<_> = modes.collect();
        if !modes.is_empty() {
            write_file(&dir.join(config::REQUEST_MODES), &assignment::encode_modes(&modes))?;
        }
        let mut offsets: progress::Offsets = BTreeMap::new();
        for ((group, topic, queue), committed) in tables.offsets.iter() {
            // RocketMQ reads on where a pop ended, and finds what is in flight by its checkpoints.
            let next = PopQueue::restore(committed.offset, &committed.metadata)
                .map_or(committed.offset, |popped| popped.next());
            let queues = offsets.entry((topic.to_string(), group.to_string())).or_default();
            queues.insert(u64::from(*queue), next as i64);
            self.report.offsets += 1;
        }
        let offsets = progress::encode_all_offsets(version, &offsets);
        if self.reader.light_queues() > 0 {
            // A broker with light queues reads only this one.
            write_file(&dir.join(config::LIGHT_OFFSETS), &offsets)?;
        }
        write_file(&dir.join(config::OFFSETS), &offsets)
    }
}

/// How many bytes of the log lie between two calls of `progress`.
const TELL_BYTES: u64 = 8 << 20;

/// Whether a topic's records are not copied: Halley's state, and what is stored again in another form.
fn is_left_out(topic: &str) -> bool {
    topic == STATE_TOPIC || is_internal(topic)
}

/// The end of a queue whose records are all written here.
type Ends = BTreeMap<(String, QueueId), QueueOffset>;

fn write_file(path: &Path, bytes: &[u8]) -> Result<(), ExportError> {
    let write = || {
        fs::create_dir_all(path.parent().unwrap_or(path))?;
        let mut file = fs::File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(|error| write_error(path, error))
}

fn write_error(path: &Path, error: io::Error) -> ExportError {
    ExportError::Write { path: path.to_owned(), error }
}
