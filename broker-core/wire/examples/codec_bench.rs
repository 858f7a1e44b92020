//! Nanoseconds per operation of the codecs' hot paths. Run by hand: `cargo run --release -p halley-wire --example codec_bench`.
//!
//! Each figure is the best of several rounds: the machine's other work only ever makes it slower.

#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use bytes::BytesMut;
use halley_wire::{
    BrokerCode, Limits, ResponseCode, Serialize,
    encode::{self, Request},
    ext::Value,
    frame,
    reply::{SendMessageResponse, encode_reply},
    request::{PullMessage, SendForm, SendMessage},
};
use std::{hint::black_box, time::Instant};

const ROUNDS: usize = 20;
const OPERATIONS: u32 = 20_000;

fn main() {
    for serialize in [Serialize::Json, Serialize::Binary] {
        println!("{serialize:?}");
        receiving(serialize);
        answering(serialize);
    }
}

fn receiving(serialize: Serialize) {
    let properties = "KEYS\u{1}order-12345\u{2}UNIQ_KEY\u{1}7F00000100001F2B0C5D4B1A3C4E0001\u{2}WAIT\u{1}true\u{2}TAGS\u{1}paid\u{2}";
    let send = SendMessage {
        producer_group: "orders-producer".into(),
        topic: "BUS_orders".into(),
        default_topic: "TBW102".into(),
        default_topic_queue_nums: 4,
        queue_id: 3,
        sys_flag: 0,
        born_timestamp: 1_790_000_000_000,
        flag: 0,
        properties: Value::new(properties),
        reconsume_times: 0,
        unit_mode: false,
        batch: false,
        max_reconsume_times: Some(0),
        broker_name: Some("broker-a".into()),
    };
    let pull = PullMessage {
        consumer_group: "orders-consumer".into(),
        topic: "BUS_orders".into(),
        queue_id: 3,
        queue_offset: 123_456,
        max_msg_nums: 32,
        sys_flag: 3,
        commit_offset: 123_400,
        suspend_timeout_millis: 15_000,
        subscription: Some("paid || cancelled".into()),
        sub_version: 1_790_000_000_000,
        expression_type: Some("TAG".into()),
        max_msg_bytes: None,
        broker_name: Some("broker-a".into()),
        lite_topic: None,
    };
    let head = |code| Request { serialize, ..Request::new(code, 77) };
    let mut sent = BytesMut::new();
    let fields = send.fields(SendForm::Short, properties);
    encode::request(&mut sent, head(BrokerCode::SendMessageV2), &fields, &[7; 1024]).expect("it fits");
    let mut pulled = BytesMut::new();
    encode::request(&mut pulled, head(BrokerCode::PullMessage), &pull.fields(), &[]).expect("it fits");

    let limits = Limits::default();
    let decoded = |bytes| frame::decode(bytes, &limits).expect("it is a frame").expect("it is complete").0;
    measure("  send: frame", || decoded(black_box(&sent)));
    measure("  send: frame and header", || {
        let frame = decoded(black_box(&sent));
        SendMessage::decode(SendForm::Short, &frame.ext).expect("it is a send")
    });
    let mut scratch = Vec::with_capacity(1024);
    measure("  send: frame, header, properties copied", || {
        let frame = decoded(black_box(&sent));
        let send = SendMessage::decode(SendForm::Short, &frame.ext).expect("it is a send");
        scratch.clear();
        send.properties.append_to(&mut scratch);
        scratch.len()
    });
    measure("  pull: frame and header", || {
        let frame = decoded(black_box(&pulled));
        PullMessage::decode(&frame.ext).expect("it is a pull")
    });
}

fn answering(serialize: Serialize) {
    let mut out = BytesMut::with_capacity(4096);
    measure("  reply to a send", || {
        out.clear();
        let response = SendMessageResponse {
            message_id: "7F00000100002A9F0000000000001234".into(),
            queue_id: 3,
            queue_offset: black_box(123_456),
            transaction_id: None,
            recall_handle: None,
            batch_unique_id: None,
        };
        encode_reply(&mut out, serialize, ResponseCode::Success, 77, None, &response.fields(), &[]);
        out.len()
    });
}

fn measure<T>(what: &str, mut operation: impl FnMut() -> T) {
    let round = |operation: &mut dyn FnMut() -> T| {
        let start = Instant::now();
        for _ in 0..OPERATIONS {
            black_box(operation());
        }
        start.elapsed() / OPERATIONS
    };
    let best = (0..ROUNDS).map(|_| round(&mut operation)).min().unwrap_or_default();
    println!("{what:<44} {:>5} ns", best.as_nanos());
}
