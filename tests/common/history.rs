//! What clients saw of a broker: every send with its answer, every message received. From it alone, with what the broker holds
//! in the end, follows whether the broker kept its promises. Pure: no clock, no socket; the same for every broker.
//!
//! The simulator's checkers (`sim`) promise more, since they are told what was staged and when it became durable. Here a broker
//! is a black box. The names C1 to C7 are the same.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// A message, numbered by the history in the order of sends.
pub type Id = u64;

/// A queue and an offset in it.
pub type Place = (u32, u64);

/// How a send was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Not at all, or not to a client that was still there: the message may be stored or not.
    None,
    /// With this code, which is not success. It may still be stored: RocketMQ says so of some codes.
    Refused(i32),
    /// Stored at this place.
    At(Place),
    /// Stored to be delivered later, so its place is not known yet.
    Later,
}

/// What a message is, as it was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// This message, as it was sent.
    Message(Id),
    /// No message that was ever sent, or not as it was sent.
    Damaged,
}

/// What a broker holds: the offsets of each queue, in the order in which it gave them.
pub type Contents = BTreeMap<u32, Vec<(u64, Content)>>;

#[derive(Debug, Clone, Copy)]
struct Send {
    /// Ticks of the history's own counter.
    sent: u64,
    answered: u64,
    answer: Answer,
}

/// All that clients saw. A tick per event orders what happened, as one clock of all clients would.
#[derive(Debug, Default)]
pub struct History {
    ticks: u64,
    sends: Vec<Send>,
    received: BTreeMap<Place, Content>,
    /// What was wrong at once.
    wrong: Vec<Violation>,
    receipts: u64,
    acknowledged: usize,
    refused: usize,
    /// Per queue, the offset behind the last that was acknowledged.
    ends: BTreeMap<u32, u64>,
}

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Violation {
    /// C1: it was acknowledged, and is nowhere.
    Lost(Id),
    /// C7: it was received, and is nowhere any more.
    Vanished(Place, Id),
    /// C2: one place, several messages.
    OffsetGivenTwice(Place),
    /// C5: one send, several places.
    StoredTwice(Id),
    /// C3: what nobody sent, or not so.
    Foreign(Place),
    /// C4: offsets that nobody gave, with messages behind them.
    Gap(Place),
    /// C4: it was acknowledged before another was sent, and comes behind that one.
    Reordered(Place, Id),
}

/// What a history comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub sent: usize,
    pub acknowledged: usize,
    pub refused: usize,
    pub unanswered: usize,
    /// Refused or unanswered, and yet stored: allowed.
    pub stored_anyway: usize,
    pub received: u64,
    /// Sorted, without doubles.
    pub violations: Vec<Violation>,
}

impl History {
    /// A message is about to be sent; its number.
    pub fn sent(&mut self) -> Id {
        self.ticks += 1;
        self.sends.push(Send { sent: self.ticks, answered: u64::MAX, answer: Answer::None });
        self.sends.len() as Id - 1
    }

    /// The answer to a send has come.
    pub fn answered(&mut self, id: Id, answer: Answer) {
        self.ticks += 1;
        let send = &mut self.sends[id as usize];
        (send.answered, send.answer) = (self.ticks, answer);
        match answer {
            Answer::None => {}
            Answer::Refused(_) => self.refused += 1,
            Answer::Later => self.acknowledged += 1,
            Answer::At((queue, offset)) => {
                self.acknowledged += 1;
                let end = self.ends.entry(queue).or_default();
                *end = (*end).max(offset + 1);
            }
        }
    }

    /// A reader got a message.
    pub fn received(&mut self, place: Place, content: Content) {
        self.receipts += 1;
        match self.received.insert(place, content) {
            Some(before) if before != content => self.wrong.push(Violation::OffsetGivenTwice(place)),
            _ => {}
        }
    }

    /// Where a reader of a queue that got everything so far goes on.
    pub fn next(&self, queue: u32) -> u64 {
        let last = self.received.range((queue, 0)..=(queue, u64::MAX)).next_back();
        last.map_or(0, |((_, offset), _)| offset + 1)
    }

    /// Where a queue ends at least: behind what was acknowledged and what was received.
    pub fn end(&self, queue: u32) -> u64 {
        self.next(queue).max(self.ends.get(&queue).copied().unwrap_or(0))
    }

    /// How many sends were acknowledged.
    pub fn acknowledged(&self) -> usize {
        self.acknowledged
    }

    /// How many sends were refused.
    pub fn refused(&self) -> usize {
        self.refused
    }

    /// What all of it comes to where the broker holds `contents` in the end.
    pub fn check(&self, contents: &Contents) -> Verdict {
        let mut found = Found { wrong: self.wrong.clone(), places: BTreeMap::new() };
        for (queue, messages) in contents {
            self.check_queue(*queue, messages, &mut found);
        }
        let held: BTreeMap<Place, Content> = contents
            .iter()
            .flat_map(|(queue, messages)| {
                messages.iter().map(|(offset, content)| ((*queue, *offset), *content))
            })
            .collect();
        for (place, content) in &self.received {
            found.compare(*place, *content, held.get(place));
        }
        for (id, send) in (0..).zip(&self.sends) {
            let places = found.places.get(&id).map_or(0, BTreeSet::len);
            if send.is_acknowledged() && places == 0 {
                found.wrong.push(Violation::Lost(id));
            }
            if places > 1 {
                found.wrong.push(Violation::StoredTwice(id));
            }
            match send.answer {
                // Acknowledged elsewhere than it is, or another is there: the place was given again.
                Answer::At(place) if held.get(&place).is_some_and(|held| *held != Content::Message(id)) => {
                    found.wrong.push(Violation::OffsetGivenTwice(place));
                }
                Answer::At(place) if places > 0 && !held.contains_key(&place) => {
                    found.wrong.push(Violation::Vanished(place, id));
                }
                _ => {}
            }
        }
        let stored_anyway = found.places.keys().filter(|id| !self.is_acknowledged(**id)).count();
        let mut violations = found.wrong;
        violations.sort_unstable();
        violations.dedup();
        Verdict {
            sent: self.sends.len(),
            acknowledged: self.acknowledged,
            refused: self.refused,
            unanswered: self.sends.iter().filter(|send| send.answer == Answer::None).count(),
            stored_anyway,
            received: self.receipts,
            violations,
        }
    }

    /// Places without gaps, known messages, and none behind one that was sent after its acknowledgement.
    fn check_queue(&self, queue: u32, messages: &[(u64, Content)], found: &mut Found) {
        let (mut next, mut latest_sent) = (messages.first().map_or(0, |(offset, _)| *offset), 0);
        for (offset, content) in messages {
            let place = (queue, *offset);
            if *offset != next {
                found.wrong.push(if *offset < next {
                    Violation::OffsetGivenTwice(place)
                } else {
                    Violation::Gap((queue, next))
                });
            }
            next = offset + 1;
            let known = match content {
                Content::Message(id) => self.sends.get(*id as usize).map(|send| (*id, send)),
                Content::Damaged => None,
            };
            let Some((id, send)) = known else {
                found.wrong.push(Violation::Foreign(place));
                continue;
            };
            found.places.entry(id).or_default().insert(place);
            if matches!(send.answer, Answer::At(_)) && send.answered < latest_sent {
                found.wrong.push(Violation::Reordered(place, id));
            }
            // When what waits is stored where it belongs is not decided by its send.
            if send.answer != Answer::Later {
                latest_sent = latest_sent.max(send.sent);
            }
        }
    }

    fn is_acknowledged(&self, id: Id) -> bool {
        self.sends.get(id as usize).is_some_and(Send::is_acknowledged)
    }
}

impl Send {
    fn is_acknowledged(&self) -> bool {
        matches!(self.answer, Answer::At(_) | Answer::Later)
    }
}

struct Found {
    wrong: Vec<Violation>,
    places: BTreeMap<Id, BTreeSet<Place>>,
}

impl Found {
    /// What a reader got, with what is there now.
    fn compare(&mut self, place: Place, got: Content, held: Option<&Content>) {
        match (got, held) {
            (Content::Damaged, _) => self.wrong.push(Violation::Foreign(place)),
            (Content::Message(id), None) => self.wrong.push(Violation::Vanished(place, id)),
            (got, Some(held)) if got != *held => self.wrong.push(Violation::OffsetGivenTwice(place)),
            _ => {}
        }
    }
}

impl Verdict {
    /// How many promises of a kind were broken.
    pub fn count(&self, of: fn(&Violation) -> bool) -> usize {
        self.violations.iter().filter(|violation| of(violation)).count()
    }

    /// Panics where a promise is broken, or where fewer sends than `least` were acknowledged, which would show nothing.
    pub fn assert_kept(&self, least: usize) {
        assert!(
            self.violations.is_empty(),
            "{self}; {:?}",
            &self.violations[..self.violations.len().min(20)]
        );
        assert!(self.acknowledged >= least, "too little was sent to show anything: {self}");
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sent, acknowledged, refused, unanswered, stored_anyway, received, .. } = self;
        write!(
            f,
            "{sent} sent, {acknowledged} acknowledged, {refused} refused, {unanswered} unanswered ({stored_anyway} of them \
             stored), {received} received"
        )?;
        let count = |of: fn(&Violation) -> bool| self.count(of);
        for (name, count) in [
            ("lost", count(|violation| matches!(violation, Violation::Lost(_)))),
            ("vanished after delivery", count(|violation| matches!(violation, Violation::Vanished(..)))),
            ("offsets given twice", count(|violation| matches!(violation, Violation::OffsetGivenTwice(_)))),
            ("stored twice", count(|violation| matches!(violation, Violation::StoredTwice(_)))),
            ("foreign or damaged", count(|violation| matches!(violation, Violation::Foreign(_)))),
            ("gaps", count(|violation| matches!(violation, Violation::Gap(_)))),
            ("out of order", count(|violation| matches!(violation, Violation::Reordered(..)))),
        ] {
            if count > 0 {
                write!(f, ", {count} {name}")?;
            }
        }
        Ok(())
    }
}
