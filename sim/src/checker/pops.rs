//! The books of a group that pops: what it was given and when it may be given again.

use super::{Check, Content, LogChecker, Violation, ensure};
use crate::message::Topic;
use halley_machine::pop::PopQueue;
use halley_model::{Millis, QueueId, QueueOffset};
use std::collections::{BTreeMap, BTreeSet};

/// A queue.
pub(crate) type Place = (Topic, QueueId);

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct PopChecker {
    messages: BTreeMap<(Place, QueueOffset), Fate>,
}

/// What happened to a message so far.
#[derive(Debug, Default)]
struct Fate {
    /// A consumer acknowledged it with a handle that counted.
    acked: bool,
    /// When it was given out or hidden anew, and until when; the last ones count.
    hidden: Vec<(Millis, Millis)>,
    /// It was given out in this life, or was in flight when it began.
    is_out: bool,
}

impl PopChecker {
    /// A message is given to a consumer.
    pub(crate) fn given(
        &mut self,
        place: Place,
        offset: QueueOffset,
        now: Millis,
        until: Millis,
    ) -> Result<(), Violation> {
        let fate = self.messages.entry((place, offset)).or_default();
        ensure(!fate.is_out, Check::Pops, || {
            format!("{place:?}/{offset} is given out again, it was {:?} at {now}", fate.hidden)
        })?;
        fate.is_out = true;
        fate.hidden.push((now, until));
        Ok(())
    }

    /// A consumer hid a message for longer.
    pub(crate) fn hidden(&mut self, place: Place, offset: QueueOffset, now: Millis, until: Millis) {
        self.messages.entry((place, offset)).or_default().hidden.push((now, until));
    }

    /// A consumer acknowledged a message.
    pub(crate) fn acked(&mut self, place: Place, offset: QueueOffset) {
        self.messages.entry((place, offset)).or_default().acked = true;
    }

    /// A message's time is said to be over.
    pub(crate) fn due(&mut self, place: Place, offset: QueueOffset, now: Millis) -> Result<(), Violation> {
        let fate = self.messages.entry((place, offset)).or_default();
        let until = fate.hidden.last().map_or(Millis::MIN, |(_, until)| *until);
        // After a crash an earlier time may count, since the later one was not logged.
        let forgotten = fate.hidden.iter().any(|(_, until)| *until <= now) && !fate.is_out;
        ensure(until <= now || forgotten, Check::Pops, || {
            format!("{place:?}/{offset} is due at {now}, it is hidden until {until}")
        })
    }

    /// What is about to be logged.
    pub(crate) fn committed(
        &self,
        log: &LogChecker,
        place: Place,
        queue: &PopQueue,
    ) -> Result<(), Violation> {
        let in_flight: BTreeSet<_> = queue.flights().map(|flight| flight.offset).collect();
        let retried = retried(log, place);
        let passed = (0..queue.next()).find(|offset| {
            let acked = self.messages.get(&(place, *offset)).is_some_and(|fate| fate.acked);
            !acked && !in_flight.contains(offset) && !retried.contains(offset)
        });
        ensure(passed.is_none(), Check::Pops, || {
            let offset = passed.unwrap_or_default();
            format!("the commit passes {place:?}/{offset}, which is neither acknowledged nor moved")
        })
    }

    /// A life begins with this queue.
    pub(crate) fn restored(
        &mut self,
        log: &LogChecker,
        place: Place,
        queue: &PopQueue,
    ) -> Result<(), Violation> {
        // What a power cut took is another message when the place is filled again.
        let end = log.queue_len(place.0, place.1);
        self.messages.retain(|(of, offset), _| *of != place || *offset < end);
        self.committed(log, place, queue)?;
        for ((of, _), fate) in &mut self.messages {
            if *of == place {
                fate.is_out = false;
            }
        }
        for flight in queue.flights() {
            let fate = self.messages.entry((place, flight.offset)).or_default();
            let known = fate.hidden.iter().any(|(popped, until)| {
                // On its way to the retry topic when it was logged: due at once.
                *popped == flight.popped && (*until == flight.visible || flight.visible <= flight.popped)
            });
            ensure(known, Check::Pops, || {
                format!("{place:?} goes on with {flight:?}, which was given out as {:?}", fate.hidden)
            })?;
            fate.hidden.push((flight.popped, flight.visible));
            fate.is_out = true;
        }
        Ok(())
    }

    /// Every message was acknowledged or moved, and those moved were acknowledged or moved in turn.
    pub(crate) fn at_the_end(&self, log: &LogChecker) -> Result<(), Violation> {
        let places: BTreeSet<Place> = self.messages.keys().map(|(place, _)| *place).collect();
        for place in places {
            let retried = retried(log, place);
            let open = (0..log.queue_len(place.0, place.1)).find(|offset| {
                let acked = self.messages.get(&(place, *offset)).is_some_and(|fate| fate.acked);
                !acked && !retried.contains(offset)
            });
            ensure(open.is_none(), Check::Pops, || {
                let offset = open.unwrap_or_default();
                format!("{place:?}/{offset} was neither acknowledged nor moved")
            })?;
        }
        Ok(())
    }
}

/// The queue's messages that are in the retry topic.
fn retried(log: &LogChecker, place: Place) -> BTreeSet<QueueOffset> {
    let moved = log.entries().filter_map(|entry| match entry.content {
        Content::Retry { topic, queue, offset } => ((topic, queue) == place).then_some(offset),
        Content::Event(_)
        | Content::Letter { .. }
        | Content::SentBack { .. }
        | Content::Delayed
        | Content::Moved
        | Content::Half(_)
        | Content::State => None,
    });
    moved.collect()
}
