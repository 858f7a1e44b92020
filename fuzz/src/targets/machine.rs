//! What the broker reads back of its own state, and what producers ask it to delay.

use halley_machine::{
    delay::{Due, TIMER_TOPIC, Waiting},
    pop::PopQueue,
    state::{StateRecord, Tables},
    topics::Topics,
};
use halley_model::{RecordBody, RecordView, record::Place};

/// A state record. Folding it twice is folding it once, and what was folded is written and read back the same.
pub fn broker_state(input: &[u8]) {
    let Ok(record) = StateRecord::decode(input) else { return };
    let mut tables = Tables::default();
    record.clone().fold(&mut tables);
    let once = everything(&tables);
    record.fold(&mut tables);
    assert_eq!(everything(&tables), once);
    assert_eq!(StateRecord::decode(&once.encode()).expect("what was encoded is read"), once);
}

fn everything(tables: &Tables) -> StateRecord {
    StateRecord::everything(&tables.topics, &tables.groups, &tables.offsets)
        .with_request_modes(&tables.request_modes)
}

/// State of topics, of offsets, and with keys of later versions.
pub fn broker_state_seeds() -> Vec<Vec<u8>> {
    let mut topics = Topics::default();
    let created = topics.create_on_send("orders", "TBW102", 4).expect("a free name");
    vec![
        StateRecord::topic(&created).encode(),
        br#"{"offsets":[{"group":"g","topic":"orders","queue":3,"offset":17,"metadata":"{\"v\":1}"}]}"#.to_vec(),
        br#"{"requestModes":[{"topic":"t","group":"g","pop":true,"share":2}]}"#.to_vec(),
        br#"{"later":[1,{"a":null}],"topics":[],"offsets":[{"group":"a/b","topic":"t","queue":0,"offset":0}]}"#
            .to_vec(),
    ]
}

/// A commit of a group that pops: the offset in the first eight bytes, the metadata behind them. What was read is written and
/// read again with the same messages.
pub fn pop_cursor(input: &[u8]) {
    let Some((offset, metadata)) = input.split_first_chunk::<8>() else { return };
    let Ok(metadata) = std::str::from_utf8(metadata) else { return };
    let offset = u64::from_be_bytes(*offset);
    let Ok(queue) = PopQueue::restore(offset, metadata) else { return };
    assert_eq!(queue.low(), offset, "a queue begins where the group's offset says");
    let (again, written) = queue.cursor(0);
    assert_eq!(again, offset);
    if let Ok(back) = PopQueue::restore(again, &written) {
        assert!(back.in_flight() <= queue.in_flight() && back.next() <= queue.next());
    }
}

/// No metadata, messages in flight, and an ordered group.
pub fn pop_cursor_seeds() -> Vec<Vec<u8>> {
    let commit = |offset: u64, metadata: &str| [&offset.to_be_bytes()[..], metadata.as_bytes()].concat();
    vec![
        commit(17, ""),
        commit(
            100,
            r#"{"pop":1,"next":150,"at":1700000000000,"open":[[100,1,5000,60000],[1,30],[8,1,0,10,1],[0,1,0,60000,0]]}"#,
        ),
        commit(
            4,
            r#"{"pop":1,"next":4,"at":1700000000000,"open":[],"order":{"a":"x","t":1,"i":2,"o":[3,4,6],"c":1,"v":{"6":9},"n":{"4":1}}}"#,
        ),
    ]
}

/// Properties of a send that may ask for a delay. What is to wait says, as stored, when it is due and where it belongs, and
/// is delivered with properties that make it wait no more.
pub fn delayed(input: &[u8]) {
    const NOW: i64 = 1_700_000_000_000;
    let Ok(due) = Due::of(input, NOW) else { return };
    let mut stored = Vec::new();
    due.detour(input, "orders", 3, NOW, &mut stored);
    let host = "127.0.0.1:10911".parse().expect("an address");
    let body = RecordBody {
        topic: TIMER_TOPIC,
        queue: 0,
        flag: 0,
        system_flag: 0,
        born: NOW,
        born_host: host,
        reconsume_times: 0,
        prepared_offset: 0,
        body: b"x",
        properties: &stored,
        dispatched: false,
    };
    if due == Due::Now || body.check().is_err() {
        return;
    }
    let mut record = Vec::new();
    body.encode(&Place { queue_offset: 0, log_offset: 0, stored: NOW, store_host: host }, &mut record);
    let waiting = Waiting::of(RecordView::parse(&record).expect("what was encoded parses"));
    assert_eq!(waiting.destination(), Some(("orders", 3)));
    assert!(waiting.at > NOW);
    let mut delivered = Vec::new();
    waiting.delivered(waiting.at, false, &mut delivered);
    assert_eq!(Due::of(&delivered, waiting.at), Ok(Due::Now));
    assert!(RecordBody { properties: &delivered, ..body }.check().is_ok());
}

/// A level, each kind of time, and a recall.
pub fn delayed_seeds() -> Vec<Vec<u8>> {
    [
        "TAGS\x01a\x02DELAY\x013\x02",
        "UNIQ_KEY\x01K\x02TIMER_DELAY_SEC\x015\x02",
        "TIMER_DELAY_MS\x0115\x02REAL_TOPIC\x01x\x02",
        "TIMER_DELIVER_MS\x011700000000001\x02TIMER_DEL_UNIQKEY\x01orders_K\x02",
    ]
    .map(|properties| properties.as_bytes().to_vec())
    .into()
}
