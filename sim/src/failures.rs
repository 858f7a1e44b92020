//! A group that fails on messages, as client and broker's shell serve it: what it sends back comes again through its retry
//! topic, so often and no oftener, and then is a dead letter. It goes on behind a message only once the log has acknowledged
//! that it was sent back.

use crate::{
    Bug, ShellBug,
    checker::{Check, Content, Place, Violation, violated},
    faults::Happened,
    message::{self, Message, Topic},
    node::{Node, topic_name},
    scene::{Inside, Scene},
};
use halley_machine::{
    offsets::{Committed, Key},
    retries::{self, Next},
};
use halley_model::{GroupName, QueueOffset, RecordView};
use std::collections::BTreeMap;

/// The queues that the group consumes.
#[derive(Default)]
pub(crate) struct Failing {
    cursors: BTreeMap<Place, Cursor>,
}

struct Cursor {
    next: QueueOffset,
    /// The group of records in which the next message was sent back.
    sent_back: Option<usize>,
}

impl Node {
    /// Goes on from what was committed.
    pub(crate) fn resume_failing(&mut self, scene: &mut Scene) {
        if scene.plan.tries_max.is_none() {
            return;
        }
        let places = (0..scene.plan.queues).map(|queue| (Topic::Bus, queue)).chain([(Topic::Failed, 0)]);
        for place in places {
            let key = key(place);
            let next = self.tables.offsets.get(&key.0, &key.1, key.2).map_or(0, |committed| committed.offset);
            self.failing.cursors.insert(place, Cursor { next, sent_back: None });
        }
        scene.inside(scene.plan.read_gap, Inside::Fail);
    }

    /// The group consumes some messages of each queue.
    pub(crate) fn fail(&mut self, scene: &mut Scene) -> Result<(), Violation> {
        if self.is_stopping {
            return Ok(());
        }
        let places: Vec<Place> = self.failing.cursors.keys().copied().collect();
        for place in places {
            for _ in 0..scene.failing.between(1, 8) {
                if !self.consume(scene, place)? {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Consumes the next message of a queue; whether the group went on behind it.
    fn consume(&mut self, scene: &mut Scene, place: Place) -> Result<bool, Violation> {
        let Some(cursor) = self.failing.cursors.get_mut(&place) else { return Ok(false) };
        let next = cursor.next;
        if let Some(group) = cursor.sent_back {
            if group < scene.log.acknowledged() {
                self.pass(place, next);
                return Ok(true);
            }
            return Ok(false);
        }
        let mut entries = Vec::new();
        let found = self.store.reader.lookup(&place.0.name(), place.1, next, 1, &mut entries);
        let (Ok(()), Some(entry)) = (found, entries.first()) else { return Ok(false) };
        let Ok(bytes) = self.store.reader.read(entry) else { return Ok(false) };
        let record = RecordView::parse(&bytes).or_else(|error| {
            violated(Check::NothingForeign, format!("{entry:?} leads to no record: {error}"))
        })?;
        let number = message::number(&record);
        if !scene.poison[number as usize] && (scene.healed || scene.failing.percent(70)) {
            scene.retries.consumed(number);
            self.pass(place, next);
            return Ok(true);
        }
        self.send_back(scene, place, next, &record)
    }

    /// Sends a message back, after which it waits for the log.
    fn send_back(
        &mut self,
        scene: &mut Scene,
        place: Place,
        offset: QueueOffset,
        record: &RecordView<'_>,
    ) -> Result<bool, Violation> {
        let tries_max = scene.plan.tries_max.unwrap_or_default();
        // Its delay is another part's promise.
        let (topic, happened) = match retries::after_failure(record.reconsume_times(), 0, tries_max) {
            Next::Again { .. } => (Topic::Failed, Happened::SentBack),
            Next::DeadLetter => (Topic::GivenUp, Happened::GivenUp),
        };
        let again = Message::sent_back(record, topic);
        let content = Content::SentBack { number: message::number(record), attempts: again.reconsume_times };
        let Ok(group) = self.append(scene, &[(again, content)])? else {
            let passes = scene.bug == Some(Bug::Shell(ShellBug::RefusedSendBackPassed));
            if passes {
                self.pass(place, offset);
            }
            return Ok(passes);
        };
        scene.coverage.count(happened);
        if let Some(cursor) = self.failing.cursors.get_mut(&place) {
            cursor.sent_back = Some(group);
        }
        Ok(false)
    }

    fn pass(&mut self, place: Place, offset: QueueOffset) {
        let next = offset + 1;
        self.failing.cursors.insert(place, Cursor { next, sent_back: None });
        self.tables.offsets.commit(key(place), Committed { offset: next, metadata: String::new() });
    }

    /// Whether every message was consumed or given up.
    pub(crate) fn failures_are_quiet(&self) -> bool {
        self.failing.cursors.iter().all(|((topic, queue), cursor)| {
            let end = self.store.reader.bounds(&topic.name(), *queue).map_or(0, |(_, max)| max);
            cursor.sent_back.is_none() && cursor.next >= end
        })
    }
}

pub(crate) fn key(place: Place) -> Key {
    (GroupName::new("failing").expect("the name is legal"), topic_name(place.0), place.1)
}
