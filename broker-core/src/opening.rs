//! A store that is opened, and what its log says of the broker's state.

use crate::{
    broker::StartError,
    clock,
    follow::follow,
    identity::Identity,
    state_writer::StateWriter,
    takeover::{self, JavaStore},
};
use halley_machine::{
    delay::{TIMER_TOPIC, Waiting},
    state::{STATE_TOPIC, Snapshot, StateRecord, Tables},
    transactions::{CheckPolicy, HALF_TOPIC},
};
use halley_store::{
    Durability, Log, LogReader, Opened, Snapshots,
    disk::{Disk, DiskError, RealDisk},
};
use std::{path::Path, sync::Arc};

/// Allows as many open files as the system lets this process have: each segment of the log needs two, and the usual limit of 1024
/// is meant for programs that cannot count further. Where it cannot be raised, opening the store says so when it matters.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
        if let Err(error) = raised {
            tracing::debug!(%error, "the limit of open files stays as it is");
        }
    }
}

/// What to do about a store that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    Make,
    Refuse,
}

/// A store, and what its log says of the broker's state.
pub(crate) struct OpenStore {
    pub(crate) opened: Opened<RealDisk>,
    pub(crate) writer: StateWriter,
    /// RocketMQ's store that it goes on from.
    pub(crate) java: Option<JavaStore>,
    pub(crate) tables: Tables,
}

/// Opens the store in a directory, and takes over what RocketMQ left there. Blocks on the disk.
pub(crate) fn open_store(
    data: &Path,
    (durability, segment_bytes): (Durability, u64),
    identity: &Identity,
    checks: &CheckPolicy,
    missing: Missing,
) -> Result<OpenStore, StartError> {
    raise_file_limit();
    let store_error = |error| StartError::Store { path: data.to_owned(), error };
    let takeover_error = |error| StartError::Takeover { path: data.to_owned(), error };
    let java = JavaStore::find(data).map_err(takeover_error)?;
    let root = java.as_ref().map_or(data, JavaStore::own);
    if missing == Missing::Refuse && !root.join("log").is_dir() {
        return Err(StartError::None { path: data.to_owned() });
    }
    let disk = RealDisk::new(root).map_err(|error| store_error(error.into()))?;
    let mut options = halley_store::Options::new(durability, identity.address);
    options.segment_bytes = segment_bytes;
    options.foreign = java.as_ref().map(JavaStore::foreign);
    let mut opened = halley_store::open(Arc::new(disk), options, clock::now()).map_err(store_error)?;
    let writer = StateWriter::new(opened.log.clone(), identity.clone());
    let mut tables = fold_state(&opened.reader, &opened.snapshots, checks)?;
    if let Some(java) = java.as_ref().filter(|_| !tables.takeover.done) {
        takeover::run(java, &opened.reader, &mut opened.io, writer.clone(), &mut tables)
            .map_err(takeover_error)?;
    }
    settle_queues(&mut tables, &opened.reader, &opened.log);
    Ok(OpenStore { opened, writer, java, tables })
}

/// The broker's state: the newest snapshot, and every record behind it. The queues that timers and transactions are views
/// of come before the state records that end some.
fn fold_state<D: Disk>(
    reader: &LogReader<D>,
    snapshots: &Snapshots<D>,
    checks: &CheckPolicy,
) -> Result<Tables, StartError> {
    let failed = |error: &dyn std::fmt::Display| StartError::State(error.to_string());
    let latest = snapshots.latest().map_err(|error: DiskError| failed(&error))?;
    let mut snapshot = match &latest {
        Some(snapshot) => serde_json::from_slice(&snapshot.bytes).map_err(|error| failed(&error))?,
        None => Snapshot::default(),
    };
    let first = reader.bounds(STATE_TOPIC, 0).map_or(0, |(first, _)| first);
    if snapshot.next < first {
        // Between it and the log something is missing; what the log has is all there is.
        snapshot = Snapshot::default();
    }
    let Snapshot { next, state, timers, transactions } = snapshot;
    let mut tables = Tables { timers, transactions, ..Tables::default() };
    state.fold(&mut tables);
    let (timers, transactions) = (&mut tables.timers, &mut tables.transactions);
    follow(reader, TIMER_TOPIC, timers.next(), |record| timers.see(Waiting::of(record).timer()))
        .and_then(|()| {
            follow(reader, HALF_TOPIC, transactions.next(), |half| transactions.see(&half, checks))
        })
        .map_err(|error| failed(&error))?;
    let mut records = Ok(());
    follow(reader, STATE_TOPIC, next, |record| match StateRecord::decode(record.body()) {
        Ok(record) => record.fold(&mut tables),
        Err(error) => records = Err(failed(&error)),
    })
    .map_err(|error| failed(&error))?;
    records?;
    // Whoever has a snapshot served after the takeover.
    tables.takeover.done |= latest.is_some();
    Ok(tables)
}

/// Queues begin and go on where the state says, and no offset is behind them.
fn settle_queues<D: Disk>(tables: &mut Tables, reader: &LogReader<D>, log: &Log) {
    for (topic, begins) in tables.begins.iter() {
        for (queue, begin) in (0..).zip(begins).filter(|(_, begin)| **begin > 0) {
            log.raise_end(topic, queue, *begin);
            reader.begin_at(topic, queue, *begin);
        }
    }
    for (topic, ends) in tables.ends.iter() {
        for (queue, end) in (0..).zip(ends).filter(|(_, end)| **end > 0) {
            log.raise_end(topic, queue, *end);
            reader.go_on_at(topic, queue, *end);
        }
    }
    // What waited in records that are gone was moved, or is done.
    let begin = |topic| reader.bounds(topic, 0).map_or(0, |(begin, _)| begin);
    tables.timers.begin_at(begin(TIMER_TOPIC));
    tables.transactions.begin_at(begin(HALF_TOPIC));
    tables.offsets.clamp(|topic, queue| reader.bounds(topic, queue).map_or(0, |(_, max)| max));
}
