//! Static topics: whose queues stay the same queues when they move from broker to broker.
//!
//! A queue of such a topic is a row of parts, each a physical queue on some broker. The broker of the last part leads: it alone takes
//! messages, and it answers for the whole queue, asking the brokers of older parts (`TopicQueueMappingManager`,
//! `TopicQueueMappingUtils`, `PullMessageProcessor.rewriteResponseForStaticTopic`, 5.5). Here is what follows from a mapping; the
//! asking is the shell's.

use crate::pull::Answer;
use halley_model::{MappedPart, QueueMappingDetail, TopicName};
use std::collections::BTreeMap;

/// The mappings of a broker, by topic.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct QueueMappings {
    by_topic: BTreeMap<TopicName, QueueMappingDetail>,
}

impl QueueMappings {
    /// Sets a mapping as it comes from the log. One whose topic's name is none is skipped: none was ever written.
    pub fn put(&mut self, detail: QueueMappingDetail) {
        if let Ok(topic) = TopicName::new(&detail.topic) {
            self.by_topic.insert(topic, detail);
        }
    }

    /// Forgets a mapping.
    pub fn remove(&mut self, topic: &TopicName) {
        self.by_topic.remove(topic);
    }

    /// All of them.
    pub fn into_all(self) -> impl Iterator<Item = (TopicName, QueueMappingDetail)> {
        self.by_topic.into_iter()
    }
}

/// Why a mapping was not taken (the words of `TopicQueueMappingManager` and `TopicQueueMappingUtils`, 5.5, where it has any).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MappingError {
    /// It is meant for another broker.
    #[error("the mapping is of broker {found}, not of {own}")]
    Broker {
        /// whose it is
        found: String,
        /// who was asked
        own: String,
    },
    /// It is of another topic than the request.
    #[error("the mapping is of topic {found}, not of {asked}")]
    Topic {
        /// whose it is
        found: String,
        /// what was asked for
        asked: String,
    },
    /// A number that cannot be negative is.
    #[error("The field is illegal, should not be negative")]
    Negative,
    /// A part's first offset is open, and it is not the last part.
    #[error("The non-latest item has negative logic offset")]
    Undecided,
    /// Parts are out of order.
    #[error("The gen does not increase monotonically")]
    Generations,
    /// A part ends before it begins.
    #[error("The endOffset is smaller than the start offset")]
    End,
    /// A part does not begin behind the one before.
    #[error("The base logic offset does not increase monotonically")]
    Base,
    /// A part reaches into the next one.
    #[error("The max logic offset does not increase monotonically")]
    Overlap,
    /// It is older than what is known.
    #[error("Can't accept data with small epoch {found} < {known}")]
    Epoch {
        /// its epoch
        found: i64,
        /// the epoch that is known
        known: i64,
    },
    /// It holds in another scope.
    #[error("Can't accept data with unmatched scope {found} != {known}")]
    Scope {
        /// its scope
        found: String,
        /// the scope that is known
        known: String,
    },
    /// It is as old as what is known, and lacks a queue.
    #[error("Cannot accept equal epoch with null data")]
    Lacking,
    /// A known queue has no parts any more.
    #[error("The new item list is null or empty")]
    Empty,
    /// It is as old as what is known, and says something else.
    #[error("The new leader is different but epoch equal")]
    Leader,
    /// What a part is never changes. RocketMQ asserts this, and so checks it only where assertions are on.
    #[error("part {generation} of queue {queue} would be another physical queue")]
    Part {
        /// the queue
        queue: i32,
        /// the part
        generation: i32,
    },
}

/// What a broker that knows `known` makes of a mapping it is given. With `force` it replaces everything but queues it does not name
/// (`updateTopicQueueMapping`, 5.5).
pub fn merge(
    known: Option<&QueueMappingDetail>,
    mut new: QueueMappingDetail,
    force: bool,
) -> Result<QueueMappingDetail, MappingError> {
    new.queues.clear();
    for parts in new.hosted_queues.values() {
        check_parts(parts)?;
    }
    let Some(known) = known else { return Ok(new) };
    if !force {
        if new.epoch < known.epoch {
            return Err(MappingError::Epoch { found: new.epoch, known: known.epoch });
        }
        if new.scope != known.scope {
            return Err(MappingError::Scope { found: new.scope, known: known.scope.clone() });
        }
        let same_epoch = new.epoch == known.epoch;
        for (queue, parts) in &known.hosted_queues {
            match new.hosted_queues.get(queue) {
                None if same_epoch => return Err(MappingError::Lacking),
                None => {}
                Some(now) => check_unchanged(*queue, parts, now, same_epoch)?,
            }
        }
    }
    for (queue, parts) in &known.hosted_queues {
        new.hosted_queues.entry(*queue).or_insert_with(|| parts.clone());
    }
    Ok(new)
}

fn check_parts(parts: &[MappedPart]) -> Result<(), MappingError> {
    for part in parts {
        if part.start_offset < 0 || part.generation < 0 || part.queue_id < 0 {
            return Err(MappingError::Negative);
        }
        if part.end_offset != -1 && part.end_offset < part.start_offset {
            return Err(MappingError::End);
        }
    }
    for pair in parts.windows(2) {
        let [part, next] = pair else { continue };
        if part.logic_offset < 0 {
            return Err(MappingError::Undecided);
        }
        if part.generation >= next.generation {
            return Err(MappingError::Generations);
        }
        if next.logic_offset != -1 {
            if part.logic_offset >= next.logic_offset {
                return Err(MappingError::Base);
            }
            if part.known_end() >= next.logic_offset {
                return Err(MappingError::Overlap);
            }
        }
    }
    Ok(())
}

fn check_unchanged(
    queue: i32,
    known: &[MappedPart],
    new: &[MappedPart],
    same_epoch: bool,
) -> Result<(), MappingError> {
    let Some(known_leader) = known.last() else { return Ok(()) };
    let Some(new_leader) = new.last() else { return Err(MappingError::Empty) };
    let is_same = |a: &MappedPart, b: &MappedPart| {
        (&a.broker_name, a.queue_id, a.start_offset) == (&b.broker_name, b.queue_id, b.start_offset)
    };
    // Either list may lack parts that the other has: the oldest when nothing is left in them.
    for part in known {
        if let Some(now) = new.iter().find(|now| now.generation == part.generation)
            && !(is_same(part, now) && (part.logic_offset == -1 || part.logic_offset == now.logic_offset))
        {
            return Err(MappingError::Part { queue, generation: part.generation });
        }
    }
    let same_leader = new_leader.generation == known_leader.generation && is_same(new_leader, known_leader);
    if same_epoch && !same_leader { Err(MappingError::Leader) } else { Ok(()) }
}

/// Where one queue of a static topic lies, as seen by its leader.
#[derive(Debug, Clone, Copy)]
pub struct Led<'a> {
    /// The parts, oldest first.
    pub parts: &'a [MappedPart],
    /// The last of them, which this broker has.
    pub leader: &'a MappedPart,
}

/// The queue, if the broker of the mapping leads it.
pub fn led(detail: &QueueMappingDetail, queue: i32) -> Option<Led<'_>> {
    let parts = detail.hosted_queues.get(&queue)?;
    let leader = parts.last().filter(|last| last.broker_name == detail.broker_name)?;
    Some(Led { parts, leader })
}

/// The queue that a message is for that names none: the first one hosted, whoever leads it (`buildTopicQueueMappingContext`, 5.5).
pub fn any_queue(detail: &QueueMappingDetail) -> Option<i32> {
    detail.hosted_queues.keys().next().copied()
}

impl<'a> Led<'a> {
    /// The part that an offset lies in, its number in the row; the first one for an offset before all. Parts whose first offset is
    /// not decided are left out; `None` where there is no other (`findLogicQueueMappingItem`, 5.5).
    pub fn part_at(&self, logical: i64) -> Option<(usize, &'a MappedPart)> {
        let decided = || self.parts.iter().enumerate().filter(|(_, part)| part.logic_offset >= 0);
        decided().rev().find(|(_, part)| logical >= part.logic_offset).or_else(|| decided().next())
    }

    fn next(&self, at: usize) -> Option<&'a MappedPart> {
        self.parts.get(at + 1).filter(|next| next.logic_offset >= 0)
    }
}

/// How a pull went, in offsets of a physical queue or of a static topic's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pulled {
    /// How.
    pub answer: Answer,
    /// Where to go on.
    pub next: i64,
    /// The queue's first offset.
    pub min: i64,
    /// The queue's end.
    pub max: i64,
}

/// What is made of a pull at physical offset `asked` of part `at`, for a client that knows only the whole queue: at the end of a part it
/// goes on in the next one. The second value is what clients add to the offsets in the records.
pub fn whole(led: Led<'_>, at: usize, asked: i64, pulled: Pulled) -> (Pulled, i64) {
    let mut part = &led.parts[at];
    let Pulled { mut answer, mut next, mut min, mut max } = pulled;
    let is_leader = at + 1 == led.parts.len();
    let is_first = led.part_at(0).is_some_and(|(first, _)| first == at);
    if answer != Answer::Found {
        if is_leader {
            if asked > max {
                if answer == Answer::OffsetMoved {
                    next = max;
                }
            } else if asked < min {
                (answer, next) = (Answer::RetryImmediately, min);
            }
        }
        if is_first && asked < min {
            (answer, next) = (Answer::OffsetMoved, min);
        } else if !is_first && !is_leader && asked < min {
            (answer, next) = (Answer::RetryImmediately, min);
        } else if (is_first || !is_leader) && asked >= max {
            match led.next(at) {
                Some(following) => {
                    part = following;
                    answer = Answer::RetryImmediately;
                    (next, min, max) = (part.start_offset, part.start_offset, part.start_offset);
                }
                // The next part may not be decided yet.
                None => answer = Answer::NotFound,
            }
        } else if is_first {
            answer = pulled.answer;
        }
    }
    if part.is_ended() {
        next = next.min(part.end_offset);
    }
    let whole = Pulled {
        answer,
        next: part.logical(next),
        min: part.logical(min.max(part.start_offset)),
        max: part.logical(max).max(led.leader.known_end()),
    };
    (whole, part.logic_offset - part.start_offset)
}

#[cfg(test)]
mod tests;
