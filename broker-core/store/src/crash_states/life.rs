//! Short lives of a store whose every disk operation counts.

use super::{
    check::compare,
    recorder::{Image, Promise, Recorder},
};
use crate::{Durability, OpenError, Opened, Options, Placed, disk::Disk, open};
use halley_model::{Millis, RecordBody, RecordView, light, property};
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

pub(super) const NOW: Millis = 1_700_000_000_000;
const HOST: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 10911);

/// The tag of all records, by which they are looked for in the key index.
pub(super) const TAG: &str = "blue";

/// What a life is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Story {
    /// Sends until segments roll, with groups and light queues.
    Sends,
    /// The files beside the log: sidecars, key files, snapshots.
    Views,
    /// Old segments are removed, twice.
    Removal,
    /// The process is killed with much unsynced, and the next one goes on.
    Restart,
}

impl Story {
    pub(super) const ALL: [Self; 4] = [Self::Sends, Self::Views, Self::Removal, Self::Restart];
}

/// A stored record as it must be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) topic: String,
    pub(super) queue: u32,
    pub(super) placed: Placed,
    pub(super) light: Vec<String>,
    pub(super) crc: u32,
}

impl Known {
    pub(super) fn of(record: &RecordView<'_>) -> Self {
        Self {
            topic: record.topic().to_owned(),
            queue: record.queue(),
            placed: Placed { queue_offset: record.queue_offset(), log_offset: record.log_offset() },
            light: light::positions(record).map(|(name, _)| name.to_owned()).collect(),
            crc: crc32fast::hash(record.body()),
        }
    }
}

pub(super) type Group = Vec<Known>;

/// A store, what it was given, and what it promised.
pub(super) struct Life {
    pub(super) recorder: Recorder,
    options: Options,
    pub(super) store: Opened<Recorder>,
    pub(super) groups: Vec<Group>,
    pub(super) promise: Promise,
}

pub(super) fn options(durability: Durability) -> Options {
    let mut options = Options::new(durability, HOST);
    (options.segment_bytes, options.staged_bytes_max, options.tail_bytes) = (4096, 64 << 10, 0);
    options
}

impl Life {
    /// Opens a store on these files; `promise` says what they must hold, and `groups` what they may.
    pub(super) fn begin(
        before: Image,
        options: &Options,
        groups: Vec<Group>,
        promise: Promise,
    ) -> Result<Self, OpenError> {
        let recorder = Recorder::new(before);
        recorder.promise(promise.clone());
        let store = open(Arc::new(recorder.clone()), options.clone(), NOW)?;
        Ok(Self { recorder, options: options.clone(), store, groups, promise })
    }

    /// Lives a whole life.
    pub(super) fn live(story: Story, options: &Options) -> Result<Self, String> {
        let mut life = Self::begin(Image::new(), options, Vec::new(), Promise::default()).map_err(told)?;
        match story {
            Story::Sends => {
                for size in [500, 700, 900, 40] {
                    life.send(&[size])?;
                }
                life.send(&[300, 1400, 20])?;
                life.flush()?;
                for size in [1300, 1500, 800] {
                    life.send(&[size])?;
                }
            }
            Story::Views => {
                for size in [1500, 1400, 1300] {
                    life.send(&[size, 30])?;
                }
                life.flush()?;
                life.snapshot()?;
                life.index_keys()?;
                for size in [1200, 1500, 900] {
                    life.send(&[size])?;
                    life.snapshot()?;
                }
                life.flush()?;
                life.index_keys()?;
            }
            Story::Removal => {
                for size in [1500, 1400, 1600, 1500, 1450, 1550, 1350] {
                    life.send(&[size])?;
                }
                life.flush()?;
                life.index_keys()?;
                life.snapshot()?;
                life.remove_oldest()?;
                life.send(&[1200])?;
                life.flush()?;
                life.remove_oldest()?;
                life.send(&[100])?;
            }
            Story::Restart => {
                for size in [900, 1300, 1000, 1500] {
                    life.send(&[size])?;
                }
                life = life.restarted()?;
                life.send(&[700])?;
                life.flush()?;
                life.remove_oldest()?;
                life = life.restarted()?;
                life.send(&[1100, 60])?;
                life.snapshot()?;
            }
        }
        Ok(life)
    }

    /// What was found by the opening is there for good, and what was not found does not come back.
    pub(super) fn recovered(&mut self) -> Result<(), String> {
        let found = compare(&self.store, &self.groups, &self.promise)?;
        self.groups.truncate(found);
        tell_ends(&self.store, &self.groups);
        self.promise = Promise {
            list: self.promise.list + 1,
            staged: found,
            must: found,
            begin: self.store.reader.start(),
            begin_or: None,
            // One that knew more than the log is gone.
            snapshot: self.promise.snapshot.filter(|at| *at <= self.store.recovery.end),
        };
        self.recorder.promise(self.promise.clone());
        Ok(())
    }

    /// Sends a group of records with bodies of these sizes, and lets the log write it.
    pub(super) fn send(&mut self, sizes: &[usize]) -> Result<(), String> {
        let group = stage(&self.store, self.groups.len(), sizes)?;
        self.groups.push(group);
        self.promise.staged = self.groups.len();
        self.recorder.promise(self.promise.clone());
        self.store.io.run_once(NOW).map_err(told)?;
        self.count();
        Ok(())
    }

    /// Notes what is promised by now.
    pub(super) fn count(&mut self) {
        let end = match self.options.durability {
            Durability::Sync => self.store.log.acked(),
            Durability::Os => self.store.log.durable(),
        };
        let covered = self.groups.partition_point(|group| group[0].placed.log_offset < end);
        self.promise.must = self.promise.must.max(covered);
        self.recorder.promise(self.promise.clone());
    }

    pub(super) fn flush(&mut self) -> Result<(), String> {
        self.store.flusher.flush().map_err(told)?;
        self.count();
        Ok(())
    }

    fn snapshot(&mut self) -> Result<(), String> {
        let at = self.store.log.acked();
        self.store.snapshots.write(at, |out| out.write_all(&at.to_be_bytes())).map_err(told)?;
        self.promise.snapshot = Some(at);
        self.count();
        Ok(())
    }

    fn index_keys(&mut self) -> Result<(), String> {
        self.store.keys.catch_up().map_err(told)?;
        while self.store.keys.tend_one().map_err(told)? {}
        Ok(())
    }

    /// Removes the oldest segment. All queues have records behind it, or are told where they go on after each opening.
    fn remove_oldest(&mut self) -> Result<(), String> {
        let removable = self.store.retention.removable();
        let oldest = removable.first().ok_or("there is nothing to remove")?;
        self.promise.begin_or = Some(oldest.end);
        self.recorder.promise(self.promise.clone());
        self.store.retention.remove_before(oldest.end).map_err(told)?;
        (self.promise.begin, self.promise.begin_or) = (oldest.end, None);
        self.count();
        Ok(())
    }

    /// The process is killed and started again: what it wrote is seen, synced or not.
    fn restarted(self) -> Result<Self, String> {
        let Self { recorder, options, store, groups, mut promise } = self;
        drop(store);
        let store = open(Arc::new(recorder.clone()), options.clone(), NOW).map_err(told)?;
        tell_ends(&store, &groups);
        // Whoever finds it makes it durable first.
        promise.must = groups.len();
        recorder.promise(promise.clone());
        Ok(Self { recorder, options, store, groups, promise })
    }
}

/// Stages a group of records with bodies of these sizes, as the group of this number.
pub(super) fn stage<D: Disk>(store: &Opened<D>, number: usize, sizes: &[usize]) -> Result<Group, String> {
    let bodies: Vec<_> = sizes.iter().enumerate().map(|(at, size)| payload(number * 8 + at, *size)).collect();
    let records: Vec<_> = bodies.iter().enumerate().map(|(at, body)| Sent::new(at, body)).collect();
    let group: Vec<_> = records.iter().map(Sent::record).collect();
    let mut placed = Vec::new();
    let mut staging = store.log.stage(NOW).map_err(told)?;
    staging.append_group(&group, &mut placed).map_err(told)?;
    Ok(records.iter().zip(placed).map(|(sent, placed)| sent.known(placed)).collect())
}

fn payload(number: usize, size: usize) -> Vec<u8> {
    let mut payload = (number as u64).to_be_bytes().to_vec();
    payload.extend((0..size).map(|byte| (byte ^ number).wrapping_mul(31) as u8));
    payload
}

/// A record to be sent.
struct Sent<'a> {
    topic: &'static str,
    queue: u32,
    light: &'static str,
    properties: Vec<u8>,
    body: &'a [u8],
}

impl<'a> Sent<'a> {
    /// The record at this place of its group.
    fn new(at: usize, body: &'a [u8]) -> Self {
        let (topic, queue, light) = [("A", 0, ""), ("B", 1, "%LMQ%a,%LMQ%b"), ("A", 1, "%LMQ%b")][at % 3];
        let mut properties = Vec::new();
        property::push(&mut properties, property::TAGS, TAG);
        if !light.is_empty() {
            property::push(&mut properties, property::MULTI_DISPATCH, light);
        }
        Self { topic, queue, light, properties, body }
    }

    fn record(&self) -> RecordBody<'_> {
        RecordBody {
            topic: self.topic,
            queue: self.queue,
            flag: 0,
            system_flag: 0,
            born: NOW,
            born_host: HOST,
            reconsume_times: 0,
            prepared_offset: 0,
            body: self.body,
            properties: &self.properties,
            dispatched: !self.light.is_empty(),
        }
    }

    fn known(&self, placed: Placed) -> Known {
        Known {
            topic: self.topic.to_owned(),
            queue: self.queue,
            placed,
            light: self.light.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect(),
            crc: crc32fast::hash(self.body),
        }
    }
}

/// Where queues go on, all records counted that were ever stored: what the broker's state would say.
pub(super) fn tell_ends<D: Disk>(store: &Opened<D>, groups: &[Group]) {
    for ((topic, queue), end) in ends(groups) {
        store.log.raise_end(topic, queue, end);
        store.reader.go_on_at(topic, queue, end);
    }
}

/// How long the queues are.
pub(super) fn ends(groups: &[Group]) -> BTreeMap<(&str, u32), u64> {
    let mut ends = BTreeMap::new();
    for known in groups.iter().flatten() {
        *ends.entry((known.topic.as_str(), known.queue)).or_default() += 1;
        for light in &known.light {
            *ends.entry((light, light::QUEUE)).or_default() += 1;
        }
    }
    ends
}

pub(super) fn told(error: impl ToString) -> String {
    error.to_string()
}
