//! One life of the process: the store and what lives above it, as the real shell puts them together.

use crate::{
    Bug, ShellBug,
    bridge::TargetShell,
    checker::{Check, Content, Entry, Found, Violation, ensure, violated},
    faults::{Fault, Happened},
    message::{self, Event, Message, Topic},
    recovery,
    scene::{Event as SceneEvent, Inside, Scene},
};
use halley_machine::{
    offsets::{Committed, Key},
    state::{Snapshot, StateRecord, Tables},
};
use halley_model::{GroupName, LogOffset, Millis, QueueId, QueueOffset, RecordView, TopicName};
use halley_store::{IndexEntry, OpenError, Opened, Options, Placed, ReadError, StageError, disk::SimDisk};
use std::{ops::ControlFlow, sync::Arc};

/// State records hold commits of about so many bytes, so that they fit the smallest segment.
const STATE_BYTES_MAX: usize = 2_000;

/// Longest time until a slow disk has written something.
const SLOW_GAP_MAX: Millis = 2_500;

/// The process.
pub(crate) struct Node {
    pub(crate) store: Opened<SimDisk>,
    pub(crate) tables: Tables,
    pub(crate) targets: Vec<TargetShell>,
    pub(crate) streams: Vec<crate::bridge::StreamShell>,
    /// The log's thread was told that there is work.
    log_is_awake: bool,
    rolled: bool,
    /// The store stopped; the process is about to end.
    pub(crate) is_poisoned: bool,
    pub(crate) is_stopping: bool,
    consumer: Vec<QueueOffset>,
    pub(crate) pops: crate::pops::Pops,
    pub(crate) failing: crate::failures::Failing,
    /// What is to be removed from the log's beginning.
    pub(crate) removal: Option<crate::retention::Removal>,
    /// What was moved is in the tables again once the log is acknowledged up to here.
    pub(crate) moved_to: LogOffset,
    /// State in the log says where queues go on whose records lie before this.
    pub(crate) covered: LogOffset,
    /// A snapshot that waits until the log is acknowledged up to this.
    waiting_snapshot: Option<(LogOffset, Vec<u8>)>,
}

/// Why the process did not start.
pub(crate) enum StartError {
    /// The disk failed; the next try may work.
    Disk(String),
    Violation(Violation),
}

impl From<Violation> for StartError {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}

impl Node {
    /// Starts the process: opens the store, checks what is there, and goes on from it.
    pub(crate) fn start(scene: &mut Scene, disk: &SimDisk) -> Result<Self, StartError> {
        let options = options(scene);
        let opened = halley_store::open(Arc::new(disk.clone()), options, scene.now);
        let store = match opened {
            Ok(store) => store,
            Err(OpenError::Disk(error)) => return Err(StartError::Disk(error.to_string())),
            Err(error) => {
                scene.lie_noticed = scene.log.device_lied;
                return violated(Check::NothingLost, error.to_string()).map_err(Into::into);
            }
        };
        // What was planned for the opening does not strike what comes now.
        disk.heal();
        let recovery = &store.recovery;
        scene.trace.note(scene.now, format_args!("open: {recovery:?}"));
        if recovery.cut.is_some() {
            scene.coverage.count(Happened::TailCut);
        }
        if recovery.segments_dropped > 0 {
            scene.coverage.count(Happened::SegmentDropped);
        }
        recovery::check(scene, &store)?;
        let tables = recovery::fold(scene, &store)?;
        let mut node = Self {
            store,
            tables,
            targets: TargetShell::all(scene),
            streams: crate::bridge::StreamShell::all(scene),
            log_is_awake: false,
            rolled: true,
            is_poisoned: false,
            is_stopping: false,
            consumer: Vec::new(),
            pops: crate::pops::Pops::default(),
            failing: crate::failures::Failing::default(),
            removal: None,
            moved_to: 0,
            covered: 0,
            waiting_snapshot: None,
        };
        node.create_topics(scene)?;
        node.open_streams(scene)?;
        node.resume_consumer(scene)?;
        node.resume_pops(scene)?;
        node.resume_failing(scene);
        for (wait, what) in [
            (0, Inside::WriteLog),
            (scene.plan.flush_gap, Inside::Flush),
            (scene.plan.state_gap, Inside::LogOffsets),
            (scene.plan.read_gap, Inside::Read),
            (scene.plan.time_gap, Inside::KeepTime),
        ] {
            scene.inside(wait, what);
        }
        if let Some(gap) = scene.plan.retain_gap {
            scene.inside(gap, Inside::Retain);
        }
        Ok(node)
    }

    /// Sends events for a producer, all or none; whether the log took them.
    pub(crate) fn send(&mut self, scene: &mut Scene, events: &[Event]) -> Result<bool, Violation> {
        let messages: Vec<_> =
            events.iter().map(|event| (event.message(), Content::Event(event.number))).collect();
        match self.append(scene, &messages)? {
            Ok(group) => {
                scene.trace.note(scene.now, format_args!("group {group}: {events:?}"));
                events.iter().for_each(|event| scene.delivery.staged(event));
                Ok(true)
            }
            Err(error) => {
                if error == StageError::Full {
                    scene.coverage.count(Happened::RefusedFull);
                    scene.coverage.strike(Fault::FullDisk);
                }
                scene.trace.note(scene.now, format_args!("refused: {error}"));
                Ok(false)
            }
        }
    }

    /// Stages a group and wakes the log's thread. Gives the group's number.
    pub(crate) fn append(
        &mut self,
        scene: &mut Scene,
        messages: &[(Message, Content)],
    ) -> Result<Result<usize, StageError>, Violation> {
        let topics: Vec<_> = messages.iter().map(|(message, _)| message.topic.name()).collect();
        let bodies: Vec<_> = messages
            .iter()
            .zip(&topics)
            .map(|((message, _), topic)| message.record(topic, scene.now))
            .collect();
        let mut placed: Vec<Placed> = Vec::new();
        let staged = self
            .store
            .log
            .stage(scene.now)
            .and_then(|mut staging| staging.append_group(&bodies, &mut placed));
        if let Err(error) = staged {
            let strange =
                matches!(error, StageError::TooLong { .. } | StageError::Record(_) | StageError::Queue(_));
            ensure(!strange, Check::Liveness, || format!("an ordinary group is refused: {error}"))?;
            return Ok(Err(error));
        }
        let entry = |((message, content), placed): (&(Message, Content), Placed)| Entry {
            topic: message.topic,
            queue: message.queue,
            placed,
            digest: message.digest(),
            content: *content,
        };
        let group = scene.log.staged(messages.iter().zip(placed).map(entry).collect())?;
        if !self.log_is_awake {
            self.log_is_awake = true;
            let is_slow = scene.now < scene.slow_until;
            scene.soon(if is_slow { SLOW_GAP_MAX } else { scene.plan.log_gap_max }, Inside::WriteLog);
        }
        Ok(Ok(group))
    }

    /// The log's thread comes round.
    pub(crate) fn write_log(&mut self, scene: &mut Scene) -> Result<(), Violation> {
        if !std::mem::take(&mut self.log_is_awake) {
            // Its round every second, which also looks for room on a full disk.
            scene.inside(1_000, Inside::WriteLog);
        }
        if self.is_poisoned {
            return Ok(());
        }
        match self.store.io.run_once(scene.now) {
            Ok(progress) => {
                self.rolled |= progress.rolled;
                self.acknowledge(scene)?;
                self.write_snapshot(scene);
                let arrived = progress.arrivals.iter().filter(|a| Topic::parse(&a.topic) == Some(Topic::Bus));
                let queues: Vec<_> = arrived.map(|arrival| arrival.queue).collect();
                self.arrived(scene, &queues);
            }
            Err(error) => self.poisoned(scene, &error.to_string())?,
        }
        Ok(())
    }

    fn acknowledge(&mut self, scene: &mut Scene) -> Result<(), Violation> {
        let groups = scene.watermarks(self.store.log.acked(), self.store.log.durable());
        let (mut letters, mut halves, mut retries) = (Vec::new(), Vec::new(), Vec::new());
        for group in groups {
            for entry in scene.log.group(group) {
                match entry.content {
                    Content::Event(_) => scene.coverage.count(Happened::Acknowledged),
                    Content::Letter { stream, offset } => letters.push((stream, offset)),
                    Content::Retry { topic, queue, offset } => retries.push(((topic, queue), offset)),
                    Content::Half(number) => halves.push((number, entry.placed.queue_offset)),
                    Content::SentBack { .. } | Content::Delayed | Content::Moved | Content::State => {}
                }
            }
        }
        for (place, offset) in retries {
            self.pop_moved(scene, place, offset);
        }
        for (number, offset) in halves {
            // Some producers say nothing until they are asked.
            if scene.random.percent(60) {
                let wait = scene.random.millis(0, 600);
                scene.after(wait, SceneEvent::End { number, offset });
            }
        }
        for (stream, offset) in letters {
            scene.coverage.count(Happened::DeadLettered);
            scene.delivery.lettered(stream, offset);
            self.letter_written(scene, stream, offset, true)?;
        }
        Ok(())
    }

    pub(crate) fn poisoned(&mut self, scene: &mut Scene, reason: &str) -> Result<(), Violation> {
        scene.trace.note(scene.now, format_args!("the store stopped: {reason}"));
        self.is_poisoned = true;
        // Readers go on until the process ends: what they see must not disappear either.
        self.read(scene)?;
        let queues: Vec<_> = (0..scene.plan.queues).collect();
        self.arrived(scene, &queues);
        scene.soon(30, Inside::Exit);
        Ok(())
    }

    /// A round of the background work.
    pub(crate) fn flush(&mut self, scene: &mut Scene) -> Result<(), Violation> {
        scene.inside(scene.plan.flush_gap, Inside::Flush);
        if self.is_poisoned {
            return Ok(());
        }
        if let Err(error) = self.store.flusher.flush() {
            return self.poisoned(scene, &error.to_string());
        }
        scene.watermarks(self.store.log.acked(), self.store.log.durable());
        if std::mem::take(&mut self.rolled) {
            scene.soon(20, Inside::Snapshot);
        }
        Ok(())
    }

    /// Keeps the state as a snapshot. How far it is folded must be asked first, how far the log must reach for it to
    /// be true last, with what is only staged: what the state knows beyond that could be lost while the snapshot stays.
    pub(crate) fn snapshot(&mut self, scene: &mut Scene) {
        let next = self.store.reader.bounds(&Topic::State.name(), 0).map_or(0, |(_, max)| max);
        let mut state =
            StateRecord::everything(&self.tables.topics, &self.tables.groups, &self.tables.offsets);
        // What the state records before `next` say of queues is said here.
        let covered = self.covered.max(self.store.reader.start());
        if covered > 0 {
            state = state.with_ends(self.ends_before(covered));
        }
        let (mut timers, transactions) = (self.tables.timers.clone(), self.tables.transactions.clone());
        if scene.bug == Some(Bug::Shell(ShellBug::TimersNotInSnapshot)) {
            timers.begin_at(timers.next());
        }
        let at = match scene.bug {
            Some(Bug::Shell(ShellBug::CommitsAheadOfLog)) => self.store.log.acked(),
            _ => self.store.log.staged_end(),
        };
        let bytes = serde_json::to_vec(&Snapshot { next, state, timers, transactions })
            .expect("strings and numbers always make JSON");
        self.waiting_snapshot = Some((at, bytes));
        self.write_snapshot(scene);
    }

    fn write_snapshot(&mut self, scene: &mut Scene) {
        let acked = self.store.log.acked();
        if let Some((at, bytes)) = self.waiting_snapshot.take_if(|(at, _)| *at <= acked) {
            let written = self.store.snapshots.write(at, |out| out.write_all(&bytes));
            scene.trace.note(scene.now, format_args!("snapshot at {at}: {written:?}"));
        }
    }

    /// Logs the committed offsets.
    pub(crate) fn log_offsets(&mut self, scene: &mut Scene) -> Result<(), Violation> {
        self.try_log_offsets(scene).map(drop)
    }

    /// The same; whether the log took them all.
    pub(crate) fn try_log_offsets(&mut self, scene: &mut Scene) -> Result<bool, Violation> {
        self.commit_pops(scene)?;
        loop {
            let dirty = self.tables.offsets.take_dirty(STATE_BYTES_MAX);
            if dirty.is_empty() {
                return Ok(true);
            }
            let record = StateRecord::offsets(dirty.iter().map(|(key, committed)| (key, committed)));
            match self.append(scene, &[(Message::state(record.encode()), Content::State)])? {
                Ok(group) => {
                    for (key, _) in &dirty {
                        if let Some(stream) = self.streams.iter().position(|stream| stream.key == *key) {
                            scene.delivery.logged(stream, group);
                        }
                    }
                }
                Err(error) => {
                    scene.trace.note(scene.now, format_args!("offsets not logged: {error}"));
                    self.tables.offsets.mark_dirty(dirty.into_iter().map(|(key, _)| key));
                    return Ok(false);
                }
            }
        }
    }

    /// The consumer reads a few records of each queue, now and then again from further back, and commits.
    pub(crate) fn read(&mut self, scene: &mut Scene) -> Result<(), Violation> {
        for queue in 0..scene.plan.queues {
            let mut from = self.consumer[queue as usize];
            if scene.random.percent(10) {
                from = scene.random.between(0, from);
            }
            // What is removed is not asked for.
            let first = self.store.reader.bounds(&Topic::Bus.name(), queue).map_or(0, |(first, _)| first);
            from = from.max(first);
            let most = scene.random.between(1, 40) as usize;
            let read = self.read_queue(scene, queue, from, most)?;
            scene.trace.note(scene.now, format_args!("read {queue}/{from}: {} records", read.len()));
            let next = from + read.len() as u64;
            self.consumer[queue as usize] = self.consumer[queue as usize].max(next);
            let committed = Committed { offset: self.consumer[queue as usize], metadata: String::new() };
            self.tables.offsets.commit(consumer_key(queue), committed);
        }
        Ok(())
    }

    /// Reads records of the bus, each checked to be what was written there. Fewer where the disk is off.
    pub(crate) fn read_queue(
        &self,
        scene: &mut Scene,
        queue: QueueId,
        from: QueueOffset,
        most: usize,
    ) -> Result<Vec<bytes::Bytes>, Violation> {
        let mut entries = Vec::new();
        let mut records = Vec::new();
        let mut failed = self.store.reader.lookup(&Topic::Bus.name(), queue, from, most, &mut entries).err();
        for (at, entry) in entries.iter().enumerate() {
            ensure(entry.queue_offset == from + at as u64, Check::QueueOrder, || {
                format!("the index of queue {queue} has {entry:?} where {} should be", from + at as u64)
            })?;
            match self.store.reader.read(entry) {
                Ok(bytes) => records.push(bytes),
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        if let Some(error) = failed {
            // A disk that is switched off says so, which breaks no promise.
            let is_off = matches!(error, ReadError::Disk(_));
            scene.lie_noticed |= !is_off && scene.log.device_lied;
            ensure(is_off, Check::ReadsStay, || format!("queue {queue} cannot be read: {error}"))?;
        }
        for (bytes, entry) in records.iter().zip(&entries) {
            let found = parse(bytes, entry).and_then(|record| found(&record));
            let read = found.and_then(|found| scene.log.read(&found, self.store.log.acked()));
            if read.is_err() && scene.log.device_lied {
                // No checksum that a reader sees covers properties; those of the frames do.
                scene.lie_noticed |= self.store.reader.scan(0, |_| ControlFlow::Continue(())).is_err();
            }
            read?;
            scene.coverage.count(Happened::Read);
        }
        Ok(records)
    }

    /// How long the queue is for readers.
    pub(crate) fn queue_end(&self, queue: QueueId) -> QueueOffset {
        self.store.reader.bounds(&Topic::Bus.name(), queue).map_or(0, |(_, max)| max)
    }

    /// Whether nothing waits any more.
    pub(crate) fn is_quiet(&self, scene: &Scene) -> bool {
        let read = (0..scene.plan.queues).all(|queue| self.consumer[queue as usize] >= self.queue_end(queue));
        scene.log.unacknowledged() == 0
            && read
            && self.nothing_waits()
            && self.deliveries_are_quiet()
            && self.pops_are_quiet()
            && self.failures_are_quiet()
    }

    fn create_topics(&mut self, scene: &mut Scene) -> Result<(), Violation> {
        let letters = (0..scene.plan.targets.len()).map(|target| (Topic::DeadLetters(target), 1));
        let retries = scene.plan.pop_gap.map(|_| (Topic::Retries, 1));
        let failures = scene.plan.tries_max.map(|_| [(Topic::Failed, 1), (Topic::GivenUp, 1)]);
        let bus = [(Topic::Bus, scene.plan.queues)].into_iter();
        for (topic, queues) in bus.chain(letters).chain(retries).chain(failures.into_iter().flatten()) {
            let name = topic_name(topic);
            let created = self.tables.topics.ensure(&name, queues);
            let created = created.or_else(|error| violated(Check::Assertion, error.to_string()))?;
            if let Some(config) = created {
                let message = Message::state(StateRecord::topic(&config).encode());
                // A topic whose record is refused is made again by the next start.
                let _ = self.append(scene, &[(message, Content::State)])?;
            }
        }
        Ok(())
    }

    fn resume_consumer(&mut self, scene: &mut Scene) -> Result<(), Violation> {
        for queue in 0..scene.plan.queues {
            let key = consumer_key(queue);
            let at = self.tables.offsets.get(&key.0, &key.1, queue).map_or(0, |committed| committed.offset);
            ensure(at <= self.queue_end(queue), Check::CursorsBehind, || {
                format!("the consumer goes on at {queue}/{at}, beyond the end")
            })?;
            self.consumer.push(at);
        }
        Ok(())
    }
}

fn options(scene: &Scene) -> Options {
    let plan = &scene.plan;
    let mut options = Options::new(plan.durability, message::HOST);
    options.segment_bytes = plan.segment_bytes;
    options.tail_bytes = plan.tail_bytes;
    options.staged_bytes_max = plan.segment_bytes as usize;
    options.canary = match scene.bug {
        Some(Bug::Store(canary)) => Some(canary),
        Some(Bug::Delivery(_) | Bug::Pop(_) | Bug::Shell(_)) | None => None,
    };
    options
}

pub(crate) fn parse<'a>(bytes: &'a [u8], entry: &IndexEntry) -> Result<RecordView<'a>, Violation> {
    RecordView::parse(bytes)
        .or_else(|error| violated(Check::NothingForeign, format!("{entry:?} leads to no record: {error}")))
}

pub(crate) fn found(record: &RecordView<'_>) -> Result<Found, Violation> {
    let Some(topic) = Topic::parse(record.topic()) else {
        return violated(Check::NothingForeign, format!("a record of topic {:?}", record.topic()));
    };
    Ok(Found {
        topic,
        queue: record.queue(),
        queue_offset: record.queue_offset(),
        log_offset: record.log_offset(),
        digest: message::digest(record.body(), record.properties()),
    })
}

pub(crate) fn consumer_key(queue: QueueId) -> Key {
    (GroupName::new("readers").expect("the name is legal"), topic_name(Topic::Bus), queue)
}

pub(crate) fn topic_name(topic: Topic) -> TopicName {
    TopicName::new(&topic.name()).expect("the name is legal")
}
