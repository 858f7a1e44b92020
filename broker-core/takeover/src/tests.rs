//! What is under way, told from records as RocketMQ stores them.

use crate::{
    delayed,
    halves::{Ended, Open},
    pops,
    pops::Pops,
    timers,
    timers::Pending,
};
use halley_machine::delay::{Waiting, by_second};
use halley_model::{Millis, QueueOffset, RecordBody, RecordView, property, record::Place};
use std::net::SocketAddr;

const NOW: Millis = 1_700_000_000_000;

/// A record with these properties, written `name=value`.
fn record(queue_offset: QueueOffset, pairs: &[&str], body: &[u8]) -> Vec<u8> {
    let host: SocketAddr = "127.0.0.1:10911".parse().unwrap();
    let mut properties = Vec::new();
    for pair in pairs {
        let (name, value) = pair.split_once('=').unwrap();
        assert!(property::push(&mut properties, name, value));
    }
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
        properties: &properties,
        dispatched: false,
    };
    let mut out = Vec::new();
    record.encode(&Place { queue_offset, log_offset: 0, stored: NOW, store_host: host }, &mut out);
    out
}

fn see(pending: &mut Pending, offset: QueueOffset, pairs: &[&str]) -> bool {
    let bytes = record(offset, pairs, b"");
    pending.see(&RecordView::parse(&bytes).unwrap())
}

#[test]
fn timers_wait_that_the_wheel_did_not_read() {
    let mut bytes = vec![0; timers::Checkpoint::BYTES];
    bytes[..8].copy_from_slice(&NOW.to_be_bytes());
    bytes[16..24].copy_from_slice(&4_u64.to_be_bytes());
    let checkpoint = timers::Checkpoint::decode(&bytes);
    assert_eq!(checkpoint, timers::Checkpoint { read_to: NOW, next: 4 });
    let mut pending = Pending::new(checkpoint);
    let at = |after: Millis| format!("TIMER_OUT_MS={}", NOW + after);
    assert!(!see(&mut pending, 0, &["UNIQ_KEY=delivered", &at(-1000)]));
    assert!(see(&mut pending, 1, &["UNIQ_KEY=due", &at(0)]));
    assert!(see(&mut pending, 2, &["UNIQ_KEY=far", &at(9_000_000)]));
    assert!(see(&mut pending, 3, &["UNIQ_KEY=far", &at(9_000_000), "TIMER_ROLL_TIMES=1"]));
    // Not in the wheel yet.
    assert!(see(&mut pending, 4, &["UNIQ_KEY=late", &at(-1000)]));
    // A recall has the key of its own message, and the time of the other.
    assert!(see(&mut pending, 5, &["UNIQ_KEY=recall", "TIMER_DEL_UNIQKEY=t_far", &at(9_000_000)]));
    assert_eq!(pending.open(), [1, 3, 4, 5], "of a message stored again the newest");
    assert_eq!(timers::Checkpoint::decode(b"short"), timers::Checkpoint::default());
}

#[test]
fn timers_of_rocketmq_are_due_when_its_second_is_over() {
    for asked in [NOW, NOW + 1, NOW + 999] {
        let bytes = record(0, &[&format!("TIMER_OUT_MS={}", by_second(asked))], b"");
        let at = Waiting::of(RecordView::parse(&bytes).unwrap()).at;
        assert!((asked..asked + 1000).contains(&at), "{asked} became {at}");
    }
    let own = record(0, &[&format!("TIMER_OUT_MS={NOW}"), "TIMER_ENQUEUE_MS=1"], b"");
    assert_eq!(Waiting::of(RecordView::parse(&own).unwrap()).at, NOW);
}

#[test]
fn half_messages_are_open_that_no_operation_names() {
    let mut ended = Ended::new(3);
    for (pairs, body) in [
        (&["TAGS=d"][..], &b"4"[..]),
        (&["TAGS=d"], b"6,1,8,"),
        (&["TAGS=other"], b"5"),
        (&["TAGS=d"], b"x,"),
    ] {
        let bytes = record(0, pairs, body);
        ended.see(&RecordView::parse(&bytes).unwrap());
    }
    let open: Vec<_> = (0..10).filter(|offset| ended.is_open(*offset)).collect();
    assert_eq!(open, [3, 5, 7, 9]);
    let mut halves = Open::new(ended);
    let again = "TRANSACTION_CHECK_TIMES=1";
    for (offset, pairs) in [
        (3, &["UNIQ_KEY=a"][..]),
        (4, &["UNIQ_KEY=b"]),
        (5, &["UNIQ_KEY=c"]),
        (6, &["UNIQ_KEY=c", again]),
        (7, &["UNIQ_KEY=a", again]),
        (9, &["UNIQ_KEY=d"]),
    ] {
        halves.see(&RecordView::parse(&record(offset, pairs, b"")).unwrap());
    }
    assert_eq!(
        halves.offsets(),
        [7, 9],
        "of one that was asked about only the newest counts, also where it was ended"
    );
}

#[test]
fn messages_are_in_flight_that_nobody_acknowledged() {
    let mut pops = Pops::default();
    let mut see = |tag: &str, body: &str| {
        let bytes = record(0, &[&format!("TAGS={tag}")], body.as_bytes());
        pops.see(&RecordView::parse(&bytes).unwrap())
    };
    // An acknowledgement may come before its checkpoint; as 5.5.0 writes them.
    assert!(see("ack", r#"{"ao":11,"bn":"b","c":"g","pt":1000,"q":2,"so":10,"t":"t"}"#));
    assert!(see(
        "ck",
        r#"{"bm":0,"bn":"b","c":"g","d":[0,1,2,5],"it":60000,"n":4,"pt":1000,"q":2,"rp":0,"ro":0,"so":10,"sp":false,"t":"t"}"#
    ));
    assert!(see("bAck", r#"{"ackOffset":0,"aol":[12],"bn":"b","c":"g","pt":1000,"q":2,"so":10,"t":"t"}"#));
    // Without distances the messages stand in a row; one bit is set.
    assert!(see("ck", r#"{"bm":2,"c":"g","it":1000,"n":3,"pt":5000,"q":2,"so":20,"t":"t"}"#));
    // Popped again later.
    assert!(see(
        "ck",
        r#"{"bm":0,"c":"g","d":[0],"it":1000,"n":1,"pt":9000,"q":2,"so":15,"t":"t","sp":true}"#
    ));
    assert!(!see("ck", "{"));
    assert!(!see("", "{}"));
    let all = pops.in_flight();
    let flights = &all[&("g".to_owned(), "t".to_owned(), 2)];
    let seen: Vec<_> = flights.iter().map(|flight| (flight.offset, flight.popped, flight.visible)).collect();
    assert_eq!(seen, [(10, 1000, 61_000), (15, 9000, 10_000), (20, 5000, 6000), (22, 5000, 6000)]);
    assert!(flights[1].suspended && all.len() == 1);
    // What is written for the way back is read again.
    let mut again = Pops::default();
    for flight in flights {
        let body = pops::Checkpoint::of("b", "g", "t", 2, flight).encode();
        let bytes = record(0, &["TAGS=ck"], &body);
        assert!(again.see(&RecordView::parse(&bytes).unwrap()));
    }
    assert_eq!(again.in_flight(), all);
}

#[test]
fn a_level_waits_for_the_rest_of_its_time() {
    let bytes = record(0, &["DELAY=4", "REAL_TOPIC=orders", "REAL_QID=3", "TAGS=a"], b"later");
    let view = RecordView::parse(&bytes).unwrap();
    let mut properties = Vec::new();
    let body = delayed::waiting(&view, 4, NOW + 10_000, &mut properties).unwrap();
    let text = String::from_utf8_lossy(body.properties).into_owned();
    assert_eq!(property::get(body.properties, property::TIMER_OUT_MS), Some("1700000030000"), "{text}");
    assert_eq!(property::get(body.properties, property::DELAY_LEVEL), None, "{text}");
    assert_eq!(property::get(body.properties, property::REAL_TOPIC), Some("orders"), "{text}");
    let nowhere = record(0, &["DELAY=4"], b"");
    let view = RecordView::parse(&nowhere).unwrap();
    assert!(delayed::waiting(&view, 4, NOW, &mut Vec::new()).is_none());
}
