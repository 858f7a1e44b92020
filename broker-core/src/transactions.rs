//! Ends transactions, and asks producers about those that stay open.

use crate::{
    clock,
    follow::follow,
    identity::Identity,
    light,
    members::Members,
    queues::Queues,
    retention::{RetainError, Written},
    settings::Settings,
    state_writer::StateWriter,
};
use bytes::{Bytes, BytesMut};
use halley_machine::{
    state::StateRecord,
    transactions::{
        self, Check, Checked, GIVEN_UP_TOPIC, HALF_TOPIC, Moved, Transactions as Table, is_too_late,
    },
};
use halley_model::{
    GroupName, LogOffset, Millis, QueueOffset, RecordBody, RecordView, id, property, record::Place,
};
use halley_store::{ReadError, StageError, disk::RealDisk};
use halley_wire::request::{CheckTransaction, Decision, EndTransaction};
use parking_lot::Mutex;
use std::sync::Arc;

/// Most transactions asked about before other work is looked at again.
const CHECKS_MAX: usize = 256;

/// About the most bytes moved as one group; one half message at least.
const MOVED_BYTES_MAX: usize = 1 << 20;

/// How long to wait after the store refused, or could not be read.
const RETRY_MS: Millis = 1_000;

/// The open transactions. Their table is locked while an end is staged, so that of two ends one counts, and a snapshot
/// never has a transaction as open whose end lies before the snapshot's place in the log.
pub(crate) struct Transactions {
    identity: Identity,
    table: Mutex<Table>,
    queues: Queues<RealDisk>,
    members: Arc<Members>,
    settings: Arc<Settings>,
    writer: StateWriter,
}

/// Why a transaction was not ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EndError {
    /// The half message is of another group.
    #[error("The producer group wrong")]
    Group,
    /// The half message lies elsewhere in its queue.
    #[error("The transaction state table offset wrong")]
    Offset,
    /// What lies there is no half message, or the transaction was ended otherwise.
    #[error("Find prepared transaction message failed")]
    NotOpen,
    /// The producer asked for an immunity from checks, and let it pass.
    #[error("the time that the half message asked for is over, the producer will be asked")]
    TooLate,
    /// The log did not take the end.
    #[error("{0}")]
    Stage(#[from] StageError),
}

/// Why a round ended early.
#[derive(Debug, thiserror::Error)]
enum RoundError {
    #[error("the log could not be read: {0}")]
    Read(#[from] ReadError),
    #[error("the store did not take a record: {0}")]
    Stage(#[from] StageError),
}

impl Transactions {
    pub(crate) fn new(
        identity: Identity,
        table: Table,
        queues: Queues<RealDisk>,
        members: Arc<Members>,
        settings: Arc<Settings>,
        writer: StateWriter,
    ) -> Self {
        Self { identity, table: Mutex::new(table), queues, members, settings, writer }
    }

    /// How many are open.
    pub(crate) fn open(&self) -> usize {
        self.table.lock().len()
    }

    /// The table as it is, for a snapshot.
    pub(crate) fn table(&self) -> Table {
        self.table.lock().clone()
    }

    /// Commits or rolls back (request 37) the transaction of this half message. What was decided holds when the returned
    /// offset is acknowledged.
    pub(crate) fn end(
        &self,
        request: &EndTransaction<'_>,
        half: &RecordView<'_>,
    ) -> Result<LogOffset, EndError> {
        let now = clock::now();
        if half.topic() != HALF_TOPIC {
            return Err(EndError::NotOpen);
        }
        if half.property(property::PRODUCER_GROUP) != Some(&request.producer_group) {
            return Err(EndError::Group);
        }
        let known = u64::try_from(request.tran_state_table_offset).map_err(|_| EndError::Offset)?;
        {
            // The producer knows where it was first, or where it was when it was asked.
            let table = self.table.lock();
            if table.place(known) != table.place(half.queue_offset()) {
                return Err(EndError::Offset);
            }
        }
        // After a power cut another half message may lie where the producer's was.
        let unique = half.property(property::UNIQUE_KEY);
        if unique != Some(&request.msg_id) && unique != request.transaction_id.as_deref() {
            return Err(EndError::NotOpen);
        }
        if !request.from_transaction_check && is_too_late(half, now, &self.settings.check_policy()) {
            return Err(EndError::TooLate);
        }
        let mut table = self.table.lock();
        let offset = table.place(half.queue_offset());
        if !table.is_open(offset) {
            return Err(EndError::NotOpen);
        }
        let state = StateRecord { ended_transactions: vec![offset], ..StateRecord::default() }.encode();
        let end = match request.commit_or_rollback {
            Decision::Commit => {
                let mut properties = Vec::new();
                let message = transactions::committed(half, table.times(offset), now, &mut properties)
                    .ok_or(EndError::NotOpen)?;
                let message = light::dispatched(&self.settings, message);
                self.writer.stage_group(&[message, self.writer.body(&state, now)], now)?
            }
            Decision::Rollback => self.writer.stage_group(&[self.writer.body(&state, now)], now)?,
            Decision::Unknown => return Ok(0),
        };
        table.end(offset);
        Ok(end)
    }

    /// The half message that a producer knows at this offset of its queue, where it was moved. Blocks on the disk.
    pub(crate) fn moved(&self, known: i64) -> Option<Bytes> {
        let known = u64::try_from(known).ok()?;
        let place = self.table.lock().place(known);
        if place == known { None } else { self.read(place).ok() }
    }

    /// Puts what is open and lies before `begin` in the queue into the queue again, with the record that says so, as one
    /// group. Adds what it wrote. Blocks on the disk.
    pub(crate) fn move_before(&self, begin: QueueOffset, written: &mut Written) -> Result<(), RetainError> {
        self.follow()?;
        loop {
            let open = self.table.lock().before(begin, CHECKS_MAX);
            if open.is_empty() {
                return Ok(());
            }
            let (mut halves, mut bytes) = (Vec::new(), 0);
            for checked in open {
                if bytes > MOVED_BYTES_MAX {
                    break;
                }
                let half = self.read(checked.offset)?;
                bytes += half.len();
                halves.push((checked.offset, half));
            }
            written.add(self.move_some(&halves)?);
        }
    }

    fn move_some(&self, halves: &[(QueueOffset, Bytes)]) -> Result<Written, RetainError> {
        let now = clock::now();
        let mut table = self.table.lock();
        let mut staging = self.writer.log().stage(now)?;
        let first = staging.queue_ends(HALF_TOPIC).first().copied().unwrap_or(0);
        let mut state = StateRecord::default();
        let mut group = Vec::new();
        let mut bytes = 0;
        for (from, half) in halves {
            // It may have been ended meanwhile.
            let Some(checked) = table.open_at(*from) else { continue };
            let view = RecordView::parse(half).map_err(|error| damaged(*from, error))?;
            let to = first + group.len() as u64;
            group.push(RecordBody::of(&view));
            state.moved_transactions.push(Moved { from: *from, to });
            state.checked_transactions.push(Checked { offset: to, ..checked });
            state.ended_transactions.push(*from);
            bytes += half.len() as u64;
        }
        if group.is_empty() {
            return Ok(Written::default());
        }
        let encoded = state.encode();
        group.push(self.writer.body(&encoded, now));
        let mut places = Vec::with_capacity(group.len());
        staging.append_group(&group, &mut places)?;
        drop(staging);
        state.moved_transactions.into_iter().for_each(|moved| table.moved(moved));
        state.checked_transactions.into_iter().for_each(|checked| table.checked(checked));
        state.ended_transactions.into_iter().for_each(|offset| table.end(offset));
        let end = places.last().map_or(0, |last| last.log_offset + 1);
        Ok(Written { end, bytes: bytes + encoded.len() as u64 })
    }

    /// Writes into the log once more which half messages lie elsewhere than their producers know.
    pub(crate) fn log_moves(&self) -> Result<Written, StageError> {
        let table = self.table.lock();
        self.writer.write_pieces(table.moves(), |moved_transactions| StateRecord {
            moved_transactions,
            ..StateRecord::default()
        })
    }

    /// Takes in what was begun, and asks about what stays open; when to come again. Blocks on the disk.
    pub(crate) fn round(&self) -> Option<Millis> {
        match self.follow().map_err(RoundError::from).and_then(|()| self.check_due()) {
            Ok(()) => self.table.lock().deadline(),
            Err(RoundError::Stage(StageError::Poisoned(_))) => None,
            Err(error) => {
                tracing::warn!(%error, "checks of transactions are late, it is tried again");
                Some(clock::now() + RETRY_MS)
            }
        }
    }

    fn follow(&self) -> Result<(), ReadError> {
        let (next, policy) = (self.table.lock().next(), self.settings.check_policy());
        follow(&self.queues.reader, HALF_TOPIC, next, |half| self.table.lock().see(&half, &policy))
    }

    fn check_due(&self) -> Result<(), RoundError> {
        loop {
            let now = clock::now();
            let due = self.table.lock().due(now, &self.settings.check_policy(), CHECKS_MAX);
            if due.is_empty() {
                return Ok(());
            }
            for check in due {
                match check {
                    Check::Ask { offset, times } => self.ask(offset, times, now)?,
                    Check::GiveUp(offset) => self.give_up(offset, now)?,
                }
            }
        }
    }

    /// Asks a producer of the group; where none is connected the time counts all the same, as in RocketMQ.
    fn ask(&self, offset: QueueOffset, times: u32, now: Millis) -> Result<(), RoundError> {
        let checked = Checked::new(offset, times, now, &self.settings.check_policy());
        self.writer.write(&StateRecord { checked_transactions: vec![checked], ..StateRecord::default() })?;
        self.table.lock().checked(checked);
        let Some(bytes) = self.read_or_tell(offset) else { return Ok(()) };
        let half = RecordView::parse(&bytes).map_err(|error| damaged(offset, error))?;
        let group = half.property(property::PRODUCER_GROUP).and_then(|group| GroupName::new(group).ok());
        let Some(outbox) = group.and_then(|group| self.members.a_producer(&group, times)) else {
            tracing::warn!(offset, times, "an open transaction has no producer that could be asked");
            return Ok(());
        };
        match self.question(&half, times) {
            Some(frame) => outbox.send([frame]),
            None => tracing::error!(offset, "a half message does not say where it belongs"),
        }
        Ok(())
    }

    /// The question: the half message as the producer knows it.
    fn question(&self, half: &RecordView<'_>, times: u32) -> Option<Bytes> {
        let (topic, queue) = transactions::destination(half)?;
        let mut properties = half.properties().to_vec();
        property::push(&mut properties, property::TRANSACTION_CHECK_TIMES, &times.to_string());
        let body = RecordBody { topic, queue, properties: &properties, ..RecordBody::of(half) };
        let place = Place {
            queue_offset: half.queue_offset(),
            log_offset: half.log_offset(),
            stored: half.stored(),
            store_host: half.store_host(),
        };
        let mut message = Vec::new();
        body.encode(&place, &mut message);
        let question = CheckTransaction {
            topic: HALF_TOPIC.into(),
            tran_state_table_offset: half.queue_offset() as i64,
            commit_log_offset: half.log_offset() as i64,
            msg_id: half.property(property::UNIQUE_KEY).map(Into::into),
            offset_msg_id: id::offset_id(half.store_host(), half.log_offset()).into(),
            broker_name: (&*self.identity.name).into(),
        };
        let mut frame = BytesMut::new();
        question.encode(&mut frame, &message).expect("a message that a client sent fits a frame");
        Some(frame.freeze())
    }

    /// Ends a transaction that nobody wanted to decide.
    fn give_up(&self, offset: QueueOffset, now: Millis) -> Result<(), RoundError> {
        let bytes = self.read_or_tell(offset);
        let half = bytes.as_ref().and_then(|bytes| RecordView::parse(bytes).ok());
        tracing::warn!(
            offset,
            topic = GIVEN_UP_TOPIC,
            "a transaction was asked about too often and is given up"
        );
        let state = StateRecord { ended_transactions: vec![offset], ..StateRecord::default() }.encode();
        let message =
            half.as_ref().map(|half| RecordBody { topic: GIVEN_UP_TOPIC, queue: 0, ..RecordBody::of(half) });
        let mut table = self.table.lock();
        if table.is_open(offset) {
            let group: Vec<_> = message.into_iter().chain([self.writer.body(&state, now)]).collect();
            self.writer.stage_group(&group, now)?;
            table.end(offset);
        }
        Ok(())
    }

    /// A half message that cannot be read holds up no other.
    fn read_or_tell(&self, offset: QueueOffset) -> Option<Bytes> {
        let read = self.read(offset);
        read.inspect_err(|error| tracing::error!(offset, %error, "a half message cannot be read")).ok()
    }

    fn read(&self, offset: QueueOffset) -> Result<Bytes, ReadError> {
        let record = self.queues.reader.record_of(HALF_TOPIC, 0, offset)?;
        record.ok_or_else(|| {
            damaged(offset, "a half message is no longer in the log: put back the file that held it")
        })
    }
}

fn damaged(offset: QueueOffset, reason: impl ToString) -> ReadError {
    ReadError::Damaged { at: offset, reason: reason.to_string() }
}
