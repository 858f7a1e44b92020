//! The world of one seed.

use crate::{
    Bug, Coverage, Outcome,
    books::{Books, Id, Place, Violation, violation},
    random::Random,
    target::{self, Answer},
    trace::Trace,
};
use halley_delivery::{
    Backoff, Checkpoint, Cursor, Effect, Fetched, Growth, Input, Jitter, Limits, Machine, Policy, StreamId,
};
use halley_machine::{
    offsets::{Committed, Offsets},
    state::{STATE_TOPIC, StateRecord},
    topics::Topics,
};
use halley_model::{GroupName, LogOffset, Millis, RecordBody, RecordView, TopicName};
use halley_store::{
    Durability, Log, LogIo, LogReader, Opened, Options, StageError,
    disk::{Crash, SimDisk},
};
use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

const TOPIC: &str = "T";
const LETTERS: &str = "%DLQ%target";
const QUEUES: u32 = 3;
const KEYS: u64 = 3;
const STEPS: usize = 300;
const INFLIGHT_MAX: usize = 4;
const START: Millis = 1_700_000_000_000;

pub(crate) struct World {
    random: Random,
    trace: Trace,
    now: Millis,
    bug: Option<Bug>,
    chances: Chances,
    disk: SimDisk,
    durability: Durability,
    store: Option<Store>,
    books: Books,
    coverage: Coverage,
    next_id: Id,
    next_group: u64,
    /// Everything is healed, and the target accepts all.
    healed: bool,
}

/// Which kinds of trouble this seed has, in percent per step (swarm testing: each is off in half of the seeds).
struct Chances {
    crash: u64,
    disk_fault: u64,
    full: u64,
    delivery: u64,
    ordered: bool,
}

/// What lives from one start of the process to its end.
struct Store {
    log: Log,
    io: LogIo<SimDisk>,
    reader: LogReader<SimDisk>,
    offsets: Offsets,
    machine: Machine,
    effects: Vec<Effect>,
    /// Groups that wait for their acknowledgement, by the end they wait for.
    waiting: Vec<(LogOffset, u64)>,
    /// Attempts under way.
    attempts: Vec<(StreamId, u64, Answer)>,
    /// Dead letters that wait for their acknowledgement.
    letters: Vec<(LogOffset, StreamId, u64)>,
    /// Fetches that the machine waits for.
    fetches: Vec<(StreamId, u64, usize)>,
    /// Where the consumer is.
    read: [u64; QUEUES as usize],
}

impl World {
    pub(crate) fn new(seed: u64, bug: Option<Bug>, keep: bool) -> Self {
        let mut random = Random::new(seed);
        let mut chance = |high| if random.percent(50) { 0 } else { random.between(1, high) };
        let chances = Chances {
            crash: chance(8),
            disk_fault: chance(6),
            full: chance(5),
            delivery: 30 + chance(40),
            ordered: chance(2) > 0,
        };
        let durability = if random.percent(65) { Durability::Sync } else { Durability::Os };
        let disk = SimDisk::new(random.next());
        Self {
            random,
            trace: Trace::new(START, keep),
            now: START,
            bug,
            chances,
            disk,
            durability,
            store: None,
            books: Books::default(),
            coverage: Coverage::default(),
            next_id: 1,
            next_group: 1,
            healed: false,
        }
    }

    pub(crate) fn into_outcome(mut self) -> Outcome {
        self.trace.mix(self.disk.trace_hash());
        Outcome { hash: self.trace.hash(), coverage: self.coverage, history: self.trace.into_lines() }
    }

    /// Trouble first, then everything is healed and must come to its end.
    pub(crate) fn run(&mut self) -> Result<(), Violation> {
        self.open()?;
        for _ in 0..STEPS {
            self.step()?;
        }
        self.heal()?;
        for _ in 0..20_000 {
            self.now += 20;
            self.write()?;
            self.deliver()?;
            self.persist();
            if self.is_quiet() {
                break;
            }
        }
        self.check_end()
    }

    fn step(&mut self) -> Result<(), Violation> {
        self.now += self.random.millis(0, 30);
        let roll = self.random.next() % 100;
        if self.random.percent(self.chances.crash) {
            let crash = self.crash_kind();
            return self.crash(crash);
        }
        if self.random.percent(self.chances.disk_fault) {
            self.plan_fault();
        }
        if self.random.percent(self.chances.full) {
            let room = self.random.percent(50).then(|| self.disk.used() + self.random.between(0, 6000));
            self.disk.set_capacity(room);
            self.trace.note(self.now, format_args!("room on the disk: {room:?}"));
        }
        match roll {
            0..40 => self.send(),
            40..70 => self.write()?,
            70..80 => self.read()?,
            80..85 => self.persist(),
            _ => {}
        }
        if self.random.percent(self.chances.delivery) {
            self.deliver()?;
        }
        Ok(())
    }

    /// Under `os` a power cut may take what was acknowledged, so that only kills are tried there.
    fn crash_kind(&mut self) -> Crash {
        if self.durability == Durability::Sync && self.random.percent(60) {
            Crash::PowerCut
        } else {
            Crash::Kill
        }
    }

    fn plan_fault(&mut self) {
        let nth = self.random.between(1, 6);
        match self.random.next() % 3 {
            0 => self.disk.fail_sync(nth),
            1 => self.disk.fail_write(nth),
            _ => self.disk.switch_off_after(nth),
        }
        self.trace.note(self.now, format_args!("a fault is planned at the {nth}th call"));
    }

    /// The process ends, and starts again.
    fn crash(&mut self, crash: Crash) -> Result<(), Violation> {
        match crash {
            Crash::Kill => self.coverage.kills += 1,
            Crash::PowerCut => self.coverage.power_cuts += 1,
        }
        self.trace.note(self.now, format_args!("{crash:?}"));
        self.store = None;
        self.disk.heal();
        self.disk.crash(crash);
        self.open()
    }

    fn open(&mut self) -> Result<(), Violation> {
        let host: SocketAddr = ([127, 0, 0, 1], 10911).into();
        let mut options = Options::new(self.durability, host);
        options.segment_bytes = 4096;
        options.canary = match self.bug {
            Some(Bug::Store(canary)) => Some(canary),
            _ => None,
        };
        let opened = loop {
            match halley_store::open(Arc::new(self.disk.clone()), options.clone(), self.now) {
                Ok(opened) => break opened,
                // There must be room to start; an operator would make some.
                Err(halley_store::OpenError::Disk(error)) if self.disk.used() > 0 => {
                    self.trace.note(self.now, format_args!("cannot open: {error}"));
                    self.disk.set_capacity(None);
                    self.disk.heal();
                    self.disk.crash(Crash::Kill);
                }
                Err(error) => return violation("C1", format!("the store cannot be opened: {error}")),
            }
        };
        let Opened { log, io, reader, recovery, .. } = opened;
        self.trace.note(self.now, format_args!("opened, the log ends at {}", recovery.end));
        let offsets = fold(&reader)?;
        let limits = Limits { inflight_max: INFLIGHT_MAX, ..Limits::default() };
        let mut machine = Machine::new(limits, self.random.next());
        if let Some(Bug::Delivery(canary)) = self.bug {
            machine.plant(canary);
        }
        let mut effects = Vec::new();
        for queue in 0..QUEUES {
            let committed = offsets.get(&group(), &topic(), queue).cloned().unwrap_or_default();
            let cursor = Cursor::decode(committed.offset, &committed.metadata)
                .unwrap_or_else(|_| Cursor::at(committed.offset));
            let input = Input::Open { stream: StreamId(queue), policy: policy(), cursor };
            machine.step(self.now, input, &mut effects);
        }
        self.store = Some(Store {
            log,
            io,
            reader,
            offsets,
            machine,
            effects,
            waiting: Vec::new(),
            attempts: Vec::new(),
            letters: Vec::new(),
            fetches: Vec::new(),
            read: [0; QUEUES as usize],
        });
        Ok(())
    }

    /// Stages a group of messages.
    fn send(&mut self) {
        let count = self.random.between(1, 3);
        let ids: Vec<Id> = (self.next_id..self.next_id + count).collect();
        self.next_id += count;
        let bodies: Vec<_> =
            ids.iter().map(|id| (self.random.next() as u32 % QUEUES, body_of(*id))).collect();
        let records: Vec<_> = bodies.iter().map(|(queue, body)| record(TOPIC, *queue, body)).collect();
        let Some(store) = &mut self.store else { return };
        let mut placed = Vec::new();
        let staged =
            store.log.stage(self.now).and_then(|mut staging| staging.append_group(&records, &mut placed));
        match staged {
            Ok(()) => {
                let group = self.next_group;
                self.next_group += 1;
                let end = placed.last().map_or(0, |last| last.log_offset + 1);
                store.waiting.push((end, group));
                self.books.sent(group, ids);
                self.trace.note(self.now, format_args!("group {group} staged up to {end}"));
            }
            Err(error) => {
                if error == StageError::Full {
                    self.coverage.refused += 1;
                }
                self.trace.note(self.now, format_args!("refused: {error}"));
            }
        }
    }

    /// The log's thread makes one round.
    fn write(&mut self) -> Result<(), Violation> {
        let Some(store) = &mut self.store else { return Ok(()) };
        match store.io.run_once(self.now) {
            Ok(progress) => {
                let acked = progress.acked;
                let done = |end: LogOffset| end <= acked;
                for (_, group) in store.waiting.extract_if(.., |(end, _)| done(*end)) {
                    self.books.acknowledged(group);
                    self.coverage.acknowledged += 1;
                }
                for (_, stream, offset) in store.letters.extract_if(.., |(end, ..)| done(*end)) {
                    self.books.finished.insert((stream.0, offset));
                    self.coverage.dead_lettered += 1;
                    let input = Input::DeadLettered { stream, offset, written: true };
                    store.machine.step(self.now, input, &mut store.effects);
                }
                Ok(())
            }
            Err(poisoned) => {
                self.coverage.disk_faults += 1;
                self.trace.note(self.now, format_args!("{poisoned}"));
                // Readers go on until the process ends: what they see now must not disappear either.
                self.read()?;
                let crash = self.crash_kind();
                self.crash(crash)
            }
        }
    }

    /// The consumer reads on in every queue.
    fn read(&mut self) -> Result<(), Violation> {
        let Some(store) = &mut self.store else { return Ok(()) };
        for queue in 0..QUEUES {
            let at = &mut store.read[queue as usize];
            for (offset, id) in read_queue(&store.reader, queue, *at, 8)? {
                self.books.saw((queue, offset), id)?;
                *at = offset + 1;
            }
        }
        Ok(())
    }

    /// Carries out what the machine wants, and tells it what ended.
    fn deliver(&mut self) -> Result<(), Violation> {
        let Some(store) = &mut self.store else { return Ok(()) };
        store.machine.step(self.now, Input::Tick, &mut store.effects);
        for (stream, from, max) in std::mem::take(&mut store.fetches) {
            let found = read_queue(&store.reader, stream.0, from, max)?;
            if found.is_empty() {
                store.fetches.push((stream, from, max));
                continue;
            }
            let mut next = from;
            let mut records = Vec::new();
            for (offset, id) in found {
                self.books.saw((stream.0, offset), id)?;
                next = offset + 1;
                let key = self.chances.ordered.then(|| key_of(id));
                let fetched = if matches(id) { Fetched::Matched { key } } else { Fetched::Skipped };
                records.push((offset, fetched));
            }
            store.machine.step(self.now, Input::Fetched { stream, records, next }, &mut store.effects);
        }
        let now = self.now;
        for (stream, offset, answer) in store.attempts.extract_if(.., |(.., answer)| answer.at <= now) {
            if answer.has_it {
                let place = (stream.0, offset);
                self.books.finished.insert(place);
                if let Some(id) = self.books.seen.get(&place) {
                    self.books.delivered.insert(*id);
                }
                self.coverage.delivered += 1;
            }
            let input = Input::Outcome { stream, offset, verdict: answer.verdict };
            store.machine.step(now, input, &mut store.effects);
        }
        self.perform()
    }

    fn perform(&mut self) -> Result<(), Violation> {
        loop {
            let Some(store) = &mut self.store else { return Ok(()) };
            let effects = std::mem::take(&mut store.effects);
            if effects.is_empty() {
                return Ok(());
            }
            for effect in effects {
                self.perform_one(effect)?;
            }
        }
    }

    fn perform_one(&mut self, effect: Effect) -> Result<(), Violation> {
        self.trace.note(self.now, format_args!("{effect:?}"));
        let Some(store) = &mut self.store else { return Ok(()) };
        match effect {
            Effect::Fetch { stream, from, max } => store.fetches.push((stream, from, max)),
            Effect::Deliver { stream, offset, .. } => {
                let place = (stream.0, offset);
                check_order(&self.books, self.chances.ordered, place)?;
                if store.attempts.len() >= INFLIGHT_MAX {
                    return violation("in flight", format!("more than {INFLIGHT_MAX} attempts at once"));
                }
                let answer = target::answer(self.now, self.healed, &mut self.random);
                store.attempts.push((stream, offset, answer));
            }
            Effect::DeadLetter { stream, offset, .. } => {
                let body = body_of(self.books.seen.get(&(stream.0, offset)).copied().unwrap_or(0));
                let staged = store.log.stage(self.now).and_then(|mut s| s.append(&record(LETTERS, 0, &body)));
                match staged {
                    Ok(placed) => store.letters.push((placed.log_offset + 1, stream, offset)),
                    Err(_) => {
                        let input = Input::DeadLettered { stream, offset, written: false };
                        store.machine.step(self.now, input, &mut store.effects);
                    }
                }
            }
            Effect::Persist { stream, checkpoint } => {
                check_cursor(&self.books, stream, &checkpoint)?;
                let Checkpoint { offset, metadata } = checkpoint;
                store.offsets.commit((group(), topic(), stream.0), Committed { offset, metadata });
            }
        }
        Ok(())
    }

    /// Logs committed offsets.
    fn persist(&mut self) {
        let Some(store) = &mut self.store else { return };
        let dirty = store.offsets.take_dirty(usize::MAX);
        if dirty.is_empty() {
            return;
        }
        let body = StateRecord::offsets(dirty.iter().map(|(key, committed)| (key, committed))).encode();
        let staged = store.log.stage(self.now).and_then(|mut s| s.append(&record(STATE_TOPIC, 0, &body)));
        if staged.is_err() {
            store.offsets.mark_dirty(dirty.into_iter().map(|(key, _)| key));
        }
    }

    /// All trouble ends; one more crash first, so that what is found comes from the disk.
    fn heal(&mut self) -> Result<(), Violation> {
        self.healed = true;
        self.disk.set_capacity(None);
        let crash = self.crash_kind();
        self.crash(crash)
    }

    fn is_quiet(&self) -> bool {
        let Some(store) = &self.store else { return false };
        let drained = |queue: u32| {
            let end = store.reader.bounds(TOPIC, queue).map_or(0, |(_, max)| max);
            store.machine.backlog(StreamId(queue)).is_some_and(|backlog| backlog.low == end)
        };
        store.waiting.is_empty() && store.letters.is_empty() && (0..QUEUES).all(drained)
    }

    fn check_end(&mut self) -> Result<(), Violation> {
        let Some(store) = &self.store else { return violation("C13", "no store is open".to_owned()) };
        let mut found = BTreeMap::new();
        for queue in 0..QUEUES {
            let (min, max) = store.reader.bounds(TOPIC, queue).unwrap_or((0, 0));
            let records = read_queue(&store.reader, queue, min, usize::MAX)?;
            if min != 0 || records.len() as u64 != max {
                return violation("C4", format!("queue {queue} has {} of {max} records", records.len()));
            }
            found.extend(records.into_iter().map(|(offset, id)| ((queue, offset), id)));
        }
        self.books.check_log(&found)?;
        for (place, id) in &found {
            if matches(*id) && !self.books.finished.contains(place) {
                let what = format!("message {id} at {place:?} was neither delivered nor dead-lettered");
                return violation("C12", what);
            }
            if !matches(*id) && self.books.delivered.contains(id) {
                return violation("C12", format!("message {id} was delivered and does not match"));
            }
        }
        if !self.is_quiet() {
            return violation(
                "C13",
                "deliveries did not come to an end after everything was healed".to_owned(),
            );
        }
        Ok(())
    }
}

/// Events of one key are tried in the log's order, each when its predecessors are finished.
fn check_order(books: &Books, ordered: bool, place: Place) -> Result<(), Violation> {
    let (queue, offset) = place;
    let Some(id) = books.seen.get(&place).filter(|_| ordered) else { return Ok(()) };
    let before = books.seen.range((queue, 0)..place);
    let mut same_key = before.filter(|(_, other)| matches(**other) && key_of(**other) == key_of(*id));
    match same_key.find(|(place, _)| !books.finished.contains(place)) {
        Some((earlier, _)) => violation(
            "order",
            format!("{queue}/{offset} is tried before {earlier:?} of the same key is finished"),
        ),
        None => Ok(()),
    }
}

/// A cursor may pass only what is finished, or does not match.
fn check_cursor(books: &Books, stream: StreamId, checkpoint: &Checkpoint) -> Result<(), Violation> {
    let cursor = Cursor::decode(checkpoint.offset, &checkpoint.metadata);
    let cursor = cursor.or_else(|error| violation("C8", format!("a cursor cannot be read: {error}")))?;
    for (place, id) in books.seen.range((stream.0, 0)..(stream.0, cursor.next)) {
        if matches(*id) && !cursor.open.contains_key(&place.1) && !books.finished.contains(place) {
            return violation("C8", format!("the cursor passes {place:?}, which is not finished"));
        }
    }
    Ok(())
}

/// Messages of a queue, each checked to be what was sent.
fn read_queue(
    reader: &LogReader<SimDisk>,
    queue: u32,
    from: u64,
    max: usize,
) -> Result<Vec<(u64, Id)>, Violation> {
    let failed = |what: String| Violation { check: "C3", what };
    let mut entries = Vec::new();
    // A disk that is switched off cannot be read, which breaks no promise.
    if reader.lookup(TOPIC, queue, from, max, &mut entries).is_err() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        if entry.queue_offset != from + index as u64 {
            return violation("C4", format!("queue {queue} has a gap before {}", entry.queue_offset));
        }
        let Ok(bytes) = reader.read(entry) else { break };
        let record = RecordView::parse(&bytes).map_err(|error| failed(error.to_string()))?;
        let id = record.body().first_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes)).unwrap_or(0);
        let right =
            record.topic() == TOPIC && record.queue() == queue && record.queue_offset() == entry.queue_offset;
        if !right || record.body() != body_of(id) {
            return violation(
                "C3",
                format!("what lies at {queue}/{} is not what was sent", entry.queue_offset),
            );
        }
        found.push((entry.queue_offset, id));
    }
    Ok(found)
}

/// The committed offsets, from the log.
fn fold(reader: &LogReader<SimDisk>) -> Result<Offsets, Violation> {
    let (mut topics, mut offsets) = (Topics::default(), Offsets::default());
    let failed = |what: String| Violation { check: "state", what };
    let mut entries = Vec::new();
    reader.lookup(STATE_TOPIC, 0, 0, usize::MAX, &mut entries).map_err(|error| failed(error.to_string()))?;
    for entry in &entries {
        let bytes = reader.read(entry).map_err(|error| failed(error.to_string()))?;
        let record = RecordView::parse(&bytes).map_err(|error| failed(error.to_string()))?;
        let record = StateRecord::decode(record.body()).map_err(|error| failed(error.to_string()))?;
        record.fold(&mut topics, &mut offsets);
    }
    offsets.clamp(|topic, queue| reader.bounds(topic, queue).map_or(0, |(_, max)| max));
    Ok(offsets)
}

fn policy() -> Arc<Policy> {
    let millis = Duration::from_millis;
    let backoff =
        Backoff { initial: millis(5), max: millis(80), growth: Growth::Exponential, jitter: Jitter::Full };
    Arc::new(Policy {
        attempts_max: 5,
        age_max: Duration::from_secs(60),
        backoff,
        retry_after_max: millis(150),
    })
}

/// A body that tells its message's number, and every bit of which is known.
fn body_of(id: Id) -> Vec<u8> {
    let mut random = Random::new(id);
    let length = random.between(0, 300);
    let mut body = id.to_be_bytes().to_vec();
    body.extend((0..length).map(|_| random.next() as u8));
    body
}

fn matches(id: Id) -> bool {
    !id.is_multiple_of(4)
}

fn key_of(id: Id) -> u32 {
    (id % KEYS) as u32
}

fn record<'a>(topic: &'a str, queue: u32, body: &'a [u8]) -> RecordBody<'a> {
    RecordBody {
        topic,
        queue,
        flag: 0,
        system_flag: 0,
        born: START,
        born_host: ([127, 0, 0, 1], 1).into(),
        reconsume_times: 0,
        prepared_offset: 0,
        body,
        properties: b"TAGS\x01a\x02",
    }
}

fn group() -> GroupName {
    GroupName::new("HALLEY-rule").expect("the name is legal")
}

fn topic() -> TopicName {
    TopicName::new(TOPIC).expect("the name is legal")
}
