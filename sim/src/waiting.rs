//! Messages that wait, as the broker's shell handles them: delayed ones, recalls, transactions.

use crate::{
    Bug, ShellBug,
    checker::{Content, Violation},
    faults::Happened,
    message::{self, Kind, Message, Topic, Waiting},
    node::Node,
    scene::{Event, Inside, Scene},
};
use halley_machine::{
    delay::{self, Waiting as Delayed},
    state::{StateRecord, Tables},
    timers::{Batch, Timer},
    transactions::{self, Check, CheckPolicy, Checked},
};
use halley_model::{QueueOffset, RecordView};
use halley_store::{Opened, ReadError, StageError, disk::SimDisk};

/// Producers are asked often, so that every transaction ends within the run.
pub(crate) const CHECKS: CheckPolicy =
    CheckPolicy { first_after: 400, interval: 300, interval_max: 2_000, times_max: u32::MAX };

/// Most messages delivered as one group: few, so that batches end in all places.
const BATCH_MAX: usize = 3;

impl Node {
    /// A producer sends a message that waits; whether the log took it.
    pub(crate) fn send_waiting(&mut self, scene: &mut Scene, waiting: &Waiting) -> Result<bool, Violation> {
        let content = match waiting.kind {
            Kind::Delayed { .. } => Content::Delayed,
            Kind::Transaction { .. } => Content::Half(waiting.event.number),
        };
        let Ok(group) = self.append(scene, &[(waiting.message(scene.now), content)])? else {
            return Ok(false);
        };
        scene.trace.note(scene.now, format_args!("group {group}: waits {waiting:?}"));
        scene.waiting.staged(waiting.clone(), group);
        Ok(true)
    }

    /// A producer takes a delayed message back.
    pub(crate) fn recall(&mut self, scene: &mut Scene, number: u64, at: i64) -> Result<(), Violation> {
        if at <= scene.now {
            return Ok(());
        }
        let recall = Message::recall(number, at, scene.now);
        if let Ok(group) = self.append(scene, &[(recall, Content::Delayed)])? {
            scene.trace.note(scene.now, format_args!("group {group}: recalls {number}"));
            scene.waiting.recalled(number, group);
        }
        Ok(())
    }

    /// A producer ends its transaction; late, twice, or for one that the power took.
    pub(crate) fn end_transaction(
        &mut self,
        scene: &mut Scene,
        number: u64,
        offset: QueueOffset,
    ) -> Result<(), Violation> {
        let Some(commit) = scene.waiting.decision(number) else { return Ok(()) };
        // The producer knows where its half message was first.
        let offset = self.tables.transactions.place(offset);
        let Ok(Some(half)) = read(&self.store, Topic::Halves, offset) else { return Ok(()) };
        let half = parse(&half);
        if message::number(&half) != number || !self.tables.transactions.is_open(offset) {
            return Ok(());
        }
        let state = StateRecord { ended_transactions: vec![offset], ..StateRecord::default() };
        let state = (Message::state(state.encode()), Content::State);
        let mut properties = Vec::new();
        let checks = self.tables.transactions.times(offset);
        let final_message = transactions::committed(&half, checks, scene.now, &mut properties);
        let final_message = final_message.map(|body| Message::delivered(&body)).filter(|_| commit);
        let group: Vec<_> = match final_message {
            Some(message) if scene.bug == Some(Bug::Shell(ShellBug::CommitWithoutEnd)) => {
                vec![(message, Content::Event(number))]
            }
            Some(message) => vec![(message, Content::Event(number)), state],
            None => vec![state],
        };
        if let Ok(staged) = self.append(scene, &group)? {
            scene.coverage.count(Happened::TransactionEnded);
            self.tables.transactions.end(offset);
            if commit {
                self.came(scene, number, staged)?;
            }
        }
        Ok(())
    }

    /// A round of what keeps time.
    pub(crate) fn keep_time(&mut self, scene: &mut Scene) -> Result<(), Violation> {
        scene.inside(scene.plan.time_gap, Inside::KeepTime);
        // A message and its recall may have been moved, and one of them be back in the table before the other.
        let is_moving = self.store.log.acked() < self.moved_to
            && scene.bug != Some(Bug::Shell(ShellBug::DeliveredWhileMoved));
        if self.is_poisoned || follow(&self.store, &mut self.tables).is_err() {
            return Ok(());
        }
        while !is_moving && let Some(batch) = self.tables.timers.due(scene.now, BATCH_MAX) {
            if !self.deliver_due(scene, &batch)? {
                return Ok(());
            }
        }
        for check in self.tables.transactions.due(scene.now, &CHECKS, BATCH_MAX) {
            match check {
                Check::Ask { offset, times } => self.ask(scene, offset, times)?,
                Check::GiveUp(offset) => {
                    unreachable!("the half message at {offset} was asked about for ever")
                }
            }
        }
        Ok(())
    }

    /// Whether nothing waits.
    pub(crate) fn nothing_waits(&self) -> bool {
        let end = |topic: Topic| self.store.reader.bounds(&topic.name(), 0).map_or(0, |(_, end)| end);
        let (timers, transactions) = (&self.tables.timers, &self.tables.transactions);
        timers.is_empty()
            && transactions.is_empty()
            && timers.next() == end(Topic::Timers)
            && transactions.next() == end(Topic::Halves)
    }

    /// Delivers what is due; whether it could.
    fn deliver_due(&mut self, scene: &mut Scene, batch: &Batch) -> Result<bool, Violation> {
        let read_all = |timers: &[Timer]| -> Result<Vec<_>, ReadError> {
            let records = timers.iter().map(|timer| read(&self.store, Topic::Timers, timer.offset()));
            records
                .collect::<Result<Option<Vec<_>>, _>>()
                .map(|records| records.expect("a timer was seen there"))
        };
        let (Ok(recalls), Ok(messages)) = (read_all(&batch.recalls), read_all(&batch.messages)) else {
            return Ok(false);
        };
        let (deliveries, done) = delay::deliveries(batch, &recalls, &messages, scene.now, true);
        scene.coverage.count(Happened::TimerDue);
        if deliveries.len() < messages.len() {
            scene.coverage.count(Happened::Recalled);
        }
        let messages = deliveries.iter().map(|delivery| {
            let body = delivery.body();
            (Message::delivered(&body), Content::Event(message::number_of(body.body)))
        });
        let state = StateRecord { done_timers: done.clone(), ..StateRecord::default() };
        let state = (Message::state(state.encode()), Content::State);
        let group: Vec<_> = if scene.bug == Some(Bug::Shell(ShellBug::DoneBeforeDelivery)) {
            if self.append(scene, &[state])?.is_err() {
                return Ok(false);
            }
            messages.collect()
        } else {
            messages.chain([state]).collect()
        };
        if group.is_empty() {
            done.into_iter().for_each(|timer| self.tables.timers.finish(timer));
            return Ok(true);
        }
        let staged: Result<usize, StageError> = self.append(scene, &group)?;
        let Ok(staged) = staged else { return Ok(false) };
        for (_, content) in &group {
            if let Content::Event(number) = content {
                self.came(scene, *number, staged)?;
            }
        }
        done.into_iter().for_each(|timer| self.tables.timers.finish(timer));
        Ok(true)
    }

    /// A message that waited is staged as the next of its queue.
    fn came(&mut self, scene: &mut Scene, number: u64, group: usize) -> Result<(), Violation> {
        let waiting = scene.waiting.delivered(number, group, scene.now)?;
        scene.trace.note(scene.now, format_args!("group {group}: event {number} has waited"));
        scene.delivery.staged(&waiting.event);
        Ok(())
    }

    fn ask(&mut self, scene: &mut Scene, offset: QueueOffset, times: u32) -> Result<(), Violation> {
        let Ok(Some(half)) = read(&self.store, Topic::Halves, offset) else { return Ok(()) };
        let checked = Checked::new(offset, times, scene.now, &CHECKS);
        let state = StateRecord { checked_transactions: vec![checked], ..StateRecord::default() };
        if self.append(scene, &[(Message::state(state.encode()), Content::State)])?.is_ok() {
            scene.coverage.count(Happened::TransactionChecked);
            self.tables.transactions.checked(checked);
            let (wait, number) = (scene.random.millis(0, 100), message::number(&parse(&half)));
            scene.after(wait, Event::End { number, offset });
        }
        Ok(())
    }
}

/// Folds in what the queues of waiting messages have.
pub(crate) fn follow(store: &Opened<SimDisk>, tables: &mut Tables) -> Result<(), ReadError> {
    while let Some(record) = read(store, Topic::Timers, tables.timers.next())? {
        tables.timers.see(Delayed::of(parse(&record)).timer());
    }
    while let Some(record) = read(store, Topic::Halves, tables.transactions.next())? {
        tables.transactions.see(&parse(&record), &CHECKS);
    }
    Ok(())
}

/// The record at an offset of a topic's queue 0, `None` at its end.
pub(crate) fn read(
    store: &Opened<SimDisk>,
    topic: Topic,
    offset: QueueOffset,
) -> Result<Option<bytes::Bytes>, ReadError> {
    store.reader.record_of(&topic.name(), 0, offset)
}

pub(crate) fn parse(record: &bytes::Bytes) -> RecordView<'_> {
    RecordView::parse(record).expect("the reader has checked the record")
}
