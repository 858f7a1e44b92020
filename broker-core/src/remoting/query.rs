//! Looking for single messages: requests 12, 33 and 321. All may read from the disk, so that they are answered from a thread
//! that may block.

use super::BrokerSession;
use crate::{
    answers::{Refusal, answer, request_of},
    held::RequestId,
    members::Members,
    outbox::Outbox,
    queues::Queues,
};
use bytes::{Bytes, BytesMut};
use halley_model::RecordView;
use halley_store::{IndexEntry, KeyIndex, KeyKind, KeyMatches, KeyQuery, ReadError, disk::RealDisk};
use halley_wire::{
    Frame, ResponseCode,
    body::consume_queue::{self, QueueEntry},
    encode_reply_head,
    reply::QueryMessageResponse,
    request::{QueryConsumeQueue, QueryMessage, ViewMessage},
};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Most messages that one query by key gives (`maxMsgsNumBatch`, 5.5).
const RECORDS_MAX: usize = 64;

/// How many messages a query by unique key gives, whatever the client asks for (`defaultQueryMaxNum`, 5.5).
const UNIQUE_KEY_RECORDS: usize = 32;

/// Most entries of a queue's index in one answer: about 9 MB of JSON.
const ENTRIES_MAX: usize = 100_000;

/// Most queries at work or waiting for a thread; more are answered that the broker is busy.
pub(crate) const QUERIES_MAX: usize = 256;

/// What queries use.
pub(super) struct Queries<'a> {
    pub(super) queues: &'a Queues<RealDisk>,
    pub(super) keys: &'a KeyIndex<RealDisk>,
    pub(super) members: &'a Members,
    pub(super) permits: &'a Arc<Semaphore>,
}

impl Queries<'_> {
    /// 12: messages by key, unique key or tag (`QueryMessageProcessor.queryMessage`, 5.5).
    pub(super) fn by_key(&self, frame: &Frame<'_>, session: &BrokerSession) -> Result<(), Refusal> {
        let query = query_of(&QueryMessage::decode(&frame.ext)?)?;
        let keys = self.keys.clone();
        self.on_disk(frame, session, move |out, request| {
            let matches = keys.find(&query)?;
            Ok(write_matches(out, request, matches))
        })
    }

    /// 33: the message at a log offset, which a message id names (`QueryMessageProcessor.viewMessageById`, 5.5).
    pub(super) fn by_offset(&self, frame: &Frame<'_>, session: &BrokerSession) -> Result<(), Refusal> {
        let offset = ViewMessage::decode(&frame.ext)?.offset;
        let reader = self.queues.reader.clone();
        self.on_disk(frame, session, move |out, request| {
            let found = match u64::try_from(offset).map(|at| reader.record_at(at)) {
                Ok(Ok(bytes)) => Some(bytes),
                Ok(Err(error @ ReadError::Disk(_))) => return Err(error),
                // Any number may be asked for, so that nothing there is no damage.
                Ok(Err(_)) | Err(_) => None,
            };
            let found = match found {
                Some(bytes) => {
                    let known = RecordView::parse(&bytes).map(|record| reader.is_indexed(&record));
                    known.unwrap_or(Ok(false))?.then_some(bytes)
                }
                None => None,
            };
            Ok(match found {
                Some(bytes) => write_records(out, request, None, &[], vec![bytes]),
                None => {
                    let remark = format!("can not find message by the offset, {offset}");
                    answer(out, request, ResponseCode::SystemError, Some(&remark), &[], b"");
                    Vec::new()
                }
            })
        })
    }

    /// 321: entries of a queue's index (`AdminBrokerProcessor.queryConsumeQueue`, 5.5).
    pub(super) fn consume_queue(&self, frame: &Frame<'_>, session: &BrokerSession) -> Result<(), Refusal> {
        let header = QueryConsumeQueue::decode(&frame.ext)?;
        let (topic, number) = (header.topic.into_owned(), header.queue_id);
        let queue = u32::try_from(number).ok();
        let bounds = queue.and_then(|queue| Some((queue, self.queues.reader.bounds(&topic, queue)?)));
        let Some((queue, (min, max))) = bounds else {
            let remark = format!("{number}@{topic} is not exist!");
            return Err(Refusal::new(ResponseCode::SystemError, remark));
        };
        let filter = header.consumer_group.map(|group| match self.members.subscription(&group, &topic) {
            Some(Some(_)) => "null".to_owned(),
            Some(None) | None => format!("{group}@{topic} is not online!"),
        });
        let from = u64::try_from(header.index).ok().filter(|index| *index < max);
        let Some(from) = from else {
            let remark = format!("Index {} of {number}@{topic} is not exist!", header.index);
            // Not an error to RocketMQ either.
            return Err(Refusal::new(ResponseCode::Success, remark));
        };
        let wanted = usize::try_from(header.count).unwrap_or(0).min(ENTRIES_MAX);
        let reader = self.queues.reader.clone();
        self.on_disk(frame, session, move |out, request| {
            let mut entries: Vec<IndexEntry> = Vec::new();
            reader.lookup(&topic, queue, from, wanted, &mut entries)?;
            let entries: Vec<_> = entries
                .iter()
                .map(|entry| QueueEntry { log_offset: entry.log_offset, size: entry.size, tag: entry.tag })
                .collect();
            let body = consume_queue::encode(min, max, filter.as_deref(), &entries);
            answer(out, request, ResponseCode::Success, None, &[], &body);
            Ok(Vec::new())
        })
    }

    /// Answers from a thread that may block. `work` appends the reply, up to the parts that it gives.
    fn on_disk(
        &self,
        frame: &Frame<'_>,
        session: &BrokerSession,
        work: impl FnOnce(&mut BytesMut, RequestId) -> Result<Vec<Bytes>, ReadError> + Send + 'static,
    ) -> Result<(), Refusal> {
        let Ok(permit) = Arc::clone(self.permits).try_acquire_owned() else {
            let remark = "[REJECTREQUEST]system busy, start flow control for a while";
            return Err(Refusal::new(ResponseCode::SystemBusy, remark));
        };
        let (request, oneway) = (request_of(frame), frame.is_oneway());
        let outbox: Arc<Outbox> = session.info.outbox.clone();
        tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let mut head = BytesMut::with_capacity(256);
            let parts = work(&mut head, request).unwrap_or_else(|error| {
                head.clear();
                let remark = error.to_string();
                answer(&mut head, request, ResponseCode::SystemError, Some(&remark), &[], b"");
                Vec::new()
            });
            if !oneway {
                outbox.send(std::iter::once(head.freeze()).chain(parts));
            }
        });
        Ok(())
    }
}

fn query_of(header: &QueryMessage<'_>) -> Result<KeyQuery, Refusal> {
    let wanted = if header.unique_key {
        UNIQUE_KEY_RECORDS
    } else {
        let illegal =
            |_| Refusal::new(ResponseCode::SystemError, format!("Illegal Capacity: {}", header.max_num));
        usize::try_from(header.max_num).map_err(illegal)?.min(RECORDS_MAX)
    };
    // Unique keys and keys are one index; a word that RocketMQ does not know means that one too.
    let tag = !header.unique_key && header.index_type.as_deref() == Some("T");
    Ok(KeyQuery {
        topic: header.topic.as_ref().to_owned(),
        key: header.key.as_ref().to_owned(),
        kind: if tag { KeyKind::Tag } else { KeyKind::Key },
        begin: header.begin_timestamp,
        end: header.end_timestamp,
        records_max: wanted,
        before: header.last_key.as_deref().and_then(place_of),
    })
}

/// The log offset in a key that `mqadmin queryMsgByKey` printed: `hour@topic@type@key@unique key@log offset`. Anything else is
/// ignored, as RocketMQ ignores it (with its default index it ignores all of them).
fn place_of(last_key: &str) -> Option<u64> {
    let mut parts = last_key.rsplit('@');
    let offset = parts.next()?.parse().ok()?;
    (parts.count() >= 5).then_some(offset)
}

fn write_matches(out: &mut BytesMut, request: RequestId, matches: KeyMatches) -> Vec<Bytes> {
    let unsearched = matches.unsearched.map(|(from, to)| {
        format!("messages from log offset {from} to {to} were not searched: their key index is not made yet, try again")
    });
    if matches.records.is_empty() {
        let remark = unsearched.as_deref().unwrap_or("can not find message, maybe time range not correct");
        let code = if unsearched.is_some() { ResponseCode::SystemError } else { ResponseCode::QueryNotFound };
        answer(out, request, code, Some(remark), &QueryMessageResponse::default().fields(), b"");
        return Vec::new();
    }
    let (offset, stored) = matches.last_indexed.unwrap_or((0, 0));
    let header = QueryMessageResponse {
        index_last_update_timestamp: stored,
        index_last_update_phyoffset: i64::try_from(offset).unwrap_or(i64::MAX),
    };
    write_records(out, request, unsearched.as_deref(), &header.fields(), matches.records)
}

/// Appends the reply up to its body, which is the records given back.
fn write_records(
    out: &mut BytesMut,
    request: RequestId,
    remark: Option<&str>,
    fields: &[halley_wire::encode::ExtField<'_>],
    records: Vec<Bytes>,
) -> Vec<Bytes> {
    let RequestId { opaque, serialize } = request;
    let body_len = records.iter().map(Bytes::len).sum();
    encode_reply_head(out, serialize, ResponseCode::Success, opaque, remark, fields, body_len)
        .expect("records of at most 8 MiB and one more fit a frame");
    records
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printed_key_names_its_place() {
        assert_eq!(place_of("1795827600000@T@K@k1@FD0000@263"), Some(263));
        assert_eq!(place_of("1795827600000@T@K@a@b@FD0000@263"), Some(263), "a key may hold an @");
        for other in ["", "zzz", "263", "1@T@K@k1@263", "1@T@K@k1@u@x"] {
            assert_eq!(place_of(other), None);
        }
    }
}
