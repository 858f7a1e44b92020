//! What RocketMQ keeps beside its log.

use halley_machine::pop::PopQueue;
use halley_model::{RecordBody, RecordView, record::Place};
use halley_takeover::{
    config,
    halves::{self, Ended},
    pops::{self, Pops},
    timers::{Checkpoint, Pending},
};
use std::net::SocketAddr;

const NOW: i64 = 1_700_000_000_000;

/// One file, read as each of those there are. Offsets that come out are offsets that Halley can have.
pub fn takeover_files(input: &[u8]) {
    let _ = config::topics(input);
    let _ = config::groups(input);
    let _ = config::delays(input);
    let _ = config::request_modes(input);
    if let Ok(offsets) = config::offsets(input) {
        for ((topic, group), queues) in offsets {
            for (queue, offset) in queues {
                if let Some((.., named)) = config::committed(&topic, &group, queue, offset) {
                    assert_eq!(i64::try_from(named), Ok(offset));
                }
            }
        }
    }
    let _ = Checkpoint::decode(input);
}

/// Files of 4.9 and 5.5.
pub fn takeover_files_seeds() -> Vec<Vec<u8>> {
    [
        &b"{\"offsetTable\":{\"orders@billing\":{0:5,1:7},\"%RETRY%billing@billing\":{0:1}}}"[..],
        b"{\"dataVersion\":{\"counter\":3,\"stateVersion\":0,\"timestamp\":1},\"offsetTable\":{1:2,10:0}}",
        b"{\"dataVersion\":{\"counter\":3},\"topicConfigTable\":{\"orders\":{\"attributes\":{\"message.type\":\"FIFO\"},\"order\":true,\
\"perm\":4,\"readQueueNums\":8,\"topicFilterType\":\"SINGLE_TAG\",\"topicName\":\"orders\",\"topicSysFlag\":1,\"writeQueueNums\":4}}}",
        b"{\"forbiddenTable\":{\"g\":{\"orders\":4}},\"subscriptionGroupTable\":{\"g\":{\"groupName\":\"g\",\"retryMaxTimes\":3}}}",
        b"\0\0\x01\xa2\x20\x5b\x92\xd0\0\0\0\0\0\0\0\xd0\0\0\0\0\0\0\0\x04",
    ]
    .map(<[u8]>::to_vec)
    .to_vec()
}

/// The body of a record of RocketMQ's own topics, read as a checkpoint of POP, an acknowledgement, the end of half messages, and a timer.
pub fn takeover_records(input: &[u8]) {
    let mut pops = Pops::default();
    for tag in ["ck", "ack", "bAck"] {
        let properties = format!("TAGS\u{1}{tag}\u{2}");
        pops.see(&RecordView::parse(&record(input, properties.as_bytes())).expect("it was just encoded"));
    }
    for flights in pops.in_flight().into_values() {
        assert!(flights.is_sorted_by_key(|flight| flight.offset));
        let next = flights.last().map_or(0, |last| last.offset.saturating_add(1));
        if next < 1 << 60 {
            PopQueue::in_flight_at(next, flights).cursor(NOW);
        }
    }
    let mut ended = Ended::new(3);
    ended.see(&RecordView::parse(&record(input, b"TAGS\x01d\x02")).expect("it was just encoded"));
    assert!(!ended.is_open(2));
    let mut pending = Pending::new(Checkpoint { read_to: NOW, next: 5 });
    let properties = &input[..input.len().min(30_000)];
    pending.see(&RecordView::parse(&record(b"", properties)).expect("it was just encoded"));
    assert!(pending.open().len() <= 1);
}

/// One of each.
pub fn takeover_records_seeds() -> Vec<Vec<u8>> {
    let checkpoint = pops::Checkpoint {
        group: "g".to_owned(),
        topic: "t".to_owned(),
        first: 7,
        count: 3,
        distances: Some(vec![0, 1, 4]),
        popped: NOW,
        invisible: 60_000,
        ..pops::Checkpoint::default()
    };
    let seeds = [
        checkpoint.encode(),
        br#"{"ao":8,"bn":"broker-a","c":"g","pt":1700000000000,"q":0,"so":7,"t":"t"}"#.to_vec(),
        br#"{"ackOffset":0,"aol":[7,11],"bn":"broker-a","c":"g","pt":1700000000000,"q":0,"so":7,"t":"t"}"#
            .to_vec(),
        halves::body(12).into_bytes(),
        b"UNIQ_KEY\x01k\x02TIMER_OUT_MS\x011700000001000\x02TIMER_ROLL_TIMES\x011\x02".to_vec(),
    ];
    seeds.to_vec()
}

fn record(body: &[u8], properties: &[u8]) -> Vec<u8> {
    let host: SocketAddr = "127.0.0.1:10911".parse().expect("an address");
    let record = RecordBody {
        topic: "t",
        queue: 0,
        flag: 0,
        system_flag: 0,
        born: NOW,
        born_host: host,
        reconsume_times: 0,
        prepared_offset: 0,
        body,
        properties,
        dispatched: false,
    };
    let mut out = Vec::new();
    record.encode(&Place { queue_offset: 0, log_offset: 0, stored: NOW, store_host: host }, &mut out);
    out
}
