//! What must hold in a state that a crash left.

use super::{
    life::{Group, Known, NOW, TAG, ends, stage, tell_ends, told},
    recorder::{Image, Promise},
};
use crate::{
    KeyKind, KeyQuery, LogReader, Opened, Options,
    disk::{Disk, DiskError, SimDisk},
    inspect, open,
};
use halley_model::{Millis, light};
use std::{collections::BTreeMap, ops::ControlFlow, sync::Arc};

/// By queue: offset, place in the log, and CRC of the body of each record.
type Queues = BTreeMap<(String, u32), Vec<(u64, u64, u32)>>;

/// Looks at the files, opens the store on them and checks every promise; how many groups are there.
pub(super) fn check(
    image: Image,
    options: &Options,
    groups: &[Group],
    promise: &Promise,
) -> Result<usize, String> {
    let disk = SimDisk::with_files(1, image);
    match inspect::inspect(&disk, &mut |_, _| {}) {
        // What a crash tore may look like damage: frames behind it may be there.
        Ok(_) => {}
        Err(DiskError::NotFound { .. }) if promise.must == 0 => {}
        Err(error) => return Err(format!("it cannot be inspected: {error}")),
    }
    let mut store = open(Arc::new(disk.clone()), options.clone(), NOW).map_err(told)?;
    let found = compare(&store, &groups[..promise.staged], promise)?;
    check_snapshot(&store, promise)?;
    tell_ends(&store, &groups[..found]);
    check_index(&store.reader)?;
    check_keys(&store)?;
    go_on(&mut store, &groups[..found])?;
    let after = inspect::inspect(&disk, &mut |_, _| {}).map_err(told)?;
    let found_damage = after.findings.iter().find(|finding| finding.weight == inspect::Weight::Damage);
    match found_damage {
        None => Ok(found),
        Some(finding) => Err(format!("it was mended, and still there is {finding:?}")),
    }
}

/// The log is what was staged up to some group, without what was removed, and holds what must be there.
pub(super) fn compare<D: Disk>(
    store: &Opened<D>,
    groups: &[Group],
    promise: &Promise,
) -> Result<usize, String> {
    let begin = store.reader.start();
    if begin != promise.begin && Some(begin) != promise.begin_or {
        return Err(format!("the log begins at {begin}, promised is {promise:?}"));
    }
    let mut found = Vec::new();
    let scanned = store.reader.scan(0, |record| {
        found.push(Known::of(record));
        ControlFlow::Continue(())
    });
    if scanned.map_err(told)? != store.log.acked() {
        return Err("not all of the log can be read".to_owned());
    }
    let mut rest = found.as_slice();
    let mut there = groups.partition_point(|group| group[0].placed.log_offset < begin);
    while let Some(group) = groups.get(there)
        && !rest.is_empty()
    {
        let (head, tail) = rest.split_at(rest.len().min(group.len()));
        if head != group.as_slice() {
            return Err(format!("{head:?} is there, and not {group:?}"));
        }
        (rest, there) = (tail, there + 1);
    }
    if !rest.is_empty() {
        return Err(format!("{rest:?} is there and was not staged"));
    }
    if there < promise.must {
        return Err(format!("{} groups are promised, {there} are there", promise.must));
    }
    Ok(there)
}

/// The newest snapshot knows no more than the log, and is the one that was written last, if the log still needs it.
fn check_snapshot<D: Disk>(store: &Opened<D>, promise: &Promise) -> Result<(), String> {
    let latest = store.snapshots.latest().map_err(told)?;
    if let Some(latest) = &latest
        && (latest.at > store.log.acked() || latest.bytes != latest.at.to_be_bytes())
    {
        return Err(format!("there is a snapshot at {} in a log up to {}", latest.at, store.log.acked()));
    }
    match promise.snapshot {
        Some(at) if (store.reader.start()..=store.recovery.end).contains(&at) => {
            let kept = latest.as_ref().is_some_and(|latest| latest.at >= at);
            if kept { Ok(()) } else { Err(format!("the snapshot at {at} is gone, there is {latest:?}")) }
        }
        _ => Ok(()),
    }
}

/// Each queue's index is exactly what the log says, and leads to its records.
fn check_index<D: Disk>(reader: &LogReader<D>) -> Result<(), String> {
    let mut expected = Queues::new();
    let scanned = reader.scan(0, |record| {
        let (at, crc) = (record.log_offset(), crc32fast::hash(record.body()));
        let own = (record.topic(), record.queue(), record.queue_offset());
        for (name, queue, offset) in [own]
            .into_iter()
            .chain(light::positions(record).map(|(name, offset)| (name, light::QUEUE, offset)))
        {
            expected.entry((name.to_owned(), queue)).or_default().push((offset, at, crc));
        }
        ControlFlow::Continue(())
    });
    scanned.map_err(told)?;
    for topic in reader.topics() {
        for queue in 0..reader.queues(&topic) {
            let mut entries = Vec::new();
            reader.lookup(&topic, queue, 0, usize::MAX, &mut entries).map_err(told)?;
            let mut found = Vec::new();
            for entry in &entries {
                let record = reader.read(entry).map_err(told)?;
                let record = halley_model::RecordView::parse(&record).map_err(told)?;
                found.push((entry.queue_offset, entry.log_offset, crc32fast::hash(record.body())));
            }
            let expected = expected.remove(&(topic.to_string(), queue)).unwrap_or_default();
            let contiguous = found.windows(2).all(|pair| pair[0].0 + 1 == pair[1].0);
            if found != expected || !contiguous {
                return Err(format!("queue {queue} of {topic} has {found:?}, the log says {expected:?}"));
            }
        }
    }
    if expected.is_empty() { Ok(()) } else { Err(format!("the index does not know {expected:?}")) }
}

/// The key index finds every record of a topic.
fn check_keys<D: Disk>(store: &Opened<D>) -> Result<(), String> {
    let mut expected = 0;
    let count = store.reader.scan(0, |record| {
        expected += usize::from(record.topic() == "A");
        ControlFlow::Continue(())
    });
    count.map_err(told)?;
    let query = KeyQuery {
        topic: "A".to_owned(),
        key: TAG.to_owned(),
        kind: KeyKind::Tag,
        begin: 0,
        end: Millis::MAX,
        records_max: 999,
        before: None,
    };
    let found = store.keys.find(&query).map_err(told)?.records.len();
    if found == expected {
        Ok(())
    } else {
        Err(format!("by their key {found} records are found of {expected}"))
    }
}

/// The next record of each queue is given the next offset, is acknowledged, and can be read.
fn go_on<D: Disk>(store: &mut Opened<D>, groups: &[Group]) -> Result<(), String> {
    let before = store.log.acked();
    let group = stage(store, groups.len(), &[20, 30, 40])?;
    store.io.run_once(NOW).map_err(told)?;
    let mut ends = ends(groups);
    for known in &group {
        let end = ends.entry((known.topic.as_str(), known.queue)).or_default();
        if known.placed.queue_offset != *end || known.placed.log_offset < before {
            return Err(format!("{known:?} was given its place, the queue's end was {end}"));
        }
        *end += 1;
    }
    if store.log.acked() <= before {
        return Err("the store acknowledges nothing more".to_owned());
    }
    check_index(&store.reader)
}
