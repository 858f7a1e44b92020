//! The checker of histories finds each kind of broken promise, and nothing where none is broken.

mod common;

use common::history::{
    Answer,
    Content::{self, Damaged, Message},
    Contents, History, Id,
    Violation::{self, Foreign, Gap, Lost, OffsetGivenTwice, Reordered, StoredTwice, Vanished},
};

/// Sends one after the other, each acknowledged at the next offset of queue 0.
fn stored(history: &mut History, count: u64) {
    for _ in 0..count {
        let id = history.sent();
        history.answered(id, Answer::At((0, id)));
    }
}

/// Queue 0 from offset 0 on.
fn queue(messages: &[Content]) -> Contents {
    Contents::from([(0, (0..).zip(messages.iter().copied()).collect())])
}

fn messages(ids: &[Id]) -> Contents {
    queue(&ids.iter().copied().map(Message).collect::<Vec<_>>())
}

#[track_caller]
fn check(history: &History, contents: &Contents, expected: &[Violation]) {
    assert_eq!(history.check(contents).violations, expected);
}

#[test]
fn what_is_kept_is_found_kept() {
    let mut history = History::default();
    stored(&mut history, 3);
    history.received((0, 1), Message(1));
    history.received((0, 1), Message(1));
    check(&history, &messages(&[0, 1, 2]), &[]);
    assert_eq!(history.next(0), 2);
    assert_eq!(history.next(1), 0);
}

#[test]
fn without_an_answer_both_ends_are_right() {
    let mut history = History::default();
    stored(&mut history, 1);
    history.sent();
    let refused = history.sent();
    history.answered(refused, Answer::Refused(10));
    check(&history, &messages(&[0]), &[]);
    check(&history, &messages(&[0, 1]), &[]);
    let verdict = history.check(&messages(&[0, 2, 1]));
    assert!(verdict.violations.is_empty());
    assert_eq!((verdict.acknowledged, verdict.refused, verdict.unanswered), (1, 1, 1));
    assert_eq!(verdict.stored_anyway, 2);
}

#[test]
fn what_was_acknowledged_and_is_gone_is_lost() {
    let mut history = History::default();
    stored(&mut history, 3);
    check(&history, &messages(&[0]), &[Lost(1), Lost(2)]);
    check(&history, &Contents::new(), &[Lost(0), Lost(1), Lost(2)]);
}

#[test]
fn what_was_received_and_is_gone_has_vanished() {
    let mut history = History::default();
    stored(&mut history, 1);
    // Nobody was told that it is stored.
    history.sent();
    history.received((0, 1), Message(1));
    check(&history, &messages(&[0]), &[Vanished((0, 1), 1)]);
}

#[test]
fn a_place_has_one_message() {
    let mut history = History::default();
    stored(&mut history, 2);
    history.sent();
    check(&history, &messages(&[0, 2]), &[Lost(1), OffsetGivenTwice((0, 1))]);

    // To two readers.
    let mut history = History::default();
    stored(&mut history, 1);
    history.sent();
    history.received((0, 0), Message(0));
    history.received((0, 0), Message(1));
    let twice = OffsetGivenTwice((0, 0));
    assert!(history.check(&messages(&[0])).violations.contains(&twice));

    // Acknowledged to two producers.
    let mut history = History::default();
    let (one, two) = (history.sent(), history.sent());
    history.answered(one, Answer::At((0, 0)));
    history.answered(two, Answer::At((0, 0)));
    assert!(history.check(&messages(&[one, two])).violations.contains(&twice));
}

#[test]
fn a_message_has_one_place() {
    let mut history = History::default();
    stored(&mut history, 2);
    check(&history, &messages(&[0, 1, 0]), &[StoredTwice(0), Reordered((0, 2), 0)]);
    // Not where it was said to be.
    check(&history, &messages(&[0, 9, 1]), &[OffsetGivenTwice((0, 1)), Foreign((0, 1))]);
}

#[test]
fn nothing_foreign_and_no_gaps() {
    let mut history = History::default();
    stored(&mut history, 1);
    check(&history, &queue(&[Message(0), Damaged, Message(7)]), &[Foreign((0, 1)), Foreign((0, 2))]);
    history.sent();
    let gap = Contents::from([(0, vec![(0, Message(0)), (3, Message(1))])]);
    check(&history, &gap, &[Gap((0, 1))]);
}

#[test]
fn what_was_acknowledged_before_another_was_sent_comes_first() {
    let mut history = History::default();
    let first = history.sent();
    history.answered(first, Answer::At((0, 1)));
    let second = history.sent();
    history.answered(second, Answer::At((0, 0)));
    check(&history, &messages(&[second, first]), &[Reordered((0, 1), first)]);

    // Under way together, they may come in either order.
    let mut history = History::default();
    let (first, second) = (history.sent(), history.sent());
    history.answered(first, Answer::At((0, 1)));
    history.answered(second, Answer::At((0, 0)));
    check(&history, &messages(&[second, first]), &[]);
}

#[test]
fn what_waits_comes_exactly_once_in_any_order() {
    let mut history = History::default();
    let early = history.sent();
    history.answered(early, Answer::Later);
    let late = history.sent();
    history.answered(late, Answer::Later);
    check(&history, &messages(&[late, early]), &[]);
    check(&history, &messages(&[late]), &[Lost(early)]);
    check(&history, &messages(&[late, early, late]), &[StoredTwice(late)]);
}
