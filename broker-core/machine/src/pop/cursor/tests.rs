use super::*;
use crate::pop::FLIGHTS_MAX;
use proptest::prelude::*;

const NOW: Millis = 1_700_000_000_000;

#[test]
fn the_form_is_the_documented_one() {
    let mut queue = PopQueue::at(100);
    queue.pop(NOW - 5000, 60_000, 100..132, 132);
    assert!(queue.ack(101, NOW - 5000));
    queue.pop(NOW, 60_000, [140, 141], 150);
    assert!(queue.change(NOW, 140, NOW, 10, true));
    let (offset, metadata) = queue.cursor(NOW);
    assert_eq!(offset, 100);
    assert_eq!(
        metadata,
        r#"{"pop":1,"next":150,"at":1700000000000,"open":[[100,1,5000,60000],[1,30],[8,1,0,10,1],[0,1,0,60000,0]]}"#
    );
    assert!(is_cursor(&metadata) && !is_cursor("") && !is_cursor(r#"{"v":1}"#));
    let back = decode(100, &metadata).unwrap();
    assert!(back.flights.iter().eq(queue.flights.iter()));
    assert_eq!((back.next, back.low()), (150, 100));
}

#[test]
fn nothing_in_flight_needs_no_metadata() {
    assert_eq!(PopQueue::at(17).cursor(NOW), (17, String::new()));
    assert_eq!(decode(17, "").unwrap().next(), 17);
}

#[test]
fn order_comes_back() {
    let mut queue = PopQueue::at(3);
    queue.pop_ordered(NOW, Some("a"), 1000, vec![3, 4, 6]);
    queue.ack_ordered(NOW, 3, NOW);
    queue.change_ordered(NOW, 6, NOW, 50);
    let (offset, metadata) = queue.cursor(NOW);
    assert_eq!(offset, 4);
    let back = decode(offset, &metadata).unwrap();
    assert_eq!((back.next, &back.order), (4, &queue.order));
    queue.ack_ordered(NOW, 4, NOW);
    queue.ack_ordered(NOW, 6, NOW);
    assert_eq!(queue.cursor(NOW), (7, String::new()), "what is done needs no memory");
}

#[test]
fn bad_metadata_is_named() {
    let check = |offset, metadata: &str| decode(offset, metadata).unwrap_err();
    assert!(matches!(check(0, "{"), CursorError::Malformed(_)));
    assert!(matches!(check(0, &"[".repeat(METADATA_BYTES_MAX + 1)), CursorError::Malformed(_)));
    assert_eq!(check(0, r#"{"pop":2,"next":0,"at":0,"open":[]}"#), CursorError::Version(2));
    for (entries, bad) in [
        ("[]", 0),
        ("[-1]", 0),
        ("[5,0]", 0),
        ("[9]", 0),
        ("[5,5]", 0),
        ("[5],[3]", 1),
        ("[5,1,0,0,2]", 0),
        ("[5,1,0,0,0,0]", 0),
        ("[5,1,-9223372036854775807,9223372036854775807]", 0),
        ("[9223372036854775807]", 0),
    ] {
        let metadata = format!(r#"{{"pop":1,"next":9,"at":5,"open":[{entries}]}}"#);
        assert_eq!(check(5, &metadata), CursorError::Entry(bad), "{entries}");
    }
    let many = format!(r#"{{"pop":1,"next":99999999,"at":5,"open":[[5,{}]]}}"#, FLIGHTS_MAX + 1);
    assert_eq!(check(5, &many), CursorError::Entry(0));
    let order = r#"{"pop":1,"next":5,"at":5,"open":[],"order":{"t":1,"i":1,"o":[3,3],"c":0}}"#;
    assert_eq!(check(5, order), CursorError::Order);
    let metadata = r#"{"pop":1,"next":9,"at":5,"open":[[5]]}"#;
    assert_eq!(check(6, metadata), CursorError::Stale { metadata: 5, committed: 6 });
}

#[test]
fn what_does_not_fit_is_given_out_again() {
    let mut queue = PopQueue::at(0);
    for n in 0..FLIGHTS_MAX as u64 {
        queue.pop(
            NOW - 10_000_000 - n as i64 * 997,
            86_400_000 + n as i64,
            [n * 1_000_003],
            n * 1_000_003 + 1,
        );
    }
    let (offset, metadata) = queue.cursor(NOW);
    assert!(metadata.len() <= METADATA_BYTES_MAX);
    let back = decode(offset, &metadata).unwrap();
    assert!(back.in_flight() > 20_000 && back.in_flight() < FLIGHTS_MAX);
    assert_eq!(back.next() % 1_000_003, 0, "the first that did not fit is the next to read");
    assert_eq!(back.next() / 1_000_003, back.in_flight() as u64);
}

#[test]
fn what_was_on_its_way_is_due_at_once() {
    let mut queue = PopQueue::at(0);
    queue.pop(NOW, 1000, [0, 1], 2);
    let mut due = Vec::new();
    queue.due(NOW + 1000, 1, &mut due);
    let (offset, metadata) = queue.cursor(NOW + 1000);
    let mut back = decode(offset, &metadata).unwrap();
    due.clear();
    back.due(NOW, 9, &mut due);
    assert_eq!(due.len(), 1);
    assert!(back.ack(1, NOW));
}

proptest! {
    #[test]
    fn queues_come_back(
        runs in proptest::collection::vec((0..5_u64, 1..40_u64, -1000..1_000_000_i64, -5..100_000_i64, any::<bool>()), 0..30),
        beyond in 0..100_u64,
    ) {
        let mut queue = PopQueue::default();
        for (gap, count, ago, invisible, suspended) in runs {
            for offset in queue.next + gap..queue.next + gap + count {
                let popped = NOW - ago;
                queue.flights.push(Flight { suspended, ..Flight::new(offset, popped, popped + invisible.max(0)) });
            }
            queue.next += gap + count;
        }
        queue.next += beyond;
        let (offset, metadata) = queue.cursor(NOW);
        prop_assert_eq!(offset, queue.low());
        let back = decode(offset, &metadata).unwrap();
        prop_assert!(back.flights.iter().eq(queue.flights.iter()));
        prop_assert_eq!(back.next, queue.next);
    }

    #[test]
    fn any_text_is_answered(offset in any::<u64>(), text in r#"(\{"pop":1,"next":[0-9]{1,20},"at":-?[0-9]{1,19},"open":\[(\[[0-9]{1,5}(,-?[0-9]{1,19}){0,4}\]){0,2}\]\}|.{0,60})"#) {
        let _ = decode(offset, &text);
    }
}
