use super::*;
use crate::tests::fake::record_of;
use halley_model::property;

const OBITUARY: Obituary<'static> = Obituary {
    reason: "rejected",
    attempts: 3,
    first_error: Some("first\u{1}\u{2}\n error"),
    last_error: None,
    rule: "paid",
    target: "billing",
    now: 1_700_000_000_000,
};

fn check(before: &[u8], expected: &[(&str, &str)]) {
    let record = record_of("PAID", 2, 9, before, b"x");
    let after = properties(&RecordView::parse(&record).unwrap(), &OBITUARY);
    let after: Vec<_> = property::iter(&after).collect();
    assert_eq!(after, expected);
}

#[test]
fn an_event_stays_an_event() {
    check(
        b"ce_specversion\x011.0\x02ce_id\x01a\x02ce_dlqreason\x01old\x02dlqreason\x01mine\x02TAGS\x01t",
        &[
            ("ce_specversion", "1.0"),
            ("ce_id", "a"),
            ("dlqreason", "mine"),
            ("TAGS", "t"),
            ("ce_dlqreason", "rejected"),
            ("ce_dlqattempts", "3"),
            ("ce_dlqrule", "paid"),
            ("ce_dlqtarget", "billing"),
            ("ce_dlqtopic", "PAID"),
            ("ce_dlqqueue", "2"),
            ("ce_dlqoffset", "9"),
            ("ce_dlqtime", "1700000000000"),
            ("ce_dlqfirsterror", "first    error"),
        ],
    );
}

#[test]
fn a_message_keeps_its_properties_but_not_its_delay() {
    check(
        b"DELAY\x013\x02TRAN_MSG\x01true\x02UNIQ_KEY\x01AC11\x02dlqtime\x01old\x02dlqother\x01kept\x02",
        &[
            ("UNIQ_KEY", "AC11"),
            ("dlqother", "kept"),
            ("dlqreason", "rejected"),
            ("dlqattempts", "3"),
            ("dlqrule", "paid"),
            ("dlqtarget", "billing"),
            ("dlqtopic", "PAID"),
            ("dlqqueue", "2"),
            ("dlqoffset", "9"),
            ("dlqtime", "1700000000000"),
            ("dlqfirsterror", "first    error"),
        ],
    );
}

#[test]
fn the_properties_never_become_too_long() {
    let error = "é".repeat(5000);
    let obituary = Obituary { first_error: Some(&error), last_error: Some(&error), ..OBITUARY };
    for used in [10, 30_000, 32_600, 32_766, 32_767] {
        let mut before = b"k\x01".to_vec();
        before.resize(used, b'v');
        let record = record_of("PAID", 0, 0, &before, b"x");
        let after = properties(&RecordView::parse(&record).unwrap(), &obituary);
        assert!(after.len() <= property::PROPERTIES_BYTES_MAX, "{used}: {}", after.len());
        assert_eq!(property::get(&after, "k").map(str::len), Some(used - 2));
        let last = property::get(&after, "dlqlasterror");
        assert_eq!(last.is_some(), used < 31_000);
        assert!(last.is_none_or(|error| error.len() <= VALUE_BYTES_MAX));
    }
}
