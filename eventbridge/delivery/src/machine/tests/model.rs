//! A machine under random outcomes, delays and crashes, against a naive book of what it must do.

use super::*;

/// What the log holds: per stream, each record's key where it matches.
type Log = Vec<Vec<Option<Option<u32>>>>;

const ATTEMPTS_MAX: u32 = 4;
const OPEN_MAX: usize = 6;

/// A running question to the world.
#[derive(Debug, Clone)]
enum Asked {
    Fetch { stream: usize, from: QueueOffset, max: usize },
    Attempt { stream: usize, offset: QueueOffset },
    Letter { stream: usize, offset: QueueOffset },
}

struct World<'a> {
    log: &'a Log,
    bench: Bench,
    inflight_max: usize,
    asked: Vec<Asked>,
    /// What the last commit of each stream says.
    commits: Vec<(QueueOffset, String)>,
    /// Ended at all; ended as far as this run of the machine knows; ended before the last commit of its stream.
    ended: Vec<BTreeSet<QueueOffset>>,
    ended_known: Vec<BTreeSet<QueueOffset>>,
    ended_committed: Vec<BTreeSet<QueueOffset>>,
}

impl<'a> World<'a> {
    fn new(log: &'a Log, inflight_max: usize) -> Self {
        let sets = || vec![BTreeSet::new(); log.len()];
        let mut world = Self {
            log,
            bench: Bench::new(inflight_max, OPEN_MAX),
            inflight_max,
            asked: Vec::new(),
            commits: vec![(0, String::new()); log.len()],
            ended: sets(),
            ended_known: sets(),
            ended_committed: sets(),
        };
        world.start();
        world
    }

    /// Starts from the last commits, as after a crash.
    fn start(&mut self) {
        let now = self.bench.now;
        self.bench = Bench::new(self.inflight_max, OPEN_MAX);
        self.bench.now = now;
        self.asked.clear();
        self.ended_known.clone_from(&self.ended_committed);
        #[cfg(feature = "canaries")]
        if let Some(bug) = PLANTED.get() {
            self.bench.machine.plant(bug);
        }
        for stream in 0..self.log.len() {
            let (offset, metadata) = &self.commits[stream];
            let cursor = Cursor::decode(*offset, metadata).expect("a cursor written is readable");
            let mut policy = Policy { attempts_max: ATTEMPTS_MAX, ..Policy::default() };
            policy.backoff.initial = Duration::from_millis(50);
            let id = StreamId(stream as u32);
            let effects = self.bench.open(id, policy, cursor);
            self.take(effects);
        }
    }

    fn step(&mut self, input: Input) {
        let effects = self.bench.step(input);
        self.take(effects);
    }

    fn take(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Fetch { stream, from, max } => {
                    assert!((1..=OPEN_MAX).contains(&max));
                    self.asked.push(Asked::Fetch { stream: stream.0 as usize, from, max });
                }
                Effect::Deliver { stream, offset, attempt } => {
                    let stream = stream.0 as usize;
                    assert!((1..=ATTEMPTS_MAX).contains(&attempt));
                    self.check_may_run(stream, offset);
                    self.asked.push(Asked::Attempt { stream, offset });
                }
                Effect::DeadLetter { stream, offset, reason, attempts, first_error, last_error } => {
                    let stream = stream.0 as usize;
                    assert!(first_error.is_some() && last_error.is_some());
                    assert!(reason != GiveUp::Attempts || attempts == ATTEMPTS_MAX);
                    self.check_may_run(stream, offset);
                    self.asked.push(Asked::Letter { stream, offset });
                }
                Effect::Persist { stream, checkpoint } => {
                    let stream = stream.0 as usize;
                    self.commits[stream] = (checkpoint.offset, checkpoint.metadata);
                    self.ended_committed[stream] = self.ended_known[stream].clone();
                }
            }
        }
        let running = self.asked.iter().filter(|asked| !matches!(asked, Asked::Fetch { .. })).count();
        assert!(running <= self.inflight_max);
        assert_eq!(running, self.bench.machine.running());
        for stream in 0..self.log.len() {
            if let Some(backlog) = self.bench.machine.backlog(StreamId(stream as u32)) {
                assert!(backlog.open <= OPEN_MAX);
            }
        }
    }

    /// Order per key, no two at once, nothing twice that ended before the last commit.
    fn check_may_run(&self, stream: usize, offset: QueueOffset) {
        assert!(!self.ended_committed[stream].contains(&offset), "{offset} ended long ago");
        let key = self.log[stream][offset as usize].expect("only matching events run");
        if key.is_some() {
            let earlier = (0..offset).filter(|at| self.log[stream][*at as usize] == Some(key));
            for at in earlier {
                assert!(self.ended[stream].contains(&at), "{offset} overtook {at} of the same key");
            }
            let running = self.asked.iter().any(|asked| match asked {
                Asked::Fetch { .. } => false,
                Asked::Attempt { stream: s, offset: o } | Asked::Letter { stream: s, offset: o } => {
                    *s == stream && self.log[stream][*o as usize] == Some(key)
                }
            });
            assert!(!running, "{offset} runs beside another event of its key");
        }
    }

    /// Answers the `choice`-th question, badly if `luck` says so.
    fn answer(&mut self, choice: usize, luck: u8) {
        if self.asked.is_empty() {
            return;
        }
        match self.asked.remove(choice % self.asked.len()) {
            Asked::Fetch { stream, .. } if luck == 0 => {
                self.step(Input::FetchFailed { stream: StreamId(stream as u32) });
            }
            Asked::Fetch { stream, from, max } => self.answer_fetch(stream, from, max),
            Asked::Attempt { stream, offset } => {
                let verdict = match luck {
                    0 | 1 => Verdict::Reject { reason: "bad".into() },
                    2..=7 => Verdict::Retry {
                        reason: format!("error {luck}"),
                        retry_after: (luck == 3).then_some(Duration::from_millis(70)),
                    },
                    _ => Verdict::Delivered,
                };
                if verdict == Verdict::Delivered {
                    self.end(stream, offset);
                }
                self.step(Input::Outcome { stream: StreamId(stream as u32), offset, verdict });
            }
            Asked::Letter { stream, offset } => {
                let written = luck > 4;
                if written {
                    self.end(stream, offset);
                }
                self.step(Input::DeadLettered { stream: StreamId(stream as u32), offset, written });
            }
        }
    }

    fn end(&mut self, stream: usize, offset: QueueOffset) {
        self.ended[stream].insert(offset);
        self.ended_known[stream].insert(offset);
    }

    fn answer_fetch(&mut self, stream: usize, from: QueueOffset, max: usize) {
        let log = &self.log[stream];
        let records: Vec<_> = (from..log.len() as u64)
            .take(max)
            .map(|offset| match log[offset as usize] {
                Some(key) => (offset, Fetched::Matched { key }),
                None => (offset, Fetched::Skipped),
            })
            .collect();
        if records.is_empty() {
            // The end of the log: the question stays open, as a long poll does.
            self.asked.push(Asked::Fetch { stream, from, max });
            return;
        }
        let next = records.last().map_or(from, |(offset, _)| offset + 1);
        self.step(Input::Fetched { stream: StreamId(stream as u32), records, next });
    }

    /// Lets everything go well until nothing is left to do.
    fn drain(&mut self) {
        for _ in 0..10_000 {
            let done = (0..self.log.len()).all(|stream| {
                let backlog = self.bench.machine.backlog(StreamId(stream as u32)).expect("it was opened");
                backlog.low == self.log[stream].len() as u64
            });
            if done {
                return;
            }
            let work = self.asked.iter().position(|asked| match asked {
                Asked::Fetch { stream, from, .. } => *from < self.log[*stream].len() as u64,
                Asked::Attempt { .. } | Asked::Letter { .. } => true,
            });
            match work {
                Some(choice) => self.answer(choice, 200),
                None => {
                    self.bench.now = self.bench.machine.deadline().expect("something open waits for time");
                    self.step(Input::Tick);
                }
            }
        }
        panic!("the machine does not come to an end");
    }

    fn check_all_ended(&self) {
        for (stream, log) in self.log.iter().enumerate() {
            let matching: BTreeSet<_> =
                (0..log.len() as u64).filter(|offset| log[*offset as usize].is_some()).collect();
            assert_eq!(self.ended[stream], matching, "each matching event ends, no other is touched");
        }
    }
}

#[derive(Debug, Clone)]
enum Action {
    Answer(usize, u8),
    Time(Millis),
    Crash,
    Restart,
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        12 => (any::<usize>(), 0_u8..12).prop_map(|(choice, luck)| Action::Answer(choice, luck)),
        4 => (0_i64..400).prop_map(Action::Time),
        1 => Just(Action::Crash),
        1 => Just(Action::Restart),
    ]
}

fn log() -> impl Strategy<Value = Log> {
    let record = prop_oneof![
        1 => Just(None),
        2 => Just(Some(None)),
        4 => (0_u32..3).prop_map(|key| Some(Some(key))),
    ];
    proptest::collection::vec(proptest::collection::vec(record, 0..25), 1..4)
}

fn run(log: &Log, inflight_max: usize, actions: &[Action]) {
    let mut world = World::new(log, inflight_max);
    for action in actions {
        match action {
            Action::Answer(choice, luck) => world.answer(*choice, *luck),
            Action::Time(passed) => {
                world.bench.now += passed;
                world.step(Input::Tick);
            }
            Action::Crash => world.start(),
            Action::Restart => {
                world.step(Input::Stop);
                world.start();
            }
        }
    }
    world.drain();
    world.check_all_ended();
    // What is committed at the end is that everything is done.
    world.step(Input::Stop);
    for (stream, log) in log.iter().enumerate() {
        assert_eq!(world.commits[stream], (log.len() as u64, String::new()));
    }
}

proptest! {
    #[test]
    fn every_event_ends_in_order_within_the_bounds(
        log in log(),
        inflight_max in 1_usize..5,
        actions in proptest::collection::vec(action(), 0..120),
    ) {
        run(&log, inflight_max, &actions);
    }
}

#[cfg(feature = "canaries")]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Canary>> = const { std::cell::Cell::new(None) };
}

/// The model finds each planted bug.
#[cfg(feature = "canaries")]
#[test]
fn planted_bugs_are_found() {
    use proptest::{strategy::ValueTree as _, test_runner::TestRunner};
    std::panic::set_hook(Box::new(|_| {}));
    for bug in [Canary::DeadLetterDropped, Canary::CursorPastOpen, Canary::RetryForgetsOrder] {
        PLANTED.set(Some(bug));
        let mut runner = TestRunner::deterministic();
        let found = (0..500).any(|_| {
            let mut draw = || {
                let log = log().new_tree(&mut runner).unwrap().current();
                let actions = proptest::collection::vec(action(), 0..120);
                (log, actions.new_tree(&mut runner).unwrap().current())
            };
            let (log, actions) = draw();
            std::panic::catch_unwind(|| run(&log, 3, &actions)).is_err()
        });
        assert!(found, "{bug:?} was not found");
    }
    PLANTED.set(None);
    let _ = std::panic::take_hook();
}
