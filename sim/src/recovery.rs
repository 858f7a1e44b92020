//! What a process finds when it starts: the log compared with the books, and the state folded from it.

use crate::{
    checker::{Check, Content, Violation, ensure, violated},
    faults::Happened,
    message::Topic,
    node::{found, parse},
    scene::Scene,
    waiting,
};
use halley_machine::state::{Snapshot, StateRecord, Tables};
use halley_model::{LogOffset, QueueOffset, light};
use halley_store::{Opened, disk::SimDisk};
use std::{collections::BTreeMap, ops::ControlFlow};

/// The log holds what it must, and the index is what the log says.
pub(crate) fn check(scene: &mut Scene, store: &Opened<SimDisk>) -> Result<(), Violation> {
    let mut records = Vec::new();
    let mut strange = None;
    let mut light_queues = BTreeMap::<String, Vec<(QueueOffset, LogOffset)>>::new();
    let scanned = store.reader.scan(0, |record| match found(record) {
        Ok(found) => {
            records.push(found);
            for (name, offset) in light::positions(record) {
                light_queues.entry(name.to_owned()).or_default().push((offset, record.log_offset()));
            }
            ControlFlow::Continue(())
        }
        Err(violation) => {
            strange = Some(violation);
            ControlFlow::Break(())
        }
    });
    if let Some(violation) = strange {
        return Err(violation);
    }
    if let Err(error) = scanned {
        scene.lie_noticed = scene.log.device_lied;
        return violated(Check::NothingLost, format!("the recovered log cannot be read: {error}"));
    }
    let recovered = scene.log.recovered(store.reader.start(), &records)?;
    for _ in 0..recovered.unknown_kept {
        scene.coverage.count(Happened::UnknownKept);
    }
    if recovered.acked_lost > 0 {
        scene.coverage.count(Happened::LieUnnoticed);
    }
    for _ in 0..recovered.unknown_lost {
        scene.coverage.count(Happened::UnknownLost);
    }
    let letters = scene.log.entries().filter_map(|entry| match entry.content {
        Content::Letter { stream, offset } => Some((stream, offset)),
        Content::Event(_)
        | Content::Retry { .. }
        | Content::SentBack { .. }
        | Content::Delayed
        | Content::Moved
        | Content::Half(_)
        | Content::State => None,
    });
    let log = &scene.log;
    scene.waiting.recovered(recovered.groups);
    scene.delivery.recovered(recovered.groups, |queue| log.queue_len(Topic::Bus, queue), letters);
    let letters = (0..scene.plan.targets.len()).map(|target| (Topic::DeadLetters(target), 0));
    let bus = (0..scene.plan.queues).map(|queue| (Topic::Bus, queue));
    let single = [Topic::State, Topic::Timers, Topic::Halves, Topic::Retries, Topic::Failed, Topic::GivenUp];
    let single = single.map(|topic| (topic, 0));
    for (topic, queue) in bus.chain(letters).chain(single) {
        let mut entries = Vec::new();
        let looked_up = store.reader.lookup(&topic.name(), queue, 0, usize::MAX, &mut entries);
        looked_up.or_else(|error| violated(Check::QueueOrder, format!("no index of {topic:?}: {error}")))?;
        let entries = entries.iter().map(|entry| (entry.queue_offset, entry.log_offset));
        ensure(entries.eq(scene.log.index_of(topic, queue)), Check::QueueOrder, || {
            format!("the index of {topic:?}/{queue} is not what the log says")
        })?;
    }
    check_light_queues(store, &light_queues)
}

/// Each light queue has the records that say so, one behind the other.
fn check_light_queues(
    store: &Opened<SimDisk>,
    light_queues: &BTreeMap<String, Vec<(QueueOffset, LogOffset)>>,
) -> Result<(), Violation> {
    for (name, expected) in light_queues {
        let mut entries = Vec::new();
        let looked_up = store.reader.lookup(name, light::QUEUE, 0, usize::MAX, &mut entries);
        looked_up.or_else(|error| violated(Check::QueueOrder, format!("no index of {name}: {error}")))?;
        let entries = entries.iter().map(|entry| (entry.queue_offset, entry.log_offset));
        let first = expected.first().map_or(0, |(offset, _)| *offset);
        let contiguous = expected.iter().map(|(offset, _)| *offset).eq(first..first + expected.len() as u64)
            && (first == 0 || store.reader.start() > 0);
        ensure(contiguous && entries.eq(expected.iter().copied()), Check::QueueOrder, || {
            format!("the index of {name} is not what the log says")
        })?;
    }
    Ok(())
}

/// The state: from the newest snapshot, and from the log after it.
pub(crate) fn fold(scene: &mut Scene, store: &Opened<SimDisk>) -> Result<Tables, Violation> {
    let mut tables = Tables::default();
    let lost = |what: String| Violation { check: Check::NothingLost, detail: format!("state: {what}") };
    let latest = store.snapshots.latest().map_err(|error| lost(error.to_string()))?;
    let mut next = 0;
    let begin = |topic: Topic| store.reader.bounds(&topic.name(), 0).map_or(0, |(begin, _)| begin);
    if let Some(latest) = latest {
        ensure(latest.at <= store.log.acked(), Check::NothingForeign, || {
            format!("a snapshot knows the log up to {}, it ends at {}", latest.at, store.log.acked())
        })?;
        let snapshot: Snapshot =
            serde_json::from_slice(&latest.bytes).map_err(|error| lost(error.to_string()))?;
        // Between an older one and the log something is missing.
        if snapshot.next >= begin(Topic::State) {
            scene.coverage.count(Happened::SnapshotUsed);
            next = snapshot.next;
            (tables.timers, tables.transactions) = (snapshot.timers, snapshot.transactions);
            snapshot.state.fold(&mut tables);
        }
    }
    // What waited in records that are gone was moved, or is done.
    tables.timers.begin_at(begin(Topic::Timers));
    tables.transactions.begin_at(begin(Topic::Halves));
    waiting::follow(store, &mut tables).map_err(|error| lost(error.to_string()))?;
    let mut entries = Vec::new();
    let found = store.reader.lookup(&Topic::State.name(), 0, next, usize::MAX, &mut entries);
    found.map_err(|error| lost(error.to_string()))?;
    for entry in &entries {
        let bytes = store.reader.read(entry).map_err(|error| lost(error.to_string()))?;
        let record =
            StateRecord::decode(parse(&bytes, entry)?.body()).map_err(|error| lost(error.to_string()))?;
        record.fold(&mut tables);
    }
    for (topic, ends) in tables.ends.iter() {
        for (queue, end) in (0..).zip(ends).filter(|(_, end)| **end > 0) {
            store.log.raise_end(topic, queue, *end);
            store.reader.go_on_at(topic, queue, *end);
        }
    }
    // A queue may be empty now.
    tables.timers.begin_at(begin(Topic::Timers));
    tables.transactions.begin_at(begin(Topic::Halves));
    tables.offsets.clamp(|topic, queue| store.reader.bounds(topic, queue).map_or(0, |(_, max)| max));
    Ok(tables)
}
