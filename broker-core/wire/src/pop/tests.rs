use super::*;
use proptest::prelude::*;

#[test]
fn handles_look_like_rocketmq_5_5() {
    let text = "10 1700000000000 60000 3 0 broker-a 2 12";
    let handle = ExtraInfo::parse(text).unwrap();
    assert_eq!(
        (handle.start_offset, handle.pop_time, handle.invisible_time),
        (10, 1_700_000_000_000, 60_000)
    );
    assert_eq!((handle.retry, handle.broker_name), (Retry::Normal, "broker-a"));
    assert_eq!((handle.queue_id, handle.queue_offset, handle.is_ordered()), (Some(2), Some(12), false));
    assert_eq!(handle.to_string(), text);
    let old = ExtraInfo::parse("10 1 2 999 1 b 0").unwrap();
    assert!(old.is_ordered());
    assert_eq!((old.retry, old.queue_offset), (Retry::V1, None));
    assert!(matches!(ExtraInfo::parse("1 2 3 4 0"), Err(ExtraInfoError::Short { found: 5, .. })));
    assert!(matches!(ExtraInfo::parse(""), Err(ExtraInfoError::Short { found: 1, .. })));
    assert!(matches!(ExtraInfo::parse("1 x 3 4 0 b"), Err(ExtraInfoError::Value { at: 1, .. })));
    assert!(matches!(ExtraInfo::parse("1 2 3 4 7 b"), Err(ExtraInfoError::Value { at: 4, .. })));
}

#[test]
fn topics_of_retries() {
    assert_eq!(Retry::V1.real_topic("t", "g"), "%RETRY%g_t");
    assert_eq!(Retry::V2.real_topic("t", "g"), "%RETRY%g+t");
    assert_eq!(Retry::Normal.real_topic("t", "g"), "t");
    assert_eq!(Retry::of("t+u"), Retry::Normal);
    for retry in [Retry::Normal, Retry::V1, Retry::V2] {
        assert_eq!(Retry::of(&retry.real_topic("t", "g")), retry);
        assert_eq!(Retry::of_mark(retry.mark()), Some(retry));
        assert_eq!(Retry::topic_of(&retry.real_topic("t_u", "g_h"), "g_h"), "t_u");
    }
}

#[test]
fn lists_look_like_rocketmq_5_5() {
    let mut info = OffsetInfo::default();
    info.push(Retry::Normal, 3, 100, [100, 102]);
    info.push(Retry::V1, 0, 7, [7]);
    info.push_message_count(Retry::Normal, 3, 100, 2);
    info.push_queue_count(Retry::Normal, 3, 0);
    assert_eq!(info.start, "0 3 100;1 0 7");
    assert_eq!(info.messages, "0 3 100,102;1 0 7");
    assert_eq!(info.order_counts, "0 qo3%100 2;0 3 0");
    let queues = parse_offset_info(&info.start, &info.messages).unwrap();
    assert_eq!(queues[0].offsets, [100, 102]);
    assert_eq!((queues[1].retry, queues[1].start), (Retry::V1, 7));
    assert_eq!(parse_offset_info("0 3 100", ""), None);
    assert_eq!(parse_offset_info("0 3 100", "0 4 100"), None);
}

proptest! {
    #[test]
    fn handles_come_back(
        numbers in any::<(i64, i64, i64, i32)>(),
        retry in 0..3_usize,
        broker_name in "[^ ]{0,12}",
        queue in proptest::option::of(any::<(i32, Option<i64>)>()),
    ) {
        let handle = ExtraInfo {
            start_offset: numbers.0,
            pop_time: numbers.1,
            invisible_time: numbers.2,
            revive_queue: numbers.3,
            retry: [Retry::Normal, Retry::V1, Retry::V2][retry],
            broker_name: &broker_name,
            queue_id: queue.map(|(queue, _)| queue),
            queue_offset: queue.and_then(|(_, offset)| offset),
        };
        let text = handle.to_string();
        prop_assert_eq!(ExtraInfo::parse(&text), Ok(handle));
    }

    #[test]
    fn lists_come_back(queues in proptest::collection::vec((0..3_usize, any::<u32>(), any::<u64>(), proptest::collection::vec(any::<u64>(), 1..5)), 0..4)) {
        let mut info = OffsetInfo::default();
        let mut expected = Vec::new();
        for (retry, queue, start, offsets) in queues {
            let retry = [Retry::Normal, Retry::V1, Retry::V2][retry];
            info.push(retry, queue, start, offsets.iter().copied());
            expected.push(QueueOffsets { retry, queue, start, offsets });
        }
        prop_assert_eq!(parse_offset_info(&info.start, &info.messages), Some(expected));
    }

    #[test]
    fn any_text_is_survived(text in "[0-9 ;,a%-]{0,40}", other in ".{0,40}") {
        let _ = ExtraInfo::parse(&text);
        let _ = ExtraInfo::parse(&other);
        let _ = parse_offset_info(&text, &other);
        let _ = parse_offset_info(&text, &text);
    }
}
