//! Stores as RocketMQ 4.9 and 5.5 write them, opened by a broker, also by one that is interrupted.

use crate::{Broker, Options};
use bytes::BufMut;
use halley_machine::{delay::TIMER_TOPIC, transactions::HALF_TOPIC};
use halley_model::{
    GroupName, LogOffset, Millis, QueueOffset, RecordBody, TopicName,
    record::{Place, flag},
};
use halley_store::BLANK_MAGIC;
use halley_takeover::{OP_TOPIC, SCHEDULE_TOPIC};
use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

const FILE_BYTES: usize = 4096;

/// A store as RocketMQ lays it out.
struct Java {
    dir: PathBuf,
    log: Vec<u8>,
    next: BTreeMap<(String, u32), QueueOffset>,
    stored: Millis,
}

impl Java {
    fn new(dir: &Path) -> Self {
        fs::create_dir_all(dir.join("commitlog")).unwrap();
        fs::create_dir_all(dir.join("config")).unwrap();
        Self { dir: dir.to_owned(), log: Vec::new(), next: BTreeMap::new(), stored: now() }
    }

    fn store(&mut self, topic: &str, queue: u32, properties: &str, body: &[u8]) -> QueueOffset {
        let host: SocketAddr = "127.0.0.1:10911".parse().unwrap();
        let record = RecordBody {
            topic,
            queue,
            flag: 0,
            system_flag: 0,
            born: self.stored,
            born_host: host,
            reconsume_times: 0,
            prepared_offset: 0,
            body,
            properties: properties.as_bytes(),
            dispatched: false,
        };
        let rest = FILE_BYTES - self.log.len() % FILE_BYTES;
        if record.encoded_len(&host) + 8 > rest {
            self.log.put_u32(rest as u32);
            self.log.put_u32(BLANK_MAGIC);
            self.log.put_bytes(0, rest - 8);
        }
        let next = self.next.entry((topic.to_owned(), queue)).or_default();
        let (queue_offset, log_offset) = (*next, self.log.len() as LogOffset);
        *next += 1;
        let place = Place { queue_offset, log_offset, stored: self.stored, store_host: host };
        record.encode(&place, &mut self.log);
        assert_eq!(flag::TRANSACTION, 12);
        queue_offset
    }

    fn config(&self, name: &str, text: &str) {
        fs::write(self.dir.join("config").join(name), text).unwrap();
    }

    fn write(&mut self) {
        self.log.resize(self.log.len().next_multiple_of(FILE_BYTES), 0);
        for (number, file) in self.log.chunks(FILE_BYTES).enumerate() {
            fs::write(self.dir.join(format!("commitlog/{:020}", number * FILE_BYTES)), file).unwrap();
        }
    }
}

fn now() -> Millis {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as Millis
}

fn open(data: &Path) -> Result<Broker, crate::StartError> {
    Broker::open(Options::of_test(data)).map(|(broker, _)| broker)
}

/// What a broker knows after it opened the store.
#[derive(Debug, PartialEq)]
struct Known {
    topics: Vec<String>,
    offsets: BTreeMap<(String, String, u32), u64>,
    timers: Vec<u64>,
    timers_end: u64,
    open: Vec<u64>,
    bounds: BTreeMap<(String, u32), (u64, u64)>,
}

fn known(broker: &Broker) -> Known {
    let reader = &broker.queues.reader;
    let offsets = broker.progress.with_offsets(|offsets| {
        let named = |((group, topic, queue), committed): (
            &(GroupName, TopicName, u32),
            &halley_machine::offsets::Committed,
        )| { ((group.to_string(), topic.to_string(), *queue), committed.offset) };
        offsets.iter().map(named).collect()
    });
    let mut bounds = BTreeMap::new();
    for topic in ["orders", "old", "gone", "again"] {
        for queue in 0..reader.queues(topic) {
            bounds.extend(reader.bounds(topic, queue).map(|bounds| ((topic.to_owned(), queue), bounds)));
        }
    }
    let (timers, transactions) = broker.waiting_tables();
    Known {
        topics: broker.catalog.announced().iter().map(|topic| topic.name.to_string()).collect(),
        offsets,
        timers: timers.offsets().collect(),
        timers_end: reader.bounds(TIMER_TOPIC, 0).map_or(0, |(_, max)| max),
        open: transactions.open().map(|(offset, _)| offset).collect(),
        bounds,
    }
}

/// A store with something of everything, without the timers that 4.9 does not have.
fn write_4_9(dir: &Path) {
    let mut java = Java::new(dir);
    for number in 0..40 {
        java.store("orders", number % 4, "TAGS\u{1}a\u{2}", b"message");
    }
    java.store("deleted", 0, "", b"of a topic that is no more");
    for number in 0..5 {
        let level = 3 + number % 2;
        let properties = format!("DELAY\u{1}{level}\u{2}REAL_TOPIC\u{1}orders\u{2}REAL_QID\u{1}1\u{2}");
        java.store(SCHEDULE_TOPIC, level - 1, &properties, b"later");
    }
    for number in 0..6 {
        let properties = format!(
            "PGROUP\u{1}p\u{2}UNIQ_KEY\u{1}u{number}\u{2}REAL_TOPIC\u{1}orders\u{2}REAL_QID\u{1}0\u{2}"
        );
        java.store(HALF_TOPIC, 0, &properties, b"half");
    }
    java.store(OP_TOPIC, 0, "TAGS\u{1}d\u{2}", b"3");
    java.store(OP_TOPIC, 0, "TAGS\u{1}d\u{2}", b"4,");
    java.write();
    java.config(
        "topics.json",
        r#"{"dataVersion":{"counter":1,"timestamp":1},"topicConfigTable":{
        "orders":{"order":false,"perm":6,"readQueueNums":4,"topicFilterType":"SINGLE_TAG","topicName":"orders","topicSysFlag":0,"writeQueueNums":4},
        "old":{"order":false,"perm":6,"readQueueNums":1,"topicFilterType":"SINGLE_TAG","topicName":"old","topicSysFlag":0,"writeQueueNums":1},
        "SCHEDULE_TOPIC_XXXX":{"perm":6,"readQueueNums":18,"topicName":"SCHEDULE_TOPIC_XXXX","writeQueueNums":18}}}"#,
    );
    java.config(
        "subscriptionGroup.json",
        r#"{"dataVersion":{"counter":1},"subscriptionGroupTable":{"billing":{"groupName":"billing","retryMaxTimes":3}}}"#,
    );
    // The last write was torn, the one before is in the backup.
    java.config("consumerOffset.json", r#"{"offsetTable":{"orders@bill"#);
    java.config(
        "consumerOffset.json.bak",
        r#"{"offsetTable":{"orders@billing":{0:5,1:99},"RMQ_SYS_TRANS_HALF_TOPIC@CID_RMQ_SYS_TRANS":{0:2}}}"#,
    );
    java.config("delayOffset.json", r#"{"offsetTable":{3:1}}"#);
    // A queue whose records are all deleted: 7 entries of what was there.
    let queue = dir.join("consumequeue/old/0");
    fs::create_dir_all(&queue).unwrap();
    let mut entries = halley_takeover::consume_queue::entry(0, 100, 0).repeat(7);
    entries.resize(6_000_000, 0);
    fs::write(queue.join("00000000000000000000"), entries).unwrap();
}

fn check(known: &Known) {
    assert!(known.topics.iter().any(|topic| topic == "orders"), "{:?}", known.topics);
    assert!(!known.topics.iter().any(|topic| topic == "deleted"), "{:?}", known.topics);
    let committed = |queue| known.offsets[&("billing".to_owned(), "orders".to_owned(), queue)];
    assert_eq!((committed(0), committed(1)), (5, 10), "what is behind the end is the end");
    assert_eq!(known.offsets.len(), 2, "{:?}", known.offsets);
    // Level 3 has three, one of which was delivered; level 4 has two.
    assert_eq!((known.timers.len(), known.timers_end), (4, 4), "each once");
    assert_eq!(known.open, [2, 5]);
    assert_eq!(known.bounds[&("old".to_owned(), 0)], (7, 7));
    assert_eq!(known.bounds[&("orders".to_owned(), 3)], (0, 10));
}

#[test]
fn a_store_of_4_9_is_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    write_4_9(dir.path());
    fs::write(dir.path().join("kvConfig.json"), r#"{"configTable":{"n":{"k":"v"}}}"#).unwrap();
    let first = {
        let broker = open(dir.path()).unwrap();
        assert_eq!(
            broker.housekeeping.kept.kv(|kv| kv.get("n", "k").map(str::to_owned)).as_deref(),
            Some("v")
        );
        let first = known(&broker);
        check(&first);
        assert!(open(dir.path()).is_err(), "one at a time");
        broker.close();
        first
    };
    let again = open(dir.path()).unwrap();
    assert_eq!(known(&again), first);
    again.close();
}

#[test]
fn an_interrupted_takeover_is_begun_again() {
    let dir = tempfile::tempdir().unwrap();
    write_4_9(dir.path());
    let broker = open(dir.path()).unwrap();
    let end = broker.appends.log.acked();
    // As a killed process leaves it: without a snapshot.
    drop(broker);
    let logs = dir.path().join("halley/log");
    let segment = fs::read_dir(&logs)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|kind| kind == "seg"));
    let segment = segment.unwrap();
    let whole = fs::read(&segment).unwrap();
    let base: u64 = segment.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    let used = (end - base) as usize;
    for cut in (60..used).step_by(used / 12) {
        let other = tempfile::tempdir().unwrap();
        write_4_9(other.path());
        fs::create_dir_all(other.path().join("halley/log")).unwrap();
        let mut torn = whole[..cut].to_vec();
        torn.resize(used + 4096, 0);
        fs::write(other.path().join("halley/log").join(segment.file_name().unwrap()), torn).unwrap();
        let broker = open(other.path()).unwrap_or_else(|error| panic!("cut at {cut}: {error}"));
        check(&known(&broker));
        broker.close();
    }
}

#[test]
fn what_is_exported_can_be_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    write_4_9(dir.path());
    let mapping = r#"{"dataVersion":{"counter":1},"topicQueueMappingInfoMap":{"orders":{"bname":"broker-a","currIdMap":{0:0},
        "dirty":false,"epoch":7,"hostedQueues":{0:[{"bname":"broker-a","endOffset":-1,"gen":0,"logicOffset":0,"queueId":0,
        "startOffset":0,"timeOfEnd":-1,"timeOfStart":-1}]},"scope":"__global__","topic":"orders","totalQueues":1}}}"#;
    fs::write(dir.path().join("config/topicQueueMapping.json"), mapping).unwrap();
    let broker = open(dir.path()).unwrap();
    let before = known(&broker);
    let mappings = broker.catalog.mappings();
    assert_eq!((mappings.len(), mappings[0].epoch), (1, 7));
    broker.close();
    drop(broker);
    let out = tempfile::tempdir().unwrap();
    let options = crate::export::Options {
        data: dir.path().to_owned(),
        out: out.path().to_owned(),
        cluster: "DefaultCluster".into(),
        name: "broker-a".into(),
        file_bytes: FILE_BYTES as u64,
    };
    let mut told = (0, 0);
    let report = crate::export::to_rocketmq(&options, &mut |done, total| told = (done, total)).unwrap();
    assert_eq!((report.messages, report.timers, report.transactions, report.in_flight), (40, 4, 2, 0));
    assert!(told.0 == told.1 && told.1 > 0);
    assert!(out.path().join("abort").exists());
    let again = open(out.path()).unwrap();
    assert_eq!(again.catalog.mappings(), mappings);
    let after = known(&again);
    check(&Known { open: before.open.clone(), ..after });
    let missing = crate::export::Options { data: out.path().join("nothing"), ..options };
    assert!(crate::export::to_rocketmq(&missing, &mut |_, _| {}).is_err());
}

#[test]
fn rocketmq_and_halley_do_not_run_side_by_side() {
    let dir = tempfile::tempdir().unwrap();
    write_4_9(dir.path());
    fs::write(dir.path().join("lock"), b"lock").unwrap();
    let broker = open(dir.path()).unwrap();
    assert_eq!(fs::read(dir.path().join("lock")).unwrap(), b"lock");
    broker.close();
}
