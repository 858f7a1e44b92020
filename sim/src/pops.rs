//! A group that pops the bus, as the broker's shell serves it: some messages are acknowledged, some late or never, some
//! hidden for longer; what is overdue moves to the retry topic, which the group pops too.

use crate::{
    Bug,
    checker::{Check, Content, Place, Violation, violated},
    faults::Happened,
    message::{Message, Topic},
    node::{Node, topic_name},
    scene::{Inside, Scene},
};
use halley_machine::{
    offsets::{Committed, Key},
    pop::{Begin, PopQueue},
};
use halley_model::{GroupName, Millis, QueueOffset, RecordView};
use halley_store::IndexEntry;
use std::collections::BTreeMap;

/// The queues that the group pops from.
#[derive(Default)]
pub(crate) struct Pops {
    queues: BTreeMap<Place, PopQueue>,
}

impl Node {
    /// Goes on from what was committed.
    pub(crate) fn resume_pops(&mut self, scene: &mut Scene) -> Result<(), Violation> {
        let Some(gap) = scene.plan.pop_gap else { return Ok(()) };
        let places = (0..scene.plan.queues).map(|queue| (Topic::Bus, queue)).chain([(Topic::Retries, 0)]);
        for place in places {
            let key = key(place);
            let committed = self.tables.offsets.get(&key.0, &key.1, key.2).cloned().unwrap_or_default();
            // What cannot be read is given out again.
            let mut queue = PopQueue::restore(committed.offset, &committed.metadata)
                .unwrap_or_else(|_| PopQueue::at(committed.offset));
            if let Some(Bug::Pop(bug)) = scene.bug {
                queue.plant(bug);
            }
            if queue.in_flight() > 0 {
                scene.coverage.count(Happened::FlightsRestored);
            }
            scene.pops.restored(&scene.log, place, &queue)?;
            self.pops.queues.insert(place, queue);
        }
        scene.inside(gap, Inside::Pop);
        Ok(())
    }

    /// Members of the group pop a few messages, and what is overdue is moved.
    pub(crate) fn pop(&mut self, scene: &mut Scene) -> Result<(), Violation> {
        if self.is_stopping {
            return Ok(());
        }
        let places: Vec<Place> = self.pops.queues.keys().copied().collect();
        for place in places {
            self.pop_queue(scene, place)?;
            self.move_overdue(scene, place)?;
        }
        Ok(())
    }

    fn pop_queue(&mut self, scene: &mut Scene, place: Place) -> Result<(), Violation> {
        let Some(queue) = self.pops.queues.get_mut(&place) else { return Ok(()) };
        let Begin::Read(from) = queue.begin() else { return Ok(()) };
        let most = scene.poppers.between(1, 8) as usize;
        let mut entries: Vec<IndexEntry> = Vec::new();
        if self.store.reader.lookup(&place.0.name(), place.1, from, most, &mut entries).is_err() {
            queue.abandon();
            return Ok(());
        }
        let next = from + entries.len() as u64;
        let invisible = if scene.healed { 60_000 } else { scene.poppers.millis(100, 4_000) };
        let offsets: Vec<_> = entries.iter().map(|entry| entry.queue_offset).collect();
        if !queue.pop(scene.now, invisible, offsets.iter().copied(), next) {
            return Ok(());
        }
        for offset in offsets {
            scene.coverage.count(Happened::Popped);
            scene.pops.given(place, offset, scene.now, scene.now + invisible)?;
            self.decide(scene, place, offset, invisible);
        }
        Ok(())
    }

    /// What the consumer will do with a message.
    fn decide(&self, scene: &mut Scene, place: Place, offset: QueueOffset, invisible: Millis) {
        let popped = scene.now;
        let what = if scene.healed { 0 } else { scene.poppers.between(0, 99) };
        // Late ones find their handle stale.
        let wait = scene.poppers.millis(0, if scene.healed { 50 } else { invisible + invisible / 4 });
        let change = match what {
            0..=64 => None,
            65..=79 => Some(scene.poppers.millis(50, 6_000)),
            _ => return,
        };
        scene.inside(wait, Inside::PopAck { place, offset, popped, change });
    }

    /// A consumer acknowledges a message, or hides it for longer.
    pub(crate) fn pop_ack(
        &mut self,
        scene: &mut Scene,
        place: Place,
        offset: QueueOffset,
        popped: Millis,
        change: Option<Millis>,
    ) {
        let Some(queue) = self.pops.queues.get_mut(&place) else { return };
        match change {
            None => {
                if queue.ack(offset, popped) {
                    scene.pops.acked(place, offset);
                }
            }
            Some(invisible) => {
                if queue.change(scene.now, offset, popped, invisible, false) {
                    scene.pops.hidden(place, offset, scene.now, scene.now + invisible);
                    if scene.healed {
                        let popped = scene.now;
                        scene.inside(1, Inside::PopAck { place, offset, popped, change: None });
                    }
                }
            }
        }
    }

    fn move_overdue(&mut self, scene: &mut Scene, place: Place) -> Result<(), Violation> {
        let Some(queue) = self.pops.queues.get_mut(&place) else { return Ok(()) };
        let mut due = Vec::new();
        queue.due(scene.now, 16, &mut due);
        for due in due {
            scene.pops.due(place, due.offset, scene.now)?;
            let staged = match self.retry_of(place, due.offset)? {
                Some(retry) => {
                    let content = Content::Retry { topic: place.0, queue: place.1, offset: due.offset };
                    self.append(scene, &[(retry, content)])?.is_ok()
                }
                None => false,
            };
            if !staged && let Some(queue) = self.pops.queues.get_mut(&place) {
                let until = scene.now + 500;
                queue.postpone(due.offset, until);
                scene.pops.hidden(place, due.offset, due.popped, until);
            }
        }
        Ok(())
    }

    /// The message as it will stand in the retry topic; `None` where the disk is off.
    fn retry_of(&self, place: Place, offset: QueueOffset) -> Result<Option<Message>, Violation> {
        let mut entries = Vec::new();
        if self.store.reader.lookup(&place.0.name(), place.1, offset, 1, &mut entries).is_err() {
            return Ok(None);
        }
        let Some(entry) = entries.first() else {
            return violated(Check::Pops, format!("{place:?}/{offset} was popped and is not there"));
        };
        let Ok(bytes) = self.store.reader.read(entry) else { return Ok(None) };
        match RecordView::parse(&bytes) {
            Ok(record) => Ok(Some(Message::retry(&record))),
            Err(error) => violated(Check::NothingForeign, format!("{entry:?} leads to no record: {error}")),
        }
    }

    /// The log acknowledged a message in the retry topic.
    pub(crate) fn pop_moved(&mut self, scene: &mut Scene, place: Place, offset: QueueOffset) {
        scene.coverage.count(Happened::Revived);
        if let Some(queue) = self.pops.queues.get_mut(&place) {
            queue.revived(offset);
        }
    }

    /// Commits how far the group got.
    pub(crate) fn commit_pops(&mut self, scene: &mut Scene) -> Result<(), Violation> {
        for (place, queue) in &self.pops.queues {
            let (offset, metadata) = queue.cursor(scene.now);
            if let Ok(committed) = PopQueue::restore(offset, &metadata) {
                scene.pops.committed(&scene.log, *place, &committed)?;
            }
            self.tables.offsets.commit(key(*place), Committed { offset, metadata });
        }
        Ok(())
    }

    /// Whether every message is finished.
    pub(crate) fn pops_are_quiet(&self) -> bool {
        self.pops.queues.iter().all(|((topic, id), queue)| {
            let end = self.store.reader.bounds(&topic.name(), *id).map_or(0, |(_, max)| max);
            queue.in_flight() == 0 && queue.next() >= end
        })
    }
}

pub(crate) fn key(place: Place) -> Key {
    (GroupName::new("poppers").expect("the name is legal"), topic_name(place.0), place.1)
}
