//! Random histories with crashes and faults, against a model that is a list of groups.
//!
//! What is checked after each crash: the log is a prefix of what was staged, made of whole groups, each record in its
//! promised place; nothing acknowledged (or said to be durable) is missing; nothing once cut off comes back; the index is
//! exactly what the log says. And at all times: what readers see is what was acknowledged.

use super::*;
use crate::{
    OpenError, RemoveError,
    disk::{Crash, DiskError},
};
use halley_model::{light, property};
use proptest::{prelude::*, test_runner::Config};
use std::{collections::BTreeMap, ops::ControlFlow};

#[derive(Debug, Clone)]
enum Action {
    /// Topic, queue, length and, by bits, light queues of each record.
    Stage(Vec<(u8, u8, u16, u8)>),
    /// What is staged from now on asks for this, or for what the store is set to.
    Ask(Option<Durability>),
    Run,
    Flush,
    Snapshot,
    Crash(bool),
    CrashWhileOpening(u8),
    SwitchOff(u8),
    FailSync(u8),
    FailWrite(u8),
    Capacity(Option<u16>),
    /// Removes old segments, so many of those that can go.
    Remove(u8),
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    prop_oneof![3 => varied_actions(), 1 => equal_actions()]
}

/// Frames of one size: what an earlier life left behind then lies exactly where a later frame ends.
fn equal_actions() -> impl Strategy<Value = Vec<Action>> {
    let action = prop_oneof![
        4 => Just(Action::Stage(vec![(0, 0, 600, 0)])),
        4 => Just(Action::Run),
        1 => Just(Action::Flush),
        1 => (0u8..4).prop_map(Action::Remove),
        2 => any::<bool>().prop_map(Action::Crash),
    ];
    prop::collection::vec(action, 1..40)
}

fn varied_actions() -> impl Strategy<Value = Vec<Action>> {
    let light = prop_oneof![3 => Just(0u8), 1 => 0u8..16];
    let record = (0u8..3, 0u8..3, prop_oneof![0u16..40, 0u16..900], light);
    let action = prop_oneof![
        12 => prop::collection::vec(record, 1..4).prop_map(Action::Stage),
        2 => proptest::option::of(durabilities()).prop_map(Action::Ask),
        10 => Just(Action::Run),
        2 => Just(Action::Flush),
        1 => Just(Action::Snapshot),
        2 => any::<bool>().prop_map(Action::Crash),
        1 => (1u8..40).prop_map(Action::CrashWhileOpening),
        1 => (1u8..20).prop_map(Action::SwitchOff),
        1 => (1u8..6).prop_map(Action::FailSync),
        1 => (1u8..4).prop_map(Action::FailWrite),
        1 => proptest::option::of(0u16..20_000).prop_map(Action::Capacity),
        2 => (0u8..4).prop_map(Action::Remove),
    ];
    prop::collection::vec(action, 1..80)
}

fn durabilities() -> impl Strategy<Value = Durability> {
    prop_oneof![Just(Durability::Os), Just(Durability::Sync)]
}

proptest! {
    #![proptest_config(Config { cases: 256, max_shrink_iters: 2_000, failure_persistence: None, ..Config::default() })]

    #[test]
    fn no_history_breaks_a_promise(seed: u64, durability in durabilities(), actions in actions()) {
        run(seed, small(durability), &actions);
    }

    #[test]
    fn one_seed_gives_one_history(seed: u64, actions in actions()) {
        let first = run(seed, small(Durability::Sync), &actions);
        prop_assert_eq!(first, run(seed, small(Durability::Sync), &actions));
    }
}

/// Killed between the begin mark's new name and its sync, then the power fails while the next process removes what lies before it.
#[test]
fn a_begin_mark_is_durable_before_it_is_believed() {
    use Action::{Crash, FailSync, Flush, Remove, Run, Snapshot, Stage, SwitchOff};
    let one = |bytes| Stage(vec![(0, 0, bytes, 0)]);
    let actions = [
        one(649),
        Stage(vec![(0, 0, 148, 0), (0, 0, 28, 3), (0, 0, 691, 0)]),
        Stage(vec![(0, 0, 700, 1), (0, 0, 815, 0), (0, 0, 28, 0)]),
        Run,
        FailSync(1),
        Run,
        one(0),
        Snapshot,
        one(0),
        Crash(true),
        one(46),
        one(0),
        Stage(vec![(0, 0, 678, 0), (0, 0, 677, 0), (0, 0, 58, 0)]),
        Stage(vec![(0, 0, 234, 3)]),
        Stage(vec![(0, 0, 9, 3), (0, 0, 312, 0)]),
        Stage(vec![(0, 0, 245, 0), (0, 0, 187, 0)]),
        Run,
        Flush,
        Crash(false),
        Stage(vec![(0, 0, 35, 1), (0, 0, 0, 0), (0, 0, 0, 5)]),
        SwitchOff(15),
        Run,
        Remove(0),
        Crash(false),
    ];
    run(12_059_621_499_590_221_649, small(Durability::Sync), &actions);
}

/// Plays a history to its end. Gives a hash of everything that the disk saw.
fn run(seed: u64, options: Options, actions: &[Action]) -> u64 {
    let mut world = World::new(seed, options);
    for action in actions {
        world.now += 1_500;
        world.act(action);
    }
    world.disk.heal();
    world.disk.set_capacity(None);
    world.crash(if seed.is_multiple_of(2) { Crash::Kill } else { Crash::PowerCut });
    world.reopen();
    // Whatever happened, a healthy disk is all that is needed to go on.
    world.stage(&[(0, 0, 100, 0), (1, 1, 100, 3)]);
    world.run();
    assert_eq!(world.acked, world.groups.len(), "a healthy store acknowledges");
    world.disk.trace_hash()
}

/// A stored record as the model knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    number: u64,
    topic: String,
    queue: u32,
    placed: Placed,
    light: Vec<String>,
}

/// Which of three light queues these bits name.
fn light_queues(bits: u8) -> impl Iterator<Item = &'static str> {
    ["%LMQ%a", "%LMQ%b", "%LMQ%c"]
        .into_iter()
        .enumerate()
        .filter(move |(at, _)| bits < 8 && bits & 1 << at != 0)
        .map(|(_, name)| name)
}

/// Properties that name them; beyond, such as a producer could forge, ended or not.
fn properties(bits: u8) -> Vec<u8> {
    let names: Vec<_> = light_queues(bits).collect();
    let mut properties = b"TAGS\x01blue\x02".to_vec();
    if bits >= 8 {
        properties.extend(b"INNER_MULTI_DISPATCH\x01%LMQ%a\x02INNER_MULTI_QUEUE_OFFSET\x017");
        properties.extend(&b"\x02\x02"[..usize::from(bits % 3)]);
    } else if bits > 0 {
        property::push(&mut properties, property::MULTI_DISPATCH, &names.join(","));
    }
    properties
}

struct World {
    disk: SimDisk,
    options: Options,
    store: Option<Opened<SimDisk>>,
    now: Millis,
    numbers: u64,
    groups: Vec<Vec<Known>>,
    /// Of each group what it asked for.
    asked: Vec<Durability>,
    asks: Option<Durability>,
    /// How many groups are acknowledged, and how many must outlive a power cut.
    acked: usize,
    durable: usize,
    snapshots: Vec<u64>,
    /// Where the log begins, and where it may begin instead since a removal failed.
    begin: u64,
    begin_or: Option<u64>,
}

impl World {
    fn new(seed: u64, options: Options) -> Self {
        let disk = SimDisk::new(seed);
        let mut world = Self {
            disk,
            options,
            store: None,
            now: NOW,
            numbers: 0,
            groups: Vec::new(),
            asked: Vec::new(),
            asks: None,
            acked: 0,
            durable: 0,
            snapshots: Vec::new(),
            begin: 0,
            begin_or: None,
        };
        world.reopen();
        world
    }

    fn act(&mut self, action: &Action) {
        match action {
            Action::Stage(records) => self.stage(records),
            Action::Ask(durability) => self.asks = *durability,
            Action::Run => self.run(),
            Action::Flush => {
                if let Some(store) = &self.store {
                    let _ = store.flusher.flush();
                    self.count();
                }
            }
            Action::Snapshot => self.snapshot(),
            Action::Remove(count) => self.remove(usize::from(*count)),
            Action::Crash(power) => {
                self.crash(if *power { Crash::PowerCut } else { Crash::Kill });
                self.reopen();
            }
            Action::CrashWhileOpening(operations) => {
                self.crash(Crash::Kill);
                self.disk.switch_off_after(u64::from(*operations));
                self.reopen();
            }
            Action::SwitchOff(operations) => self.disk.switch_off_after(u64::from(*operations)),
            Action::FailSync(nth) => self.disk.fail_sync(u64::from(*nth)),
            Action::FailWrite(nth) => self.disk.fail_write(u64::from(*nth)),
            Action::Capacity(room) => {
                let used = self.disk.used();
                self.disk.set_capacity(room.map(|room| used + u64::from(room)));
            }
        }
    }

    fn stage(&mut self, records: &[(u8, u8, u16, u8)]) {
        let Some(store) = &self.store else { return };
        let numbered: Vec<_> = records.iter().zip(self.numbers..).collect();
        self.numbers += records.len() as u64;
        let payload = |number: u64, len: u16| {
            let mut payload = number.to_be_bytes().to_vec();
            payload.resize(8 + usize::from(len), number as u8);
            payload
        };
        let payloads: Vec<_> = numbered.iter().map(|(record, number)| payload(*number, record.2)).collect();
        let topics = ["A", "B", "C"];
        let properties: Vec<_> = numbered.iter().map(|(record, _)| properties(record.3)).collect();
        let bodies: Vec<_> = numbered
            .iter()
            .zip(payloads.iter().zip(&properties))
            .map(|((record, _), (payload, properties))| RecordBody {
                properties,
                dispatched: (1..8).contains(&record.3),
                ..body(topics[usize::from(record.0)], u32::from(record.1), payload)
            })
            .collect();
        let mut placed = Vec::new();
        let asked = self.asks.unwrap_or(self.options.durability);
        let staged = store.log.stage(self.now).and_then(|mut staging| {
            staging.ask(asked);
            staging.append_group(&bodies, &mut placed)
        });
        match staged {
            Ok(()) => {
                let known =
                    numbered.iter().zip(&bodies).zip(placed).map(|(((record, number), body), placed)| {
                        Known {
                            number: *number,
                            topic: body.topic.to_owned(),
                            queue: body.queue,
                            placed,
                            light: light_queues(record.3).map(str::to_owned).collect(),
                        }
                    });
                self.groups.push(known.collect());
                self.asked.push(asked);
            }
            Err(_) => assert!(placed.is_empty(), "a refused group has no effect"),
        }
    }

    fn run(&mut self) {
        let Some(store) = &mut self.store else { return };
        let was_poisoned = store.log.poisoned().is_some();
        match store.io.run_once(self.now) {
            Ok(progress) => {
                assert!(!was_poisoned, "poison stays");
                assert_eq!(progress.acked, store.log.acked());
            }
            Err(_) => assert!(store.log.poisoned().is_some(), "an error poisons"),
        }
        self.count();
        self.check_visible();
    }

    /// Takes from the watermarks what is promised.
    fn count(&mut self) {
        let Some(store) = &self.store else { return };
        let before = |end: u64| self.groups.partition_point(|group| group[0].placed.log_offset < end);
        self.acked = before(store.log.acked());
        self.durable = self.durable.max(before(store.log.durable()).min(self.acked));
        let synced = self.asked[..self.acked].iter().rposition(|asked| *asked == Durability::Sync);
        self.durable = self.durable.max(synced.map_or(0, |last| last + 1));
    }

    fn check_visible(&self) {
        let Some(store) = &self.store else { return };
        let expected = self.ends();
        for topic in ["A", "B", "C", "%LMQ%a", "%LMQ%b", "%LMQ%c"] {
            for queue in 0..3 {
                let seen = store.reader.bounds(topic, queue).map_or(0, |(_, max)| max);
                let acked = expected.get(&(topic, queue)).copied().unwrap_or(0);
                assert_eq!(seen, acked, "readers of {topic}/{queue} see what is acknowledged");
            }
        }
    }

    fn snapshot(&mut self) {
        let Some(store) = &self.store else { return };
        let at = store.log.acked();
        if store.snapshots.write(at, |out| out.write_all(&at.to_be_bytes())).is_ok() {
            self.snapshots.push(at);
        }
    }

    fn remove(&mut self, count: usize) {
        let Some(store) = &self.store else { return };
        let was_poisoned = store.log.poisoned().is_some();
        let removable = store.retention.removable();
        let Some(last) = removable.get(count.min(removable.len().saturating_sub(1))) else { return };
        let before = self.groups[..self.acked].partition_point(|group| group[0].placed.log_offset < last.end);
        match store.retention.remove_before(last.end) {
            Ok(removed) => {
                assert!(before <= self.durable, "only what is durable goes");
                assert_eq!((removed.begin, store.reader.start()), (last.end, last.end));
                self.begin = last.end;
            }
            Err(RemoveError::Full(_)) => {}
            Err(RemoveError::Poisoned(_)) if was_poisoned => {}
            Err(RemoveError::Poisoned(_)) => self.begin_or = Some(last.end),
            Err(error) => panic!("{error}"),
        }
        self.check_visible();
    }

    /// Where queues go on, all records counted that were ever acknowledged: what state in the log would say.
    fn ends(&self) -> BTreeMap<(&str, u32), u64> {
        let mut ends = BTreeMap::new();
        for known in self.groups[..self.acked].iter().flatten() {
            *ends.entry((known.topic.as_str(), known.queue)).or_default() += 1;
            for light in &known.light {
                *ends.entry((light, 0)).or_default() += 1;
            }
        }
        ends
    }

    fn crash(&mut self, crash: Crash) {
        self.store = None;
        self.disk.crash(crash);
        if crash == Crash::PowerCut {
            self.acked = self.acked.min(self.durable);
        }
    }

    fn reopen(&mut self) {
        let opened = match open(Arc::new(self.disk.clone()), self.options.clone(), self.now) {
            Ok(opened) => opened,
            Err(OpenError::Disk(_)) => {
                // A fault, or no room for a first segment: healed, it opens.
                self.crash(Crash::Kill);
                self.disk.heal();
                self.disk.set_capacity(None);
                open(Arc::new(self.disk.clone()), self.options.clone(), self.now)
                    .expect("a healthy disk opens after any crash")
            }
            Err(error) => panic!("no crash damages a log: {error}"),
        };
        // Faults planned for the opening do not strike the comparison.
        self.disk.heal();
        let begin = opened.reader.start();
        assert!(begin == self.begin || Some(begin) == self.begin_or, "the log begins at {begin}");
        (self.begin, self.begin_or) = (begin, None);
        self.compare(&opened);
        self.acked = self.groups.len();
        self.durable = self.acked;
        for ((topic, queue), end) in self.ends() {
            opened.log.raise_end(topic, queue, end);
            opened.reader.go_on_at(topic, queue, end);
        }
        self.store = Some(opened);
        self.check_visible();
    }

    fn compare(&mut self, opened: &Opened<SimDisk>) {
        let mut found = Vec::new();
        let scanned = opened.reader.scan(0, |record| {
            assert!(record.body_is_intact());
            found.push(Known {
                number: u64::from_be_bytes(record.body()[..8].try_into().unwrap()),
                topic: record.topic().to_owned(),
                queue: record.queue(),
                placed: Placed { queue_offset: record.queue_offset(), log_offset: record.log_offset() },
                light: light::positions(record).map(|(name, _)| name.to_owned()).collect(),
            });
            ControlFlow::Continue(())
        });
        assert_eq!(scanned.unwrap(), opened.log.acked());
        let mut rest = found.as_slice();
        // What was removed was durable.
        let mut survived = self.groups.partition_point(|group| group[0].placed.log_offset < self.begin);
        while let Some(group) = self.groups.get(survived)
            && !rest.is_empty()
        {
            assert_eq!(rest.get(..group.len()), Some(group.as_slice()), "whole groups, in order, in place");
            rest = &rest[group.len()..];
            survived += 1;
        }
        assert!(rest.is_empty(), "nothing is there that was not staged, or was cut off before: {rest:?}");
        let acked = self.acked;
        assert!(survived >= acked, "{acked} groups were acknowledged, {survived} are left");
        self.groups.truncate(survived);
        self.asked.truncate(survived);
        check_index_is_a_view(&opened.reader);
        if let Some(snapshot) = opened.snapshots.latest().unwrap() {
            assert!(snapshot.at <= opened.log.acked(), "a snapshot knows no more than the log");
            assert_eq!(snapshot.bytes, snapshot.at.to_be_bytes());
        }
    }
}

#[test]
fn a_full_disk_is_found_at_the_first_opening() {
    let disk = SimDisk::new(1);
    disk.set_capacity(Some(100));
    let refused = open(Arc::new(disk.clone()), small(Durability::Os), NOW);
    assert!(matches!(refused, Err(OpenError::Disk(DiskError::Full { .. }))));
    disk.set_capacity(None);
    reopen(&disk, &small(Durability::Os));
}

#[cfg(feature = "canaries")]
mod canaries {
    use super::*;
    use crate::Canary;
    use proptest::test_runner::{TestError, TestRunner};

    /// Each planted bug is found within so many histories.
    const HISTORIES: u32 = 4_000;

    fn is_found(canary: Canary, durability: Durability) {
        let config =
            Config { cases: HISTORIES, max_shrink_iters: 0, failure_persistence: None, ..Config::default() };
        let mut runner = TestRunner::new_with_rng(config, TestRunner::deterministic().new_rng());
        let options = Options { canary: Some(canary), ..small(durability) };
        let found = runner.run(&(any::<u64>(), actions()), |(seed, actions)| {
            run(seed, options.clone(), &actions);
            Ok(())
        });
        match found {
            Err(TestError::Fail(reason, _)) => println!("{canary:?}: {reason}"),
            other => panic!("{canary:?} was not found: {other:?}"),
        }
    }

    #[test]
    fn ack_before_sync_is_found() {
        is_found(Canary::AckBeforeSync, Durability::Sync);
    }

    #[test]
    fn sync_error_ignored_is_found() {
        is_found(Canary::SyncErrorIgnored, Durability::Sync);
    }

    #[test]
    fn sync_retried_is_found() {
        is_found(Canary::SyncRetried, Durability::Sync);
    }

    #[test]
    fn snapshot_ahead_of_log_is_found() {
        is_found(Canary::SnapshotAheadOfLog, Durability::Os);
    }

    #[test]
    fn tail_crc_skipped_is_found() {
        is_found(Canary::TailCrcSkipped, Durability::Os);
    }

    #[test]
    fn chain_skipped_is_found() {
        is_found(Canary::ChainSkipped, Durability::Os);
    }

    #[test]
    fn offset_reused_is_found() {
        is_found(Canary::OffsetReused, Durability::Sync);
    }

    #[test]
    fn index_ahead_of_log_is_found() {
        is_found(Canary::IndexAheadOfLog, Durability::Sync);
    }

    #[test]
    fn rename_unsynced_is_found() {
        is_found(Canary::RenameUnsynced, Durability::Sync);
    }

    #[test]
    fn removed_before_mark_is_found() {
        is_found(Canary::RemovedBeforeMark, Durability::Sync);
    }

    #[test]
    fn light_queues_forgotten_is_found() {
        is_found(Canary::LightQueuesForgotten, Durability::Os);
    }
}
