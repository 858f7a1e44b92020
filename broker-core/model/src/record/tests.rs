use super::*;
use proptest::prelude::*;

fn encode(body: &RecordBody<'_>, place: &Place) -> Vec<u8> {
    let mut out = Vec::new();
    body.encode(place, &mut out);
    assert_eq!(out.len(), body.encoded_len(&place.store_host), "the size is known beforehand");
    out
}

fn sample<'a>(topic: &'a str, body: &'a [u8], properties: &'a [u8], host: &str) -> (RecordBody<'a>, Place) {
    let host: SocketAddr = host.parse().unwrap();
    let record = RecordBody {
        topic,
        queue: 3,
        flag: 7,
        system_flag: 1,
        born: 1_700_000_000_123,
        born_host: host,
        reconsume_times: 2,
        prepared_offset: 99,
        body,
        properties,
        dispatched: false,
    };
    (record, Place { queue_offset: 42, log_offset: 4096, stored: 1_700_000_000_456, store_host: host })
}

#[test]
fn what_was_encoded_is_read() {
    for host in ["10.1.2.3:10911", "[2001:db8::1]:10911"] {
        for topic in ["T", &"t".repeat(200)] {
            let (record, place) = sample(topic, b"hello", b"TAGS\x01a\x02", host);
            let bytes = encode(&record, &place);
            let view = RecordView::parse(&bytes).unwrap();
            assert_eq!((view.topic(), view.queue(), view.queue_offset()), (topic, 3, 42));
            assert_eq!((view.log_offset(), view.born(), view.stored()), (4096, record.born, place.stored));
            assert_eq!((view.born_host(), view.store_host()), (record.born_host, place.store_host));
            assert_eq!((view.flag(), view.system_flag() & 0xF), (7, 1));
            assert_eq!((view.reconsume_times(), view.prepared_offset()), (2, 99));
            assert_eq!((view.body(), view.property("TAGS")), (&b"hello"[..], Some("a")));
            assert!(view.body_is_intact());
        }
    }
}

#[test]
fn damage_is_named() {
    let (record, place) = sample("T", b"hello", b"", "1.2.3.4:5");
    let bytes = encode(&record, &place);
    assert!(matches!(RecordView::parse(&bytes[..80]), Err(ParseError::Truncated { .. })));
    assert!(matches!(RecordView::parse(&bytes[..bytes.len() - 1]), Err(ParseError::Truncated { .. })));
    let mut wrong = bytes.clone();
    wrong[4] = 0;
    assert!(matches!(RecordView::parse(&wrong), Err(ParseError::Magic(_))));
    let mut wrong = bytes.clone();
    wrong[84..88].copy_from_slice(&u32::MAX.to_be_bytes());
    assert_eq!(RecordView::parse(&wrong).unwrap_err(), ParseError::Length("body length"));
    let mut wrong = bytes;
    wrong[88] ^= 1;
    assert!(!RecordView::parse(&wrong).unwrap().body_is_intact());
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), real in any::<bool>()) {
        if real && bytes.len() >= RECORD_BYTES_MIN {
            let total = bytes.len() as u32;
            bytes[..4].copy_from_slice(&total.to_be_bytes());
            bytes[4..8].copy_from_slice(&MAGIC_V1.to_be_bytes());
            bytes[84..88].copy_from_slice(&3u32.to_be_bytes());
        }
        if let Ok(view) = RecordView::parse(&bytes) {
            let _ = (view.body(), view.topic(), view.properties(), view.born_host(), view.store_host());
        }
    }
}
