//! What a message passes on its way, alone and repeatable: `hot_paths PATH COUNT`. `scripts/instructions.py` counts the
//! instructions of each under callgrind, which any machine counts alike.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "it is not part of the server")]

use bytes::BytesMut;
use halley_filter::sql92::Sql92;
use halley_model::{RecordBody, property};
use halley_store::{Durability, Opened, Options, disk::RealDisk, open};
use halley_wire::{
    BrokerCode, Limits, Serialize, encode, frame, language,
    request::{SendForm, SendMessage},
};
use std::{hint::black_box, net::SocketAddr, sync::Arc};

const NOW: i64 = 1_700_000_000_000;
const BODY: [u8; 1024] = [b'x'; 1024];
const PROPERTIES: &str =
    "UNIQ_KEY\u{1}7F000001000018B4AAC2000000000001\u{2}WAIT\u{1}true\u{2}TAGS\u{1}TagA\u{2}";

/// Messages written, and pulled, at once.
const BATCH: usize = 32;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().expect("say which path");
    let count: usize = arguments.next().and_then(|count| count.parse().ok()).expect("say how often");
    match path.as_str() {
        "decode-binary" => decode_requests(Serialize::Binary, count),
        "decode-json" => decode_requests(Serialize::Json, count),
        "append" => append(count),
        "pull" => pull(count),
        "filter" => filter(count),
        _ => panic!("no such path: {path}"),
    }
}

/// A request to send, from bytes to its header.
fn decode_requests(serialize: Serialize, count: usize) {
    let header = SendMessage {
        producer_group: "bench".into(),
        topic: "bench".into(),
        default_topic: "TBW102".into(),
        default_topic_queue_nums: 4,
        queue_id: 1,
        sys_flag: 0,
        born_timestamp: NOW,
        flag: 0,
        properties: halley_wire::ext::Value::new(""),
        reconsume_times: 0,
        unit_mode: false,
        batch: false,
        max_reconsume_times: None,
        broker_name: None,
    };
    let request = encode::Request {
        code: BrokerCode::SendMessageV2.number(),
        opaque: 7,
        serialize,
        language: language::number(b"JAVA"),
        version: 501,
        oneway: false,
    };
    let mut bytes = BytesMut::new();
    encode::request(&mut bytes, request, &header.fields(SendForm::Short, PROPERTIES), &BODY).unwrap();
    let limits = Limits::default();
    for _ in 0..count {
        let (frame, _) = frame::decode(black_box(&bytes), &limits).unwrap().unwrap();
        black_box(SendMessage::decode(SendForm::Short, &frame.ext).unwrap());
    }
}

fn store(dir: &std::path::Path) -> Opened<RealDisk> {
    let address: SocketAddr = "127.0.0.1:10911".parse().unwrap();
    let disk = Arc::new(RealDisk::new(dir).unwrap());
    let mut store = open(disk, Options::new(Durability::Os, address), NOW).unwrap();
    store.io.run_once(NOW).unwrap();
    store
}

/// From the decoded request to bytes that the operating system has, and to the queue index.
fn write(store: &mut Opened<RealDisk>, count: usize) {
    let host: SocketAddr = "127.0.0.1:40000".parse().unwrap();
    for first in (0..count).step_by(BATCH) {
        {
            let mut staging = store.log.stage(NOW).unwrap();
            for number in first..(first + BATCH).min(count) {
                let body = RecordBody {
                    topic: "bench",
                    queue: (number / BATCH % 8) as u32,
                    flag: 0,
                    system_flag: 0,
                    born: NOW,
                    born_host: host,
                    reconsume_times: 0,
                    prepared_offset: 0,
                    body: &BODY,
                    properties: PROPERTIES.as_bytes(),
                    dispatched: false,
                };
                black_box(staging.append(&body).unwrap());
            }
        }
        black_box(store.io.run_once(NOW).unwrap());
    }
}

fn append(count: usize) {
    let dir = tempfile::tempdir().unwrap();
    write(&mut store(dir.path()), count);
}

/// From a queue and an offset to the bytes that are sent, out of memory.
fn pull(count: usize) {
    let dir = tempfile::tempdir().unwrap();
    let mut store = store(dir.path());
    write(&mut store, BATCH * 8);
    let mut entries = Vec::new();
    for number in 0..count / BATCH {
        entries.clear();
        store.reader.lookup("bench", number as u32 % 8, 0, BATCH, &mut entries).unwrap();
        let (bytes, run) = store.reader.hot_run(&entries).unwrap();
        assert_eq!(run, BATCH);
        black_box(bytes);
    }
}

/// A message's properties against an expression.
fn filter(count: usize) {
    let expression = Sql92::parse("region = 'eu' AND amount > 100 AND kind IN ('order', 'refund')").unwrap();
    let mut properties = Vec::new();
    for (key, value) in
        [("KEYS", "k1"), ("kind", "order"), ("region", "eu"), ("amount", "250"), ("TAGS", "a")]
    {
        property::push(&mut properties, key, value);
    }
    for _ in 0..count {
        assert!(black_box(&expression).matches_raw(black_box(&properties)));
    }
}
