use super::*;

fn part(generation: i32, broker: &str, queue_id: i32, logic_offset: i64) -> MappedPart {
    MappedPart { generation, broker_name: broker.into(), queue_id, logic_offset, ..MappedPart::default() }
}

fn detail(broker: &str, epoch: i64, queues: &[(i32, &[MappedPart])]) -> QueueMappingDetail {
    QueueMappingDetail {
        broker_name: broker.into(),
        epoch,
        topic: "t".into(),
        total_queues: 4,
        hosted_queues: queues.iter().map(|(queue, parts)| (*queue, parts.to_vec())).collect(),
        ..QueueMappingDetail::default()
    }
}

#[test]
fn offsets_are_translated_as_rocketmq_does() {
    let open = part(1, "b", 3, 1000);
    assert_eq!((open.logical(7), open.logical_within(7), open.physical(1007)), (1007, 1007, 7));
    let ended = MappedPart { start_offset: 10, end_offset: 20, ..open.clone() };
    assert_eq!((ended.logical(5), ended.logical(25), ended.logical_within(25)), (1000, 1015, 1010));
    assert_eq!((ended.physical(1003), ended.known_end(), open.known_end()), (13, 1010, 1000));
    assert_eq!(part(1, "b", 3, -1).logical_within(7), -1);
    assert_eq!(open.physical(i64::MIN), i64::MIN);
}

#[test]
fn only_what_the_broker_leads_is_told() {
    let moved = [part(0, "a", 0, 0), part(1, "b", 0, -1)];
    let of_a = detail("a", 5, &[(0, &moved), (1, &[part(0, "a", 1, 0)])]);
    let info = of_a.info();
    assert_eq!(info.queues, BTreeMap::from([(1, 1)]));
    assert_eq!((info.epoch, info.total_queues, info.topic.as_deref()), (5, 4, Some("t")));
    assert!(led(&of_a, 0).is_none() && led(&of_a, 1).is_some() && led(&of_a, 9).is_none());
    assert!(led(&detail("b", 5, &[(0, &moved)]), 0).is_some());
    assert_eq!((any_queue(&of_a), any_queue(&detail("a", 1, &[]))), (Some(0), None));
}

#[test]
fn older_and_other_mappings_are_refused() {
    let first = detail("a", 5, &[(0, &[part(0, "a", 0, 0)]), (1, &[part(0, "a", 1, 0)])]);
    let merged = |new: QueueMappingDetail| merge(Some(&first), new, false);
    let moved = detail("a", 6, &[(0, &[part(0, "a", 0, 0), part(1, "b", 0, -1)])]);
    // What is not named stays.
    assert_eq!(merged(moved.clone()).unwrap().hosted_queues.len(), 2);
    assert_eq!(merged(first.clone()), Ok(first.clone()));
    let check = |new: QueueMappingDetail, expected: MappingError| assert_eq!(merged(new), Err(expected));
    check(detail("a", 4, &[]), MappingError::Epoch { found: 4, known: 5 });
    check(detail("a", 5, &[]), MappingError::Lacking);
    let both = [(0, &moved.hosted_queues[&0][..]), (1, &first.hosted_queues[&1][..])];
    check(detail("a", 5, &both), MappingError::Leader);
    check(detail("a", 6, &[(0, &[])]), MappingError::Empty);
    let other = MappingError::Part { queue: 0, generation: 0 };
    check(detail("a", 6, &[(0, &[part(0, "a", 7, 0)])]), other);
    let scope = QueueMappingDetail { scope: "s".into(), ..first.clone() };
    check(scope, MappingError::Scope { found: "s".into(), known: "__global__".into() });
    assert_eq!(merge(Some(&first), detail("a", 1, &[]), true).unwrap().hosted_queues.len(), 2);
}

#[test]
fn rows_that_make_no_sense_are_refused() {
    let check = |parts: &[MappedPart], expected| {
        assert_eq!(merge(None, detail("a", 1, &[(0, parts)]), true), Err(expected));
    };
    check(&[part(-1, "a", 0, 0)], MappingError::Negative);
    check(&[part(0, "a", 0, -1), part(1, "a", 1, 5)], MappingError::Undecided);
    check(&[part(1, "a", 0, 0), part(1, "a", 1, 5)], MappingError::Generations);
    check(&[part(0, "a", 0, 5), part(1, "a", 1, 5)], MappingError::Base);
    let long = MappedPart { end_offset: 9, ..part(0, "a", 0, 0) };
    check(&[long.clone(), part(1, "a", 1, 9)], MappingError::Overlap);
    check(&[MappedPart { start_offset: 10, ..long }], MappingError::End);
}

#[test]
fn a_pull_goes_from_part_to_part() {
    let parts = [part(0, "b", 0, 0), part(1, "c", 0, 1000), part(2, "a", 0, 2000)];
    let mapping = detail("a", 1, &[(0, &parts)]);
    let led = led(&mapping, 0).unwrap();
    let at = |offset| led.part_at(offset).map(|(at, _)| at);
    assert_eq!(
        [at(-5), at(0), at(999), at(1000), at(i64::MAX)],
        [Some(0), Some(0), Some(0), Some(1), Some(2)]
    );
    let check = |part, asked, (answer, next, min, max), expected: (Answer, i64, i64, i64, i64)| {
        let (whole, delta) = whole(led, part, asked, Pulled { answer, next, min, max });
        assert_eq!((whole.answer, whole.next, whole.min, whole.max, delta), expected);
    };
    use Answer::{Found, NotFound, OffsetMoved, RetryImmediately};
    check(0, 3, (Found, 5, 0, 9), (Found, 5, 0, 2000, 0));
    check(1, 3, (Found, 5, 0, 9), (Found, 1005, 1000, 2000, 1000));
    check(2, 3, (Found, 5, 0, 9), (Found, 2005, 2000, 2009, 2000));
    // At the end of an older part the next one begins.
    check(0, 9, (NotFound, 9, 0, 9), (RetryImmediately, 1000, 1000, 2000, 1000));
    check(1, 500, (OffsetMoved, 9, 0, 9), (RetryImmediately, 2000, 2000, 2000, 2000));
    // At the end of the last one there is nothing yet.
    check(2, 9, (NotFound, 9, 0, 9), (NotFound, 2009, 2000, 2009, 2000));
    check(2, 12, (OffsetMoved, 9, 0, 9), (OffsetMoved, 2009, 2000, 2009, 2000));
    // What was deleted is skipped.
    check(0, 1, (OffsetMoved, 4, 4, 9), (OffsetMoved, 4, 4, 2000, 0));
    check(1, 1, (OffsetMoved, 4, 4, 9), (RetryImmediately, 1004, 1004, 2000, 1000));
}

#[test]
fn a_pull_waits_where_the_next_part_is_not_decided() {
    let parts = [part(0, "b", 0, 0), part(1, "a", 0, -1)];
    let mapping = detail("a", 1, &[(0, &parts)]);
    let led = led(&mapping, 0).unwrap();
    assert_eq!(led.part_at(5000).map(|(at, _)| at), Some(0));
    let (whole, _) = whole(led, 0, 9, Pulled { answer: Answer::NotFound, next: 9, min: 0, max: 9 });
    assert_eq!((whole.answer, whole.next), (Answer::NotFound, 9));
    let only = [part(0, "a", 0, -1)];
    assert!(super::led(&detail("a", 1, &[(0, &only)]), 0).unwrap().part_at(0).is_none());
}
