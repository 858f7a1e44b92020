//! Taking messages of all lite topics that have some for a client (`PopLiteMessageProcessor.popByClientId`, 5.5).

use super::LiteTopics;
use crate::{
    clock,
    pop::take::{Cold, Init, Pop, Popper, REPLY_BYTES_MAX, RetryTopics, Taken},
    queues::Source,
};
use bytes::Bytes;
use halley_model::{GroupName, Millis, light};
use halley_wire::pop::ORDER_REVIVE_QUEUE;
use std::{collections::BTreeSet, fmt::Write as _};

/// What a client asks for.
#[derive(Debug, Clone)]
pub(crate) struct LitePop {
    pub(crate) client: Box<str>,
    pub(crate) group: GroupName,
    pub(crate) records_max: usize,
    pub(crate) invisible: Millis,
    pub(crate) attempt: Option<Box<str>>,
}

/// What it gets.
#[derive(Debug, Default)]
pub(crate) struct LiteTaken {
    pub(crate) popped: Millis,
    pub(crate) runs: Vec<Bytes>,
    pub(crate) records: usize,
    /// How often each was given before (`orderCountInfo`).
    pub(crate) counts: String,
}

impl LiteTopics {
    /// Takes messages of the client's events, each queue's in order and once.
    pub(crate) fn take(&self, popper: &Popper, pop: &LitePop, source: Source) -> Result<LiteTaken, Cold> {
        let mut taken = LiteTaken { popped: clock::now(), ..LiteTaken::default() };
        let (mut seen, mut bytes) = (BTreeSet::new(), 0);
        while taken.records < pop.records_max && bytes < REPLY_BYTES_MAX {
            let Some(queue) = self.look(|lite| lite.next_event(taken.popped, &pop.client)) else { break };
            if !seen.insert(queue.clone()) {
                // It got messages meanwhile; the next request is for them.
                self.look(|lite| lite.put_back(&pop.client, queue));
                break;
            }
            let Some(topic) = self.catalog.get(&queue) else { continue };
            let one = Pop {
                group: pop.group.clone(),
                // An ordered pop looks into no retry topic.
                retry_topics: RetryTopics { v1: topic.name.clone(), v2: topic.name.clone() },
                topic,
                queue: Some(light::QUEUE),
                records_max: pop.records_max - taken.records,
                invisible: pop.invisible,
                init: Init::Max,
                filter: None,
                ordered: true,
                attempt: pop.attempt.clone(),
            };
            match popper.take_at(taken.popped, &one, 0, ORDER_REVIVE_QUEUE, source) {
                Ok(of_queue) => {
                    bytes += of_queue.bytes;
                    taken.add(of_queue);
                }
                Err(cold) => {
                    self.look(|lite| lite.put_back(&pop.client, queue));
                    // Better some messages now than more later.
                    return if taken.records > 0 { Ok(taken) } else { Err(cold) };
                }
            }
        }
        Ok(taken)
    }
}

impl LiteTaken {
    fn add(&mut self, of_queue: Taken) {
        if of_queue.records == 0 {
            return;
        }
        if !self.counts.is_empty() {
            self.counts.push(';');
        }
        push_counts(&mut self.counts, &of_queue.info.order_counts, of_queue.records);
        self.records += of_queue.records;
        self.runs.extend(of_queue.runs);
    }
}

/// The counts of a queue's messages as lists of lite topics have them: those of the messages alone, or for each of them that
/// of the queue (`transformOrderCountInfo`).
fn push_counts(out: &mut String, counts: &str, records: usize) {
    if let Some((messages, _of_queue)) = counts.rsplit_once(';') {
        out.push_str(messages);
        return;
    }
    let count = counts.rsplit(' ').next().filter(|count| !count.is_empty()).unwrap_or("0");
    for at in 0..records {
        let between = if at > 0 { ";" } else { "" };
        write!(out, "{between}{count}").expect("a string takes everything");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_those_of_messages() {
        let check = |counts: &str, records| {
            let mut out = String::new();
            push_counts(&mut out, counts, records);
            out
        };
        assert_eq!(check("", 2), "0;0");
        assert_eq!(check("0 0 3", 2), "3;3");
        assert_eq!(check("0 qo0%0 1;0 qo0%1 1;0 0 1", 2), "0 qo0%0 1;0 qo0%1 1");
    }
}
