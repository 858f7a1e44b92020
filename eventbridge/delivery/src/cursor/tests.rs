use super::*;
use proptest::prelude::*;

const NOW: Millis = 1_700_000_000_000;

fn encoded(cursor: &Cursor) -> (QueueOffset, String) {
    encode(NOW, cursor.next, cursor.open.iter().map(|(offset, event)| (*offset, event)))
}

#[test]
fn the_form_is_the_documented_one() {
    let retrying = OpenEvent {
        attempts: 2,
        due: NOW + 1500,
        first_attempt: Some(NOW - 800),
        first_error: Some("HTTP 503".into()),
        last_error: Some("timed \"out\"".into()),
        key: Some(9),
        give_up: None,
    };
    let rejected = OpenEvent { attempts: 1, give_up: Some(GiveUp::Rejected), ..OpenEvent::default() };
    let open = BTreeMap::from([(100, OpenEvent::default()), (103, retrying), (110, rejected)]);
    let cursor = Cursor { next: 120, open };
    let (offset, metadata) = encoded(&cursor);
    assert_eq!(offset, 100);
    assert_eq!(
        metadata,
        r#"{"v":1,"next":120,"at":1700000000000,"errors":["HTTP 503","timed \"out\""],"open":[[100],[3,2,1500,801,1,2,10],[7,1,0,0,0,0,0,1]]}"#
    );
    assert_eq!(Cursor::decode(100, &metadata), Ok(cursor));
}

#[test]
fn nothing_open_needs_no_metadata() {
    assert_eq!(encoded(&Cursor::at(17)), (17, String::new()));
    assert_eq!(Cursor::decode(17, ""), Ok(Cursor::at(17)));
}

#[test]
fn bad_metadata_is_named() {
    let check = |offset, metadata: &str| Cursor::decode(offset, metadata).unwrap_err();
    assert!(matches!(check(0, "{"), CursorError::Malformed(_)));
    assert!(matches!(check(0, &"[".repeat(METADATA_BYTES_MAX + 1)), CursorError::Malformed(_)));
    assert_eq!(check(0, r#"{"v":2,"next":0,"at":0,"errors":[],"open":[]}"#), CursorError::Version(2));
    for (entries, bad) in [
        ("[]", 0),
        ("[5],[0]", 1),
        ("[5],[18446744073709551615]", 1),
        ("[9]", 0),
        ("[5,1,0,0,1]", 0),
        ("[5,4294967296]", 0),
        ("[5,0,0,0,0,0,4294967297]", 0),
        ("[5,0,0,0,0,0,0,4]", 0),
        ("[5,0,9223372036854775807]", 0),
        ("[5,0,0,0,0,0,0,0,1]", 0),
    ] {
        let metadata = format!(r#"{{"v":1,"next":9,"at":5,"errors":[],"open":[{entries}]}}"#);
        assert_eq!(check(5, &metadata), CursorError::Entry(bad), "{entries}");
    }
    let metadata = r#"{"v":1,"next":9,"at":5,"errors":[],"open":[[5]]}"#;
    assert_eq!(check(6, metadata), CursorError::Stale { metadata: 5, committed: 6 });
}

#[test]
fn what_does_not_fit_is_read_again() {
    let event = OpenEvent {
        attempts: 11,
        due: NOW + 100_000_000,
        first_attempt: Some(NOW - 100_000_000),
        key: Some(u32::MAX),
        ..OpenEvent::default()
    };
    let open: BTreeMap<_, _> = (0..100_000).map(|n| (1_000_000 + n * 7, event.clone())).collect();
    let cursor = Cursor { next: 9_000_000, open };
    let (offset, metadata) = encoded(&cursor);
    assert!(metadata.len() <= METADATA_BYTES_MAX);
    let back = Cursor::decode(offset, &metadata).unwrap();
    assert_eq!(back.low(), 1_000_000);
    assert!(back.open.len() > 10_000 && back.open.len() < 100_000);
    assert!(cursor.open.contains_key(&back.next), "the first that did not fit is the next to read");
    assert_eq!(cursor.open.range(..back.next).count(), back.open.len());
}

fn open_event() -> impl Strategy<Value = OpenEvent> {
    let error = || proptest::option::of("[ -~äß\n]{0,8}".prop_map(|text| Arc::from(text.as_str())));
    let times = (0_i64..1_000_000, proptest::option::of(0_i64..1_000_000));
    (0_u32..50, times, error(), error(), proptest::option::of(any::<u32>()), 0_u64..4).prop_map(
        |(attempts, (after, ago), first_error, last_error, key, give_up)| OpenEvent {
            attempts,
            due: if after == 0 { 0 } else { NOW + after },
            first_attempt: ago.map(|ago| NOW - ago),
            first_error,
            last_error,
            key,
            give_up: GiveUp::from_number(give_up),
        },
    )
}

proptest! {
    #[test]
    fn cursors_come_back(
        open in proptest::collection::btree_map(0_u64..1000, open_event(), 0..20),
        beyond in 0_u64..100,
    ) {
        let next = open.keys().last().map_or(0, |last| last + 1) + beyond;
        let cursor = Cursor { next, open };
        let (offset, metadata) = encoded(&cursor);
        prop_assert_eq!(offset, cursor.low());
        prop_assert_eq!(Cursor::decode(offset, &metadata), Ok(cursor));
    }

    #[test]
    fn any_text_is_answered(offset in any::<u64>(), text in r#"(\{"v":1,"next":[0-9]{1,20},"at":-?[0-9]{1,19},"errors":\["x"\],"open":\[(\[[0-9]{1,20}(,[0-9]{1,20}){0,8}\]){0,2}\]\}|.{0,60})"#) {
        let _ = Cursor::decode(offset, &text);
    }
}
