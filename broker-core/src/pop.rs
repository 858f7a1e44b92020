//! POP consumption: the queues of all groups that pop, and when their messages' times are over.
//!
//! Each group's queue is a [`Slot`] with a machine behind a lock of its own. What the log must know of it is committed like
//! any group's offset: [`Pops::commit_all`] runs before offsets are logged. An offset that someone else committed
//! meanwhile (a client that pulls, a tool that resets) is met and taken over, at the next pop or commit.
//!
//! Locks: a slot's before those of offsets, alarms and the list of changed slots; never two slots'.

pub(crate) mod polling;
pub(crate) mod revive;
pub(crate) mod take;

use crate::{clock, follow, progress::Progress};
use halley_machine::{
    offsets::{Committed, Key},
    pop::{Due, PopQueue, cursor},
};
use halley_model::{GroupName, Millis, QueueId, QueueOffset, TopicName};
use parking_lot::{Mutex, MutexGuard, RwLock};
use std::{
    collections::{BTreeMap, HashMap},
    ops::{Deref, DerefMut},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::Notify;

type BySlot = HashMap<GroupName, HashMap<TopicName, Vec<Option<Arc<Slot>>>>>;

/// All queues that groups pop from.
pub(crate) struct Pops {
    slots: RwLock<BySlot>,
    /// Slots that offsets do not yet have as they are.
    changed: Mutex<Vec<Arc<Slot>>>,
    /// When time has something to do, by slot.
    alarms: Mutex<BTreeMap<(Millis, u64), Arc<Slot>>>,
    /// Told when the first alarm is earlier than it was.
    earlier: Notify,
    next_id: AtomicU64,
    progress: Arc<Progress>,
}

/// A group's queue.
#[derive(Debug)]
pub(crate) struct Slot {
    id: u64,
    key: Key,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    queue: PopQueue,
    /// What offsets should have, were nobody else committing.
    committed: Option<Mark>,
    /// It is in `Pops::changed`.
    changed: bool,
    alarm: Option<Millis>,
}

/// What tells one commit from another: only we write metadata, always with the lowest offset that is not finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    offset: QueueOffset,
    bare: bool,
}

/// A slot's machine, locked. When it goes, alarms and changes are made known.
pub(crate) struct Locked<'a> {
    pops: &'a Pops,
    slot: &'a Arc<Slot>,
    state: MutexGuard<'a, State>,
    now: Millis,
}

impl Mark {
    fn of(committed: &Committed) -> Self {
        Self { offset: committed.offset, bare: committed.metadata.is_empty() }
    }
}

impl Pops {
    /// The queues as they were committed: those with messages in flight, so that their times end also without a consumer.
    pub(crate) fn new(progress: Arc<Progress>) -> Self {
        let pops = Self {
            slots: RwLock::default(),
            changed: Mutex::default(),
            alarms: Mutex::default(),
            earlier: Notify::new(),
            next_id: AtomicU64::new(0),
            progress,
        };
        let in_flight: Vec<_> = pops.progress.with_offsets(|offsets| {
            let popped = offsets.iter().filter(|(_, committed)| cursor::is_cursor(&committed.metadata));
            popped.map(|(key, committed)| (key.clone(), committed.clone())).collect()
        });
        let now = clock::now();
        for (key, committed) in in_flight {
            let slot = pops.add(key, Some(committed));
            drop(pops.lock(&slot, now));
        }
        pops
    }

    /// The group's queue where it popped from it, or committed an offset.
    pub(crate) fn known(&self, group: &GroupName, topic: &TopicName, queue: QueueId) -> Option<Arc<Slot>> {
        if let Some(slot) = self.find(group, topic, queue) {
            return Some(slot);
        }
        let committed = self.progress.committed(group, topic, queue)?;
        // Another's notes beside the offset: the group does not pop, and only popping makes it a group that does.
        if !committed.metadata.is_empty() && !cursor::is_cursor(&committed.metadata) {
            return None;
        }
        Some(self.add((group.clone(), topic.clone(), queue), Some(committed)))
    }

    /// The group's queue; where it never consumed it, it begins at `begin`, which is committed.
    pub(crate) fn slot(
        &self,
        group: &GroupName,
        topic: &TopicName,
        queue: QueueId,
        begin: impl FnOnce() -> QueueOffset,
    ) -> Arc<Slot> {
        if let Some(slot) = self.known(group, topic, queue) {
            return slot;
        }
        let key = (group.clone(), topic.clone(), queue);
        let committed = Committed { offset: begin(), metadata: String::new() };
        self.progress.commit(key.clone(), committed.clone());
        self.add(key, Some(committed))
    }

    /// Locks the slot as it is.
    pub(crate) fn lock<'a>(&'a self, slot: &'a Arc<Slot>, now: Millis) -> Locked<'a> {
        Locked { pops: self, slot, state: slot.state.lock(), now }
    }

    /// Locks the slot, and takes over what someone else committed. `begin` is where it begins should its offset be gone.
    pub(crate) fn lock_current<'a>(
        &'a self,
        slot: &'a Arc<Slot>,
        now: Millis,
        begin: impl FnOnce() -> QueueOffset,
    ) -> Locked<'a> {
        let mut locked = self.lock(slot, now);
        let (group, topic, queue) = &slot.key;
        if let Some(offset) = self.progress.take_reset(group, topic, *queue) {
            let committed = Committed { offset, metadata: String::new() };
            self.progress.commit(slot.key.clone(), committed.clone());
            locked.state.take_over(committed);
            return locked;
        }
        match self.progress.committed(group, topic, *queue) {
            Some(committed) => {
                if locked.state.committed != Some(Mark::of(&committed)) {
                    locked.state.take_over(committed);
                }
            }
            // Topic or group were deleted.
            None => {
                let committed = Committed { offset: begin(), metadata: String::new() };
                self.progress.commit(slot.key.clone(), committed.clone());
                locked.state.take_over(committed);
            }
        }
        locked
    }

    /// How many queues of lite topics groups have popped from.
    pub(crate) fn lite_queues(&self) -> usize {
        let slots = self.slots.read();
        let topics = slots.values().flat_map(HashMap::keys);
        topics.filter(|topic| topic.starts_with(halley_machine::lite::PREFIX)).count()
    }

    /// Looks at the slot's machine without changing it.
    pub(crate) fn peek<'a>(&self, slot: &'a Slot) -> impl Deref<Target = PopQueue> + use<'a> {
        parking_lot::MutexGuard::map(slot.state.lock(), |state| &mut state.queue)
    }

    /// Commits what changed since the last call.
    pub(crate) fn commit_all(&self) {
        let changed = std::mem::take(&mut *self.changed.lock());
        let now = clock::now();
        for slot in changed {
            self.commit(&slot, now);
        }
    }

    /// Commits the group's queue, so that whoever asks sees it as it is.
    pub(crate) fn commit_one(&self, group: &GroupName, topic: &TopicName, queue: QueueId) {
        if let Some(slot) = self.find(group, topic, queue)
            && slot.state.lock().changed
        {
            self.commit(&slot, clock::now());
        }
    }

    fn commit(&self, slot: &Arc<Slot>, now: Millis) {
        let mut state = slot.state.lock();
        state.changed = false;
        let (offset, metadata) = state.queue.cursor(now);
        let committed = Committed { offset, metadata };
        let mark = Mark::of(&committed);
        let expected = state.committed;
        let is_ours = |current: Option<&Committed>| current.map(Mark::of) == expected;
        match self.progress.commit_if(slot.key.clone(), committed, is_ours) {
            Ok(()) => state.committed = Some(mark),
            Err(Some(theirs)) => state.take_over(theirs),
            Err(None) => {
                drop(state);
                self.forget(slot);
            }
        }
    }

    /// Ends at the first alarm, when an earlier one was set, or after a nap: the clock may have been set meanwhile.
    pub(crate) async fn alarm(&self) {
        let first = self.alarms.lock().first_key_value().map(|((at, _), _)| *at);
        let Some(at) = first else { return self.earlier.notified().await };
        let wait = Duration::from_millis(u64::try_from(at.saturating_sub(clock::now())).unwrap_or(0));
        tokio::select! {
            () = tokio::time::sleep(wait.min(follow::NAP)) => {}
            () = self.earlier.notified() => {}
        }
    }

    /// Takes messages whose time is over, up to `max`, and calls `unblocked` for queues that give out messages in order again.
    pub(crate) fn take_due(
        &self,
        now: Millis,
        max: usize,
        mut unblocked: impl FnMut(&Key),
    ) -> Vec<(Arc<Slot>, Due)> {
        let mut taken = Vec::new();
        while taken.len() < max {
            let slot = {
                let mut alarms = self.alarms.lock();
                match alarms.first_key_value() {
                    Some(((at, _), _)) if *at <= now => alarms.pop_first().map(|(_, slot)| slot),
                    _ => None,
                }
            };
            let Some(slot) = slot else { break };
            let mut due = Vec::new();
            {
                let mut locked = self.lock(&slot, now);
                locked.state.alarm = None;
                locked.due(now, max - taken.len(), &mut due);
            }
            if due.is_empty() {
                unblocked(&slot.key);
            }
            taken.extend(due.into_iter().map(|due| (slot.clone(), due)));
        }
        taken
    }

    fn find(&self, group: &GroupName, topic: &TopicName, queue: QueueId) -> Option<Arc<Slot>> {
        self.slots.read().get(group)?.get(topic)?.get(queue as usize)?.clone()
    }

    fn add(&self, key: Key, committed: Option<Committed>) -> Arc<Slot> {
        let mut slots = self.slots.write();
        let by_queue = slots.entry(key.0.clone()).or_default().entry(key.1.clone()).or_default();
        let at = key.2 as usize;
        if by_queue.len() <= at {
            by_queue.resize(at + 1, None);
        }
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        // Another connection may have been faster.
        by_queue[at].get_or_insert_with(|| Arc::new(Slot::new(id, key, committed))).clone()
    }

    fn forget(&self, slot: &Arc<Slot>) {
        if let Some(alarm) = slot.state.lock().alarm.take() {
            self.alarms.lock().remove(&(alarm, slot.id));
        }
        let mut slots = self.slots.write();
        let by_queue = slots.get_mut(&slot.key.0).and_then(|by_topic| by_topic.get_mut(&slot.key.1));
        if let Some(entry) = by_queue.and_then(|by_queue| by_queue.get_mut(slot.key.2 as usize))
            && entry.as_ref().is_some_and(|entry| Arc::ptr_eq(entry, slot))
        {
            *entry = None;
        }
    }

    fn set_alarm(&self, slot: &Arc<Slot>, before: Option<Millis>, at: Millis) {
        let mut alarms = self.alarms.lock();
        if let Some(before) = before {
            alarms.remove(&(before, slot.id));
        }
        let first = alarms.first_key_value().is_none_or(|((first, _), _)| at < *first);
        alarms.insert((at, slot.id), slot.clone());
        if first {
            self.earlier.notify_one();
        }
    }
}

impl Slot {
    fn new(id: u64, key: Key, committed: Option<Committed>) -> Self {
        let mut state = State { queue: PopQueue::default(), committed: None, changed: false, alarm: None };
        if let Some(committed) = committed {
            state.take_over(committed);
        }
        Self { id, key, state: Mutex::new(state) }
    }

    /// Whose queue it is.
    pub(crate) fn key(&self) -> &Key {
        &self.key
    }
}

impl State {
    fn take_over(&mut self, committed: Committed) {
        self.committed = Some(Mark::of(&committed));
        match PopQueue::restore(committed.offset, &committed.metadata) {
            Ok(queue) => self.queue.replace(queue),
            Err(error) => {
                tracing::info!(offset = committed.offset, %error, "what was in flight is given out again");
                self.queue.reset(committed.offset);
            }
        }
    }
}

impl Deref for Locked<'_> {
    type Target = PopQueue;

    fn deref(&self) -> &PopQueue {
        &self.state.queue
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut PopQueue {
        &mut self.state.queue
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        if let Some(at) = self.state.queue.deadline(self.now)
            && self.state.alarm.is_none_or(|alarm| at < alarm)
        {
            self.pops.set_alarm(self.slot, self.state.alarm, at);
            self.state.alarm = Some(at);
        }
        if !self.state.changed {
            self.state.changed = true;
            self.pops.changed.lock().push(self.slot.clone());
        }
    }
}
