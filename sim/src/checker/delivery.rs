//! What deliveries should do: each stream's events, what became of them, and what the cursor may say.

use super::{Check, Violation, ensure, violated};
use crate::{
    message::Event,
    plan::{Plan, RulePlan},
};
use halley_delivery::{Checkpoint, Cursor, GiveUp, Verdict};
use halley_machine::offsets::Committed;
use halley_model::{Millis, QueueId, QueueOffset};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// The checker of all streams, known by their numbers (see [`Plan::streams`]).
#[derive(Debug)]
pub(crate) struct DeliveryChecker {
    streams: Vec<Stream>,
    inflight_max: Vec<usize>,
}

#[derive(Debug)]
struct Stream {
    rule: RulePlan,
    queue: QueueId,
    /// What became of the queue's events, by offset.
    fates: Vec<Fate>,
    /// Everything before is finished or does not match.
    settled: usize,
    /// All commits, oldest first, and which state records hold which.
    commits: Vec<Committed>,
    logged: Vec<(usize, usize)>,
    life: Life,
}

/// What became of an event under a rule.
#[derive(Debug)]
struct Fate {
    number: u64,
    matches: bool,
    key: u32,
    poison: bool,
    /// The target took it, whether or not anybody here knows.
    accepted: bool,
    /// Its dead letter is acknowledged.
    lettered: bool,
    /// Failed attempts, over all lives.
    failures: u32,
    first_attempt: Option<Millis>,
}

/// What belongs to one life of the process.
#[derive(Debug, Default)]
struct Life {
    restored: Cursor,
    running: BTreeSet<QueueOffset>,
    attempts: BTreeMap<QueueOffset, u32>,
    /// What the machine knows to be finished.
    finished: BTreeSet<QueueOffset>,
    not_before: BTreeMap<QueueOffset, Millis>,
}

impl Fate {
    fn is_finished(&self) -> bool {
        !self.matches || self.accepted || self.lettered
    }
}

impl DeliveryChecker {
    pub(crate) fn new(plan: &Plan) -> Self {
        let stream = |(rule, queue): (usize, QueueId)| Stream {
            rule: plan.rules[rule].clone(),
            queue,
            fates: Vec::new(),
            settled: 0,
            commits: Vec::new(),
            logged: Vec::new(),
            life: Life::default(),
        };
        let inflight_max = plan.targets.iter().map(|target| target.limits.inflight_max).collect();
        Self { streams: plan.streams().map(stream).collect(), inflight_max }
    }

    /// An event was staged as the next of its queue.
    pub(crate) fn staged(&mut self, event: &Event) {
        for stream in self.streams.iter_mut().filter(|stream| stream.queue == event.queue) {
            stream.fates.push(Fate {
                number: event.number,
                matches: stream.rule.matches(event.tag),
                key: event.key_hash(),
                poison: event.poison,
                accepted: false,
                lettered: false,
                failures: 0,
                first_attempt: None,
            });
        }
    }

    /// The process is gone.
    pub(crate) fn crashed(&mut self) {
        for stream in &mut self.streams {
            stream.life = Life::default();
        }
    }

    /// The log holds `groups` groups; queues are as long as `queue_len` says; dead letters as `letters` tells.
    pub(crate) fn recovered(
        &mut self,
        groups: usize,
        queue_len: impl Fn(QueueId) -> u64,
        letters: impl Iterator<Item = (usize, QueueOffset)>,
    ) {
        for stream in &mut self.streams {
            stream.fates.truncate(queue_len(stream.queue) as usize);
            stream.settled = 0;
            stream.logged.retain(|(group, _)| *group < groups);
            stream.fates.iter_mut().for_each(|fate| fate.lettered = false);
        }
        for (stream, offset) in letters {
            self.lettered(stream, offset);
        }
    }

    /// A dead letter is acknowledged.
    pub(crate) fn lettered(&mut self, stream: usize, offset: QueueOffset) {
        if let Some(fate) = self.streams[stream].fates.get_mut(offset as usize) {
            fate.lettered = true;
        }
    }

    /// A target took an event; whether it had it before.
    pub(crate) fn accepted(&mut self, stream: usize, number: u64) -> bool {
        let fates = &mut self.streams[stream].fates;
        // The event may be gone from the log, under another life's power cut.
        let Some(fate) = fates.iter_mut().find(|fate| fate.number == number) else { return false };
        std::mem::replace(&mut fate.accepted, true)
    }

    /// A cursor was committed.
    pub(crate) fn committed(&mut self, stream: usize, committed: Committed) {
        self.streams[stream].commits.push(committed);
    }

    /// The latest commit is in the state record that is group `group`.
    pub(crate) fn logged(&mut self, stream: usize, group: usize) {
        let stream = &mut self.streams[stream];
        stream.logged.push((group, stream.commits.len() - 1));
    }

    /// A stream goes on from what was found committed.
    pub(crate) fn opened(
        &mut self,
        stream: usize,
        committed: Option<&Committed>,
    ) -> Result<Cursor, Violation> {
        let stream = &mut self.streams[stream];
        let least = stream.logged.last().map(|(_, commit)| *commit);
        let Some(committed) = committed else {
            ensure(least.is_none(), Check::CursorsBehind, || {
                format!("the commit of {} is in the log and was not found", stream.name())
            })?;
            stream.commits.clear();
            stream.life.restored = Cursor::at(0);
            return Ok(Cursor::at(0));
        };
        // Commits that the log lost may be known from a snapshot, older ones never.
        let Some(at) = stream.commits.iter().rposition(|known| known == committed) else {
            return violated(
                Check::CursorsBehind,
                format!("{} never committed {committed:?}", stream.name()),
            );
        };
        ensure(least.is_none_or(|least| at >= least), Check::CursorsBehind, || {
            format!("{} goes on from commit {at}, but {least:?} is in the log", stream.name())
        })?;
        stream.commits.truncate(at + 1);
        let cursor = Cursor::decode(committed.offset, &committed.metadata);
        let cursor = cursor.or_else(|error| violated(Check::CursorsBehind, error.to_string()))?;
        stream.check_cursor(&cursor)?;
        stream.life.restored = cursor.clone();
        Ok(cursor)
    }

    /// A stream's cursor is to be committed.
    pub(crate) fn persisted(&mut self, stream: usize, checkpoint: &Checkpoint) -> Result<(), Violation> {
        let stream = &mut self.streams[stream];
        let cursor = Cursor::decode(checkpoint.offset, &checkpoint.metadata);
        let cursor = cursor.or_else(|error| violated(Check::CursorsBehind, error.to_string()))?;
        stream.check_cursor(&cursor)?;
        match cursor.open.keys().find(|offset| stream.life.finished.contains(offset)) {
            None => Ok(()),
            Some(done) => violated(
                Check::CursorsBehind,
                format!("the cursor of {} would deliver {done} again", stream.name()),
            ),
        }
    }

    /// An attempt starts. Gives the event's number.
    pub(crate) fn delivering(
        &mut self,
        now: Millis,
        stream: usize,
        offset: QueueOffset,
        attempt: u32,
    ) -> Result<u64, Violation> {
        self.streams[stream].check_attempt(now, offset, attempt)?;
        let stream_of = &mut self.streams[stream];
        stream_of.check_order(offset)?;
        stream_of.life.attempts.insert(offset, attempt);
        let fate = &mut stream_of.fates[offset as usize];
        fate.first_attempt.get_or_insert(now);
        let number = fate.number;
        self.start(stream, offset)?;
        Ok(number)
    }

    /// An attempt ended, as the process learned.
    pub(crate) fn ended(&mut self, now: Millis, stream: usize, offset: QueueOffset, verdict: &Verdict) {
        let stream = &mut self.streams[stream];
        stream.life.running.remove(&offset);
        let Some(fate) = stream.fates.get_mut(offset as usize) else { return };
        match verdict {
            Verdict::Delivered | Verdict::Gone => {
                stream.life.finished.insert(offset);
            }
            Verdict::Retry { retry_after, .. } => {
                fate.failures += 1;
                let asked = retry_after.unwrap_or(Duration::ZERO).min(stream.rule.policy.retry_after_max);
                let wait = Millis::try_from(asked.as_millis()).unwrap_or(Millis::MAX).max(1);
                stream.life.not_before.insert(offset, now + wait);
            }
            Verdict::Reject { .. } => fate.failures += 1,
        }
    }

    /// The write of a dead letter starts.
    pub(crate) fn dead_lettering(
        &mut self,
        now: Millis,
        stream: usize,
        offset: QueueOffset,
        reason: GiveUp,
        attempts: u32,
    ) -> Result<(), Violation> {
        let of = &self.streams[stream];
        let policy = &of.rule.policy;
        let Some(fate) = of.fates.get(offset as usize).filter(|fate| fate.matches) else {
            return violated(Check::EachDelivered, format!("{} gives up {offset}: no match", of.name()));
        };
        let longest = policy.backoff.max.max(policy.retry_after_max).as_millis() as Millis;
        let age_max = policy.age_max.as_millis() as Millis;
        let may = match reason {
            GiveUp::Rejected => fate.poison,
            GiveUp::Attempts => attempts >= policy.attempts_max,
            GiveUp::Age => fate.first_attempt.is_some_and(|first| now + longest >= first + age_max),
        };
        ensure(may && attempts <= fate.failures, Check::RetryPolicy, || {
            format!("{} gives up {offset} ({reason:?}, {attempts} attempts): {fate:?}", of.name())
        })?;
        self.start(stream, offset)
    }

    /// The write of a dead letter ended.
    pub(crate) fn dead_lettered(&mut self, stream: usize, offset: QueueOffset, written: bool) {
        let stream = &mut self.streams[stream];
        stream.life.running.remove(&offset);
        if written {
            stream.life.finished.insert(offset);
        }
    }

    /// All is over.
    pub(crate) fn at_the_end(&self) -> Result<(), Violation> {
        for stream in &self.streams {
            for (offset, fate) in stream.fates.iter().enumerate() {
                ensure(fate.is_finished(), Check::EachDelivered, || {
                    format!("{} neither delivered nor dead-lettered {offset}: {fate:?}", stream.name())
                })?;
                ensure(fate.matches || !fate.accepted, Check::EachDelivered, || {
                    format!("{} delivered {offset}, which does not match", stream.name())
                })?;
            }
        }
        Ok(())
    }

    fn start(&mut self, stream: usize, offset: QueueOffset) -> Result<(), Violation> {
        let of = &mut self.streams[stream];
        let (name, target) = (of.name(), of.rule.target);
        ensure(of.life.running.insert(offset), Check::InFlight, || format!("{name} runs {offset} twice"))?;
        ensure(!of.life.finished.contains(&offset), Check::InFlight, || {
            format!("{name} runs {offset} again, which it knows to be finished")
        })?;
        let of_target = self.streams.iter().filter(|stream| stream.rule.target == target);
        let running: usize = of_target.map(|stream| stream.life.running.len()).sum();
        ensure(running <= self.inflight_max[target], Check::InFlight, || {
            format!("{running} attempts run at once for target {target}")
        })
    }
}

impl Stream {
    fn name(&self) -> String {
        format!(
            "the rule of tags {:04b} for target {} in queue {}",
            self.rule.tags, self.rule.target, self.queue
        )
    }

    /// Everything that the cursor passes is finished.
    fn check_cursor(&mut self, cursor: &Cursor) -> Result<(), Violation> {
        while self.fates.get(self.settled).is_some_and(Fate::is_finished) {
            self.settled += 1;
        }
        ensure(cursor.next <= self.fates.len() as u64, Check::CursorsBehind, || {
            format!(
                "the cursor of {} is at {}, the queue ends before: {}",
                self.name(),
                cursor.next,
                self.fates.len()
            )
        })?;
        for offset in self.settled as u64..cursor.next {
            let fate = &self.fates[offset as usize];
            ensure(fate.is_finished() || cursor.open.contains_key(&offset), Check::CursorsBehind, || {
                format!("the cursor of {} passes {offset}: {fate:?}", self.name())
            })?;
        }
        Ok(())
    }

    fn check_attempt(&self, now: Millis, offset: QueueOffset, attempt: u32) -> Result<(), Violation> {
        let Some(fate) = self.fates.get(offset as usize).filter(|fate| fate.matches) else {
            return violated(Check::EachDelivered, format!("{} delivers {offset}: no match", self.name()));
        };
        let restored = &self.life.restored;
        let known = restored.open.get(&offset);
        ensure(known.is_some() || offset >= restored.next, Check::CursorsBehind, || {
            format!("{} delivers {offset} again, the restored cursor had it finished", self.name())
        })?;
        let before =
            self.life.attempts.get(&offset).copied().or(known.map(|event| event.attempts)).unwrap_or(0);
        ensure(attempt == before + 1 && attempt <= fate.failures + 1, Check::RetryPolicy, || {
            format!("{} makes attempt {attempt} of {offset} after {before}: {fate:?}", self.name())
        })?;
        ensure(attempt <= self.rule.policy.attempts_max.max(1), Check::RetryPolicy, || {
            format!("{} makes attempt {attempt} of {offset}", self.name())
        })?;
        let due = self.life.not_before.get(&offset).copied().or(known.map(|event| event.due)).unwrap_or(0);
        ensure(now >= due, Check::RetryPolicy, || {
            format!("{} tries {offset} again {} ms early", self.name(), due - now)
        })
    }

    /// Everything before of the same key is finished.
    fn check_order(&mut self, offset: QueueOffset) -> Result<(), Violation> {
        if !self.rule.ordered {
            return Ok(());
        }
        let key = self.fates[offset as usize].key;
        let before = &self.fates[..offset as usize];
        let unfinished =
            before.iter().skip(self.settled).position(|fate| fate.key == key && !fate.is_finished());
        let running = self.life.running.iter().find(|other| self.fates[**other as usize].key == key);
        match (unfinished, running) {
            (None, None) => Ok(()),
            (Some(earlier), _) => violated(
                Check::KeyOrder,
                format!("{} tries {offset} before {} is finished", self.name(), earlier + self.settled),
            ),
            (None, Some(other)) => {
                violated(Check::KeyOrder, format!("{} tries {offset} while {other} runs", self.name()))
            }
        }
    }
}
