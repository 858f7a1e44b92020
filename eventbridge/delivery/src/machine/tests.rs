use super::*;
use crate::cursor::OpenEvent;
use proptest::prelude::*;

mod model;

const STREAM: StreamId = StreamId(0);

/// A machine with made-up time, and what it asked for.
struct Bench {
    machine: Machine,
    now: Millis,
    effects: Vec<Effect>,
}

impl Bench {
    fn new(inflight_max: usize, open_max: usize) -> Self {
        let machine = Machine::new(Limits { inflight_max, open_max }, 1);
        Self { machine, now: 1_000_000, effects: Vec::new() }
    }

    fn step(&mut self, input: Input) -> Vec<Effect> {
        self.machine.step(self.now, input, &mut self.effects);
        std::mem::take(&mut self.effects)
    }

    fn open(&mut self, stream: StreamId, policy: Policy, cursor: Cursor) -> Vec<Effect> {
        self.step(Input::Open { stream, policy: Arc::new(policy), cursor })
    }

    fn fetched(&mut self, stream: StreamId, keys: &[(QueueOffset, Option<u32>)]) -> Vec<Effect> {
        let records: Vec<_> = keys.iter().map(|(at, key)| (*at, Fetched::Matched { key: *key })).collect();
        let next = keys.last().map_or(0, |(at, _)| at + 1);
        self.step(Input::Fetched { stream, records, next })
    }

    fn outcome(&mut self, offset: QueueOffset, verdict: Verdict) -> Vec<Effect> {
        self.step(Input::Outcome { stream: STREAM, offset, verdict })
    }

    fn retry(&mut self, offset: QueueOffset, reason: &str) -> Vec<Effect> {
        self.outcome(offset, Verdict::Retry { reason: reason.into(), retry_after: None })
    }

    /// Jumps to the deadline.
    fn sleep(&mut self) -> Vec<Effect> {
        self.now = self.machine.deadline().expect("something waits for time").max(self.now);
        self.step(Input::Tick)
    }
}

fn exact() -> Policy {
    let mut policy = Policy::default();
    policy.backoff.jitter = Jitter::None;
    policy
}

fn delivered(effects: &[Effect]) -> Vec<(QueueOffset, u32)> {
    let attempt = |effect: &Effect| match effect {
        Effect::Deliver { offset, attempt, .. } => Some((*offset, *attempt)),
        Effect::Fetch { .. } | Effect::DeadLetter { .. } | Effect::Persist { .. } => None,
    };
    effects.iter().filter_map(attempt).collect()
}

fn persisted(effects: &[Effect]) -> Option<Cursor> {
    effects.iter().rev().find_map(|effect| match effect {
        Effect::Persist { checkpoint, .. } => Some(
            Cursor::decode(checkpoint.offset, &checkpoint.metadata).expect("a cursor written is readable"),
        ),
        Effect::Fetch { .. } | Effect::DeadLetter { .. } | Effect::Deliver { .. } => None,
    })
}

#[test]
fn a_stream_begins_with_a_fetch_at_its_cursor() {
    let mut bench = Bench::new(2, 10);
    let effects = bench.open(STREAM, exact(), Cursor::at(7));
    assert_eq!(effects, [Effect::Fetch { stream: STREAM, from: 7, max: 10 }]);
    assert_eq!(bench.machine.deadline(), None);
}

#[test]
fn no_more_run_than_allowed_and_a_waiting_retry_frees_its_slot() {
    let mut bench = Bench::new(2, 100);
    bench.open(STREAM, exact(), Cursor::default());
    let effects = bench.fetched(STREAM, &[(0, None), (1, None), (2, None), (3, None)]);
    assert_eq!(delivered(&effects), [(0, 1), (1, 1)]);
    assert_eq!(delivered(&bench.retry(0, "no")), [(2, 1)]);
    assert_eq!(delivered(&bench.retry(1, "no")), [(3, 1)]);
    assert_eq!(bench.machine.running(), 2);
    bench.outcome(2, Verdict::Delivered);
    bench.outcome(3, Verdict::Delivered);
    assert_eq!(bench.machine.running(), 0);
    bench.now += 500;
    assert_eq!(delivered(&bench.step(Input::Tick)), [(0, 2), (1, 2)]);
}

#[test]
fn attempts_end_in_a_dead_letter_with_the_first_and_last_error() {
    let mut bench = Bench::new(2, 100);
    let policy = Policy { attempts_max: 3, ..exact() };
    bench.open(STREAM, policy, Cursor::default());
    bench.fetched(STREAM, &[(5, None)]);
    bench.retry(5, "first");
    bench.now += 500;
    assert_eq!(delivered(&bench.step(Input::Tick)), [(5, 2)]);
    bench.retry(5, "second");
    bench.now += 1000;
    assert_eq!(delivered(&bench.step(Input::Tick)), [(5, 3)]);
    let letter = Effect::DeadLetter {
        stream: STREAM,
        offset: 5,
        reason: GiveUp::Attempts,
        attempts: 3,
        first_error: Some("first".into()),
        last_error: Some("third".into()),
    };
    assert!(bench.retry(5, "third").contains(&letter));

    // A dead letter that cannot be written is tried until it can.
    for _ in 0..20 {
        bench.step(Input::DeadLettered { stream: STREAM, offset: 5, written: false });
        let mut again = bench.sleep();
        while !again.contains(&letter) {
            again = bench.sleep();
        }
    }
    bench.step(Input::DeadLettered { stream: STREAM, offset: 5, written: true });
    let backlog = bench.machine.backlog(STREAM).unwrap();
    assert_eq!((backlog.open, backlog.low, backlog.next), (0, 6, 6));
}

#[test]
fn a_rejected_event_is_dead_lettered_at_once() {
    let mut bench = Bench::new(1, 100);
    bench.open(STREAM, exact(), Cursor::default());
    bench.fetched(STREAM, &[(0, None)]);
    let effects = bench.outcome(0, Verdict::Reject { reason: "HTTP 400".into() });
    assert!(
        matches!(&effects[..], [Effect::DeadLetter { reason: GiveUp::Rejected, attempts: 1, .. }]),
        "{effects:?}"
    );
}

#[test]
fn an_attempt_that_would_come_too_late_is_not_made() {
    let mut bench = Bench::new(1, 100);
    let policy = Policy { age_max: Duration::from_millis(1200), ..exact() };
    bench.open(STREAM, policy, Cursor::default());
    bench.fetched(STREAM, &[(0, None)]);
    bench.retry(0, "a");
    bench.now += 500;
    bench.step(Input::Tick);
    let effects = bench.retry(0, "b");
    assert!(
        effects
            .iter()
            .any(|effect| matches!(effect, Effect::DeadLetter { reason: GiveUp::Age, attempts: 2, .. }))
    );
}

#[test]
fn a_retry_holds_back_only_its_own_key() {
    let mut bench = Bench::new(10, 100);
    bench.open(STREAM, exact(), Cursor::default());
    let effects = bench.fetched(STREAM, &[(0, Some(1)), (1, Some(1)), (2, Some(2)), (3, None), (4, Some(1))]);
    assert_eq!(delivered(&effects), [(0, 1), (2, 1), (3, 1)]);
    assert_eq!(delivered(&bench.retry(0, "no")), []);
    bench.now += 500;
    assert_eq!(delivered(&bench.step(Input::Tick)), [(0, 2)]);
    assert_eq!(delivered(&bench.outcome(0, Verdict::Delivered)), [(1, 1)]);
    bench.outcome(1, Verdict::Reject { reason: "no".into() });
    let effects = bench.step(Input::DeadLettered { stream: STREAM, offset: 1, written: true });
    assert_eq!(delivered(&effects), [(4, 1)], "the next of a key waits until the dead letter is written");
}

#[test]
fn streams_are_served_in_turn() {
    let mut bench = Bench::new(1, 100);
    let other = StreamId(1);
    bench.open(STREAM, exact(), Cursor::default());
    bench.open(other, exact(), Cursor::default());
    bench.fetched(STREAM, &[(0, None), (1, None), (2, None)]);
    bench.fetched(other, &[(0, None), (1, None)]);
    let mut order = Vec::new();
    let mut running = (STREAM, 0);
    for _ in 0..4 {
        let (stream, offset) = running;
        let effects = bench.step(Input::Outcome { stream, offset, verdict: Verdict::Delivered });
        let next = effects.iter().find_map(|effect| match effect {
            Effect::Deliver { stream, offset, .. } => Some((*stream, *offset)),
            Effect::Fetch { .. } | Effect::DeadLetter { .. } | Effect::Persist { .. } => None,
        });
        running = next.unwrap();
        order.push(running.0);
    }
    assert_eq!(order, [STREAM, other, STREAM, other]);
}

#[test]
fn many_due_retries_do_not_keep_new_events_out() {
    let mut bench = Bench::new(2, 1000);
    let waiting =
        |offset| (offset, OpenEvent { attempts: 1, first_attempt: Some(999_999), ..OpenEvent::default() });
    let cursor = Cursor { next: 500, open: (0..500).map(waiting).collect() };
    let effects = bench.open(STREAM, exact(), cursor);
    assert_eq!(delivered(&effects).len(), 2);
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Fetch { from: 500, .. })));
    bench.fetched(STREAM, &[(500, None), (501, None)]);
    let tried: Vec<_> =
        (0..2).flat_map(|offset| delivered(&bench.outcome(offset, Verdict::Delivered))).collect();
    assert!(tried.iter().any(|(offset, _)| *offset >= 500), "{tried:?}");
}

#[test]
fn at_the_bound_nothing_is_fetched() {
    let mut bench = Bench::new(1, 3);
    bench.open(STREAM, exact(), Cursor::default());
    let effects = bench.fetched(STREAM, &[(0, Some(1)), (1, Some(1)), (2, Some(1))]);
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Fetch { .. })));
    assert!(bench.machine.backlog(STREAM).unwrap().full);
    bench.outcome(0, Verdict::Delivered);
    let effects = bench.outcome(1, Verdict::Delivered);
    assert!(delivered(&effects) == [(2, 1)]);
    assert!(!bench.machine.backlog(STREAM).unwrap().full);
}

#[test]
fn a_failed_fetch_is_tried_again_later() {
    let mut bench = Bench::new(1, 3);
    bench.open(STREAM, exact(), Cursor::at(4));
    assert_eq!(bench.step(Input::FetchFailed { stream: STREAM }), []);
    assert_eq!(bench.sleep(), [Effect::Fetch { stream: STREAM, from: 4, max: 3 }]);
}

#[test]
fn restart_goes_on_where_it_stopped() {
    let mut bench = Bench::new(10, 100);
    bench.open(STREAM, exact(), Cursor::default());
    bench.fetched(STREAM, &[(0, None), (1, Some(7)), (2, Some(7)), (3, None), (4, None)]);
    bench.outcome(0, Verdict::Delivered);
    bench.outcome(3, Verdict::Delivered);
    bench.retry(1, "HTTP 503");
    assert!(!bench.step(Input::Stop).is_empty());
    let effects = bench.outcome(4, Verdict::Reject { reason: "HTTP 400".into() });
    assert!(matches!(effects[..], [Effect::Persist { .. }]), "stopping starts no dead letter: {effects:?}");
    let cursor = persisted(&effects).unwrap();
    assert_eq!(cursor.open.keys().copied().collect::<Vec<_>>(), [1, 2, 4]);

    let mut after = Bench::new(10, 100);
    after.now = bench.now + 100;
    let effects = after.open(STREAM, exact(), cursor);
    assert_eq!(delivered(&effects), [], "1 waits, 2 is behind it");
    assert!(effects.iter().any(|effect| matches!(
        effect,
        Effect::DeadLetter { offset: 4, reason: GiveUp::Rejected, attempts: 1, .. }
    )));
    after.now += 400;
    assert_eq!(delivered(&after.step(Input::Tick)), [(1, 2)], "due and attempts go on counting");
}

#[test]
fn cursors_are_persisted_in_batches() {
    let mut bench = Bench::new(10, 100);
    bench.open(STREAM, exact(), Cursor::default());
    assert!(persisted(&bench.fetched(STREAM, &[(0, None), (1, None)])).is_some());
    assert!(persisted(&bench.outcome(0, Verdict::Delivered)).is_none());
    assert!(persisted(&bench.outcome(1, Verdict::Delivered)).is_none());
    let before = bench.now;
    assert_eq!(persisted(&bench.sleep()), Some(Cursor::at(2)));
    assert_eq!(bench.now - before, PERSIST_INTERVAL_MS);
    assert_eq!(bench.machine.deadline(), None);
}

#[test]
fn a_record_gone_from_the_log_ends() {
    let mut bench = Bench::new(10, 100);
    bench.open(STREAM, exact(), Cursor::default());
    bench.fetched(STREAM, &[(0, Some(1)), (1, Some(1))]);
    assert_eq!(delivered(&bench.outcome(0, Verdict::Gone)), [(1, 1)]);
}

#[test]
fn answers_nobody_asked_for_are_ignored() {
    let mut bench = Bench::new(10, 100);
    bench.open(STREAM, exact(), Cursor::default());
    bench.fetched(STREAM, &[(0, None)]);
    bench.outcome(0, Verdict::Delivered);
    for input in [
        Input::Outcome { stream: STREAM, offset: 0, verdict: Verdict::Delivered },
        Input::Outcome { stream: StreamId(9), offset: 0, verdict: Verdict::Delivered },
        Input::DeadLettered { stream: STREAM, offset: 0, written: true },
        Input::FetchFailed { stream: StreamId(9) },
        Input::Open { stream: STREAM, policy: Arc::default(), cursor: Cursor::at(3) },
    ] {
        assert_eq!(bench.step(input), []);
    }
    assert_eq!(bench.machine.running(), 0);
}

#[test]
fn error_texts_are_bounded() {
    let mut bench = Bench::new(1000, 1000);
    bench.open(STREAM, exact(), Cursor::default());
    let events: Vec<_> = (0..200).map(|offset| (offset, None)).collect();
    bench.fetched(STREAM, &events);
    for offset in 0..200 {
        bench.retry(offset, &format!("{offset} {}", "é".repeat(1000)));
    }
    let cursor = persisted(&bench.step(Input::Stop)).or_else(|| persisted(&bench.step(Input::Stop)));
    let texts: BTreeSet<_> =
        cursor.unwrap().open.into_values().filter_map(|event| event.last_error).collect();
    assert!(texts.len() <= crate::cursor::ERRORS_MAX + 1, "{}", texts.len());
    assert!(texts.iter().all(|text| text.len() <= crate::cursor::ERROR_BYTES_MAX));
}
