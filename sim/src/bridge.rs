//! The shell of the delivery machines: it fetches, delivers, dead-letters and commits as they say.

use crate::{
    Bug,
    checker::{Check, Content, Violation, ensure, violated},
    faults::{Fault, Happened},
    message::{self, Message, Topic},
    node::{Node, topic_name},
    scene::{Event, Inside, Request, Scene},
};
use halley_delivery::{Cursor, Effect, Fetched, Input, Machine, StreamId, Verdict};
use halley_machine::offsets::{Committed, Key};
use halley_model::{GroupName, Millis, QueueId, QueueOffset, RecordView};

/// A fetch that found nothing waits so long for something.
const FETCH_WAIT: Millis = 5_000;

/// An orderly stop waits so long for running attempts.
const STOP_WAIT: Millis = 1_500;

/// A target's machine.
pub(crate) struct TargetShell {
    machine: Machine,
    /// The time at which the machine will be woken.
    wake: Option<Millis>,
}

/// A rule's view of one queue. The number of a stream is its place in the list of all.
pub(crate) struct StreamShell {
    target: usize,
    rule: usize,
    queue: QueueId,
    pub(crate) key: Key,
    /// A fetch that found nothing: from where, and how many.
    waiting: Option<(QueueOffset, usize)>,
    /// The fetch under way.
    fetch: Option<(QueueOffset, usize)>,
}

impl TargetShell {
    pub(crate) fn all(scene: &mut Scene) -> Vec<Self> {
        let limits: Vec<_> = scene.plan.targets.iter().map(|target| target.limits).collect();
        let shell = |limits| {
            let mut machine = Machine::new(limits, scene.random.next());
            if let Some(Bug::Delivery(canary)) = scene.bug {
                machine.plant(canary);
            }
            Self { machine, wake: None }
        };
        limits.into_iter().map(shell).collect()
    }
}

impl StreamShell {
    pub(crate) fn all(scene: &Scene) -> Vec<Self> {
        let shell = |(rule, queue): (usize, QueueId)| {
            let group = GroupName::new(&format!("HALLEY-rule-{rule}")).expect("the name is legal");
            let key = (group, topic_name(Topic::Bus), queue);
            Self { target: scene.plan.rules[rule].target, rule, queue, key, waiting: None, fetch: None }
        };
        scene.plan.streams().map(shell).collect()
    }
}

impl Node {
    /// Gives every stream to its machine, at its committed cursor. A stream without one begins at the queue's end, and that
    /// is logged before anything else, so that no later event can be in the log without it.
    pub(crate) fn open_streams(&mut self, scene: &mut Scene) -> Result<(), Violation> {
        let mut cursors = Vec::new();
        for stream in 0..self.streams.len() {
            let key = self.streams[stream].key.clone();
            let known = self.tables.offsets.get(&key.0, &key.1, key.2).cloned();
            let cursor = scene.delivery.opened(stream, known.as_ref())?;
            if !cursor.open.is_empty() {
                scene.coverage.count(Happened::CursorRestored);
            }
            if known.is_none() {
                self.commit(scene, stream, Committed { offset: cursor.next, metadata: String::new() });
            }
            cursors.push(cursor);
        }
        self.log_offsets(scene)?;
        for (stream, cursor) in cursors.into_iter().enumerate() {
            self.open_stream(scene, stream, cursor)?;
        }
        Ok(())
    }

    fn open_stream(&mut self, scene: &mut Scene, stream: usize, cursor: Cursor) -> Result<(), Violation> {
        let shell = &self.streams[stream];
        let policy = scene.plan.rules[shell.rule].policy.clone();
        let target = shell.target;
        self.feed(scene, target, Input::Open { stream: id(stream), policy, cursor })
    }

    /// A machine's deadline came.
    pub(crate) fn wake(&mut self, scene: &mut Scene, target: usize, due: Millis) -> Result<(), Violation> {
        if self.targets[target].wake != Some(due) {
            return Ok(());
        }
        self.targets[target].wake = None;
        self.feed(scene, target, Input::Tick)
    }

    /// New records lie in these queues.
    pub(crate) fn arrived(&mut self, scene: &mut Scene, queues: &[QueueId]) {
        for (stream, shell) in self.streams.iter_mut().enumerate() {
            if queues.contains(&shell.queue)
                && let Some(fetch) = shell.waiting.take()
            {
                shell.fetch = Some(fetch);
                scene.soon(3, Inside::Fetch { stream });
            }
        }
    }

    /// A fetch reads.
    pub(crate) fn fetch(&mut self, scene: &mut Scene, stream: usize) -> Result<(), Violation> {
        let shell = &mut self.streams[stream];
        let Some((from, most)) = shell.fetch.take() else { return Ok(()) };
        let (target, rule, queue) = (shell.target, shell.rule, shell.queue);
        if scene.has(Fault::FailedFetches) && scene.random.percent(10) {
            scene.coverage.strike(Fault::FailedFetches);
            return self.feed(scene, target, Input::FetchFailed { stream: id(stream) });
        }
        if self.queue_end(queue) <= from {
            self.streams[stream].waiting = Some((from, most));
            scene.inside(FETCH_WAIT, Inside::FetchTimeout { stream, from });
            return Ok(());
        }
        let most = scene.random.between(1, most as u64) as usize;
        let read = self.read_queue(scene, queue, from, most)?;
        if read.is_empty() {
            return self.feed(scene, target, Input::FetchFailed { stream: id(stream) });
        }
        let mut records = Vec::new();
        for (at, bytes) in read.iter().enumerate() {
            let plan = &scene.plan.rules[rule];
            let of_event = RecordView::parse(bytes).ok().and_then(|record| message::tag_and_key(&record));
            let Some((tag, key)) = of_event else {
                return violated(Check::NothingForeign, format!("no event at {queue}/{}", from + at as u64));
            };
            let key = plan.ordered.then_some(key);
            let fetched = if plan.matches(tag) { Fetched::Matched { key } } else { Fetched::Skipped };
            records.push((from + at as u64, fetched));
        }
        let next = from + read.len() as u64;
        self.feed(scene, target, Input::Fetched { stream: id(stream), records, next })
    }

    /// A fetch found nothing for so long that it gives up.
    pub(crate) fn fetch_timeout(
        &mut self,
        scene: &mut Scene,
        stream: usize,
        from: QueueOffset,
    ) -> Result<(), Violation> {
        let shell = &mut self.streams[stream];
        if shell.waiting.is_none_or(|(waiting, _)| waiting != from) {
            return Ok(());
        }
        shell.waiting = None;
        let target = shell.target;
        self.feed(scene, target, Input::Fetched { stream: id(stream), records: Vec::new(), next: from })
    }

    /// An attempt ended.
    pub(crate) fn answer(
        &mut self,
        scene: &mut Scene,
        stream: usize,
        offset: QueueOffset,
        verdict: Verdict,
    ) -> Result<(), Violation> {
        scene.trace.note(scene.now, format_args!("stream {stream}, {offset}: {verdict:?}"));
        if matches!(verdict, Verdict::Retry { .. }) {
            scene.coverage.count(Happened::Retried);
        }
        scene.delivery.ended(scene.now, stream, offset, &verdict);
        let target = self.streams[stream].target;
        self.feed(scene, target, Input::Outcome { stream: id(stream), offset, verdict })
    }

    /// The write of a dead letter ended.
    pub(crate) fn letter_written(
        &mut self,
        scene: &mut Scene,
        stream: usize,
        offset: QueueOffset,
        written: bool,
    ) -> Result<(), Violation> {
        scene.delivery.dead_lettered(stream, offset, written);
        let target = self.streams[stream].target;
        self.feed(scene, target, Input::DeadLettered { stream: id(stream), offset, written })
    }

    /// Begins an orderly stop.
    pub(crate) fn stop(&mut self, scene: &mut Scene) -> Result<(), Violation> {
        self.is_stopping = true;
        scene.inside(STOP_WAIT, Inside::StopNow);
        self.stop_machines(scene)
    }

    /// Tells the machines to stop; told again, they commit what changed since.
    pub(crate) fn stop_machines(&mut self, scene: &mut Scene) -> Result<(), Violation> {
        (0..self.targets.len()).try_for_each(|target| self.feed(scene, target, Input::Stop))
    }

    /// Whether nothing runs.
    pub(crate) fn is_idle(&self) -> bool {
        self.targets.iter().all(|target| target.machine.running() == 0)
    }

    /// Whether everything in the queues is finished.
    pub(crate) fn deliveries_are_quiet(&self) -> bool {
        self.is_idle()
            && self.streams.iter().enumerate().all(|(stream, shell)| {
                let backlog = self.targets[shell.target].machine.backlog(id(stream));
                backlog.is_some_and(|b| b.open == 0 && b.next == self.queue_end(shell.queue))
            })
    }

    fn feed(&mut self, scene: &mut Scene, target: usize, input: Input) -> Result<(), Violation> {
        let mut effects = Vec::new();
        self.targets[target].machine.step(scene.now, input, &mut effects);
        for effect in effects {
            self.perform(scene, target, effect)?;
        }
        let shell = &mut self.targets[target];
        if let Some(due) = shell.machine.deadline() {
            let due = due.max(scene.now);
            if shell.wake.is_none_or(|wake| due < wake) {
                shell.wake = Some(due);
                scene.inside(due - scene.now, Inside::Wake { target, due });
            }
        }
        Ok(())
    }

    fn perform(&mut self, scene: &mut Scene, target: usize, effect: Effect) -> Result<(), Violation> {
        scene.trace.note(scene.now, format_args!("target {target}: {effect:?}"));
        match effect {
            Effect::Fetch { stream, from, max } => {
                let stream = number(stream);
                let shell = &mut self.streams[stream];
                let free = shell.fetch.is_none() && shell.waiting.is_none() && max > 0;
                ensure(free, Check::InFlight, || format!("stream {stream} fetches {max} from {from} too"))?;
                shell.fetch = Some((from, max));
                scene.soon(3, Inside::Fetch { stream });
                Ok(())
            }
            Effect::Deliver { stream, offset, attempt } => {
                self.deliver(scene, number(stream), offset, attempt)
            }
            Effect::DeadLetter { stream, offset, reason, attempts, .. } => {
                let stream = number(stream);
                scene.delivery.dead_lettering(scene.now, stream, offset, reason, attempts)?;
                self.dead_letter(scene, stream, offset, reason.as_str())
            }
            Effect::Persist { stream, checkpoint } => {
                let stream = number(stream);
                scene.delivery.persisted(stream, &checkpoint)?;
                let committed = Committed { offset: checkpoint.offset, metadata: checkpoint.metadata };
                self.commit(scene, stream, committed);
                Ok(())
            }
        }
    }

    fn commit(&mut self, scene: &mut Scene, stream: usize, committed: Committed) {
        scene.delivery.committed(stream, committed.clone());
        self.tables.offsets.commit(self.streams[stream].key.clone(), committed);
    }

    fn deliver(
        &mut self,
        scene: &mut Scene,
        stream: usize,
        offset: QueueOffset,
        attempt: u32,
    ) -> Result<(), Violation> {
        let number = scene.delivery.delivering(scene.now, stream, offset, attempt)?;
        let (target, queue) = (self.streams[stream].target, self.streams[stream].queue);
        let read = self.read_queue(scene, queue, offset, 1)?;
        if read.is_empty() {
            let verdict =
                Verdict::Retry { reason: "the record cannot be read".to_owned(), retry_after: None };
            scene.soon(3, Inside::Answer { stream, offset, verdict });
            return Ok(());
        }
        let poison = scene.poison[number as usize];
        let (life, sent) = (scene.life, scene.now);
        let request = Request { life, stream, target, offset, number, poison, sent };
        let latency = scene.random.millis(0, scene.plan.targets[target].latency_max);
        scene.after(latency, Event::Arrive(request));
        Ok(())
    }

    fn dead_letter(
        &mut self,
        scene: &mut Scene,
        stream: usize,
        offset: QueueOffset,
        reason: &str,
    ) -> Result<(), Violation> {
        let (target, queue, rule) =
            (self.streams[stream].target, self.streams[stream].queue, self.streams[stream].rule);
        let read = self.read_queue(scene, queue, offset, 1)?;
        let letter = read.first().and_then(|bytes| RecordView::parse(bytes).ok());
        let letter = letter.map(|record| Message::dead_letter(&record, target, rule, reason));
        let written = match letter {
            Some(letter) => self.append(scene, &[(letter, Content::Letter { stream, offset })])?.is_ok(),
            None => false,
        };
        if !written {
            scene.coverage.count(Happened::DeadLetterRefused);
            scene.soon(3, Inside::LetterRefused { stream, offset });
        }
        Ok(())
    }
}

fn id(stream: usize) -> StreamId {
    StreamId(stream as u32)
}

fn number(stream: StreamId) -> usize {
    stream.0 as usize
}
