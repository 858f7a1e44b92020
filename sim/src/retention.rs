//! Old segments are removed, as the broker's shell does it: what waits in them is moved first and all state written again;
//! when both are durable, they go. What a group has not finished keeps its segment: messages that are too old for their
//! consumers are another matter.

use crate::{
    Bug, ShellBug,
    checker::{Check, Content, Place, Violation, violated},
    failures,
    faults::Happened,
    message::{Message, Topic},
    node::{self, Node},
    pops,
    scene::{Inside, Scene},
    waiting,
};
use halley_machine::{
    delay::Waiting,
    offsets::Key,
    state::{BeginState, StateRecord},
    transactions::{Checked, Moved},
};
use halley_model::{LogOffset, QueueOffset, RecordBody, TopicName};
use halley_store::RemoveError;
use std::collections::BTreeMap;

/// Most messages moved as one group: few, so that moves end in all places.
const BATCH_MAX: usize = 3;

/// Most moves that one state record names.
const MOVES_MAX: usize = 50;

/// When everything is healed, fewer segments than this are left alone: else state would make room for state for ever.
const HEALED_SEGMENTS_MIN: usize = 3;

/// What is to be removed.
pub(crate) struct Removal {
    /// The log will begin here.
    until: LogOffset,
    /// Once everything before this is durable.
    needed: LogOffset,
}

impl Node {
    /// A round: pays for a removal, or removes what was paid for.
    pub(crate) fn retain(&mut self, scene: &mut Scene) -> Result<(), Violation> {
        let Some(gap) = scene.plan.retain_gap else { return Ok(()) };
        scene.inside(gap, Inside::Retain);
        if self.is_poisoned || self.is_stopping {
            return Ok(());
        }
        match self.removal.take() {
            None => self.pay(scene),
            Some(removal) => self.remove(scene, removal),
        }
    }

    /// Puts what is still needed into the log again.
    fn pay(&mut self, scene: &mut Scene) -> Result<(), Violation> {
        let removable = self.store.retention.removable();
        let Some(covered) = removable.last().map(|last| last.end) else { return Ok(()) };
        if scene.healed && removable.len() < HEALED_SEGMENTS_MIN {
            return Ok(());
        }
        self.commit_pops(scene)?;
        let unfinished = self.unfinished(scene);
        let ends = removable.iter().map(|segment| segment.end);
        let Some(until) = ends.filter(|end| *end <= unfinished).max() else { return Ok(()) };
        let has = |bug| scene.bug == Some(Bug::Shell(bug));
        let (moves, writes) = (!has(ShellBug::RemovedWithoutMove), !has(ShellBug::RemovedWithoutState));
        if moves && !(self.move_timers(scene, until)? && self.move_halves(scene, until)?)
            || writes && !self.write_state(scene, covered)?
        {
            return Ok(());
        }
        let needed = self.store.log.staged_end();
        scene.trace.note(scene.now, format_args!("paid for a removal up to {until}, durable at {needed}"));
        self.removal = Some(Removal { until, needed });
        Ok(())
    }

    fn remove(&mut self, scene: &mut Scene, removal: Removal) -> Result<(), Violation> {
        let is_early = scene.bug == Some(Bug::Shell(ShellBug::RemovedBeforeDurable));
        if self.store.log.durable() < removal.needed && !is_early {
            self.removal = Some(removal);
            return Ok(());
        }
        let until = removal.until;
        scene.log.may_begin(until);
        let removed = self.store.retention.remove_before(until);
        scene.trace.note(scene.now, format_args!("removal up to {until}: {removed:?}"));
        match removed {
            Ok(_) => {
                scene.coverage.count(Happened::Removed);
                scene.log.begins(until);
                Ok(())
            }
            Err(RemoveError::Full(_)) => {
                scene.log.begins(self.store.reader.start());
                Ok(())
            }
            Err(RemoveError::Poisoned(error)) => self.poisoned(scene, &error.to_string()),
            Err(error) => violated(Check::Assertion, error.to_string()),
        }
    }

    /// Where the first record lies that some group has not finished.
    fn unfinished(&self, scene: &Scene) -> LogOffset {
        let bus = (0..scene.plan.queues).map(|queue| (Topic::Bus, queue));
        let mut reads: Vec<(Key, Place)> =
            bus.clone().map(|place| (node::consumer_key(place.1), place)).collect();
        reads.extend(self.streams.iter().map(|stream| (stream.key.clone(), (Topic::Bus, stream.key.2))));
        if scene.plan.pop_gap.is_some() {
            reads.extend(bus.clone().chain([(Topic::Retries, 0)]).map(|place| (pops::key(place), place)));
        }
        if scene.plan.tries_max.is_some() {
            reads.extend(bus.chain([(Topic::Failed, 0)]).map(|place| (failures::key(place), place)));
        }
        let place = |(key, (topic, queue)): (Key, Place)| {
            let committed = self.tables.offsets.get(&key.0, &key.1, key.2);
            scene.log.place_of(topic, queue, committed.map_or(0, |committed| committed.offset))
        };
        reads.into_iter().filter_map(place).min().unwrap_or(LogOffset::MAX)
    }

    /// Moves delayed messages and recalls to the log's end; whether all could be.
    fn move_timers(&mut self, scene: &mut Scene, until: LogOffset) -> Result<bool, Violation> {
        if waiting::follow(&self.store, &mut self.tables).is_err() {
            return Ok(false);
        }
        let begin = self.first_from(Topic::Timers, until);
        for some in self.tables.timers.before(begin, usize::MAX).chunks(BATCH_MAX) {
            let mut group = Vec::new();
            for timer in some {
                let Ok(Some(record)) = waiting::read(&self.store, Topic::Timers, timer.offset()) else {
                    return Ok(false);
                };
                let mut properties = Vec::new();
                let again = Waiting::of(waiting::parse(&record)).again(&mut properties);
                let again = again.expect("the properties are short");
                group.push((Message::again(Topic::Timers, &again), Content::Moved));
            }
            let state = StateRecord { done_timers: some.to_vec(), ..StateRecord::default() };
            group.push((Message::state(state.encode()), Content::State));
            if self.append(scene, &group)?.is_err() {
                return Ok(false);
            }
            scene.coverage.count(Happened::WaitingMoved);
            some.iter().for_each(|timer| self.tables.timers.finish(*timer));
            self.moved_to = self.store.log.staged_end();
        }
        Ok(true)
    }

    /// Moves half messages of open transactions to the log's end; whether all could be.
    fn move_halves(&mut self, scene: &mut Scene, until: LogOffset) -> Result<bool, Violation> {
        let begin = self.first_from(Topic::Halves, until);
        for some in self.tables.transactions.before(begin, usize::MAX).chunks(BATCH_MAX) {
            let (mut group, mut state) = (Vec::new(), StateRecord::default());
            let first = scene.log.queue_len(Topic::Halves, 0);
            for (checked, to) in some.iter().zip(first..) {
                let Ok(Some(half)) = waiting::read(&self.store, Topic::Halves, checked.offset) else {
                    return Ok(false);
                };
                let body = RecordBody::of(&waiting::parse(&half));
                group.push((Message::again(Topic::Halves, &body), Content::Moved));
                state.moved_transactions.push(Moved { from: checked.offset, to });
                state.checked_transactions.push(Checked { offset: to, ..*checked });
                state.ended_transactions.push(checked.offset);
            }
            group.push((Message::state(state.encode()), Content::State));
            if self.append(scene, &group)?.is_err() {
                return Ok(false);
            }
            scene.coverage.count(Happened::WaitingMoved);
            let table = &mut self.tables.transactions;
            state.moved_transactions.into_iter().for_each(|moved| table.moved(moved));
            state.checked_transactions.into_iter().for_each(|checked| table.checked(checked));
            state.ended_transactions.into_iter().for_each(|offset| table.end(offset));
        }
        Ok(true)
    }

    /// Writes all state into the log, so that it can begin anywhere up to `covered`; whether the log took it.
    fn write_state(&mut self, scene: &mut Scene, covered: LogOffset) -> Result<bool, Violation> {
        self.covered = self.covered.max(covered);
        let ends = self.ends_before(covered).into_iter().map(|ended| StateRecord::ends(vec![ended]));
        let topics = self.tables.topics.all();
        let topics = topics.iter().map(|config| StateRecord::topic(config));
        let moves = self.tables.transactions.moves();
        let moves = moves
            .chunks(MOVES_MAX)
            .map(|some| StateRecord { moved_transactions: some.to_vec(), ..StateRecord::default() });
        let records: Vec<_> = ends.chain(topics).chain(moves).collect();
        for record in records {
            if self.append(scene, &[(Message::state(record.encode()), Content::State)])?.is_err() {
                return Ok(false);
            }
        }
        let keys: Vec<_> = self.tables.offsets.iter().map(|(key, _)| key.clone()).collect();
        self.tables.offsets.mark_dirty(keys);
        self.try_log_offsets(scene)
    }

    /// Where queues go on that have no record at `covered` or behind.
    pub(crate) fn ends_before(&self, covered: LogOffset) -> Vec<BeginState> {
        let mut ended = BTreeMap::<String, Vec<QueueOffset>>::new();
        self.store.reader.each_ended_before(covered, |topic, queue, end| {
            let queues = ended.entry(topic.to_string()).or_default();
            queues.resize(queues.len().max(queue as usize + 1), 0);
            queues[queue as usize] = end;
        });
        let state = |(topic, queues): (String, _)| {
            BeginState::new(TopicName::known(&topic).expect("the name is legal"), queues)
        };
        ended.into_iter().map(state).collect()
    }

    fn first_from(&self, topic: Topic, until: LogOffset) -> QueueOffset {
        self.store.reader.first_from(&topic.name(), 0, until)
    }
}
