//! Replies, written in the serialisation of their request, and the headers that some of them carry.

pub mod pop;

pub use pop::{
    ChangeInvisibleTimeResponse, NotificationResponse, PollingInfoResponse, PopLiteMessageResponse,
    PopMessageResponse,
};

use crate::{
    EncodeError, Ext, ExtValue, HeaderError, ResponseCode, Serialize, VERSION_5_5_0,
    encode::{ExtField, Head},
    frame::flag,
    language,
};
use bytes::BytesMut;
use std::borrow::Cow;

/// Longest remark sent, in bytes; longer ones are cut.
pub const REMARK_BYTES_MAX: usize = 4096;

/// Appends a whole reply. One larger than any client reads becomes a SYSTEM_ERROR that says so: the client waits for
/// something under this number.
pub fn encode_reply(
    out: &mut BytesMut,
    serialize: Serialize,
    code: ResponseCode,
    opaque: i32,
    remark: Option<&str>,
    fields: &[ExtField<'_>],
    body: &[u8],
) {
    match encode_reply_head(out, serialize, code, opaque, remark, fields, body.len()) {
        Ok(()) => out.extend_from_slice(body),
        Err(error @ EncodeError) => {
            let remark = error.to_string();
            let short = head(serialize, ResponseCode::SystemError, opaque, Some(&remark));
            short.write(out, &[], 0).expect("a short remark alone fits every frame");
        }
    }
}

/// Appends a reply up to its body, which has `body_len` bytes and is to be sent right after.
pub fn encode_reply_head(
    out: &mut BytesMut,
    serialize: Serialize,
    code: ResponseCode,
    opaque: i32,
    remark: Option<&str>,
    fields: &[ExtField<'_>],
    body_len: usize,
) -> Result<(), EncodeError> {
    head(serialize, code, opaque, remark).write(out, fields, body_len)
}

/// Replies say JAVA: every client knows it, while RUST came with 4.9.5 or so.
fn head(serialize: Serialize, code: ResponseCode, opaque: i32, remark: Option<&str>) -> Head<'_> {
    let remark = remark.map(|remark| {
        let end = remark.floor_char_boundary(REMARK_BYTES_MAX);
        &remark[..end]
    });
    let (language, version) = (language::JAVA, VERSION_5_5_0);
    Head { serialize, code: code.number(), language, version, opaque, flag: flag::REPLY, remark }
}

/// What every reply to a send tells, refusals too: the region and the trace switch (`SendMessageProcessor.preSend`, 5.5,
/// with default settings).
pub const SEND_FIELDS: [ExtField<'static>; 2] = [REGION_FIELD, ("TRACE_ON", ExtValue::Boolean(true))];

/// What every reply to the recall of a message tells; without it Java clients trace no recall
/// (`RecallMessageProcessor`, `DefaultRecallMessageTraceHook`, 5.5).
pub const REGION_FIELD: ExtField<'static> = ("MSG_REGION", ExtValue::Text("DefaultRegion"));

/// Where a message was stored (`SendMessageResponseHeader`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendMessageResponse<'a> {
    /// The message id that names its place (see `halley_model::id`); for a batch, one per message joined by commas.
    pub message_id: Cow<'a, str>,
    /// Its queue.
    pub queue_id: i32,
    /// Its position there; of a batch, the first message's.
    pub queue_offset: i64,
    /// The id of the transaction that it begins.
    pub transaction_id: Option<Cow<'a, str>>,
    /// By which a timer message can be taken back, see [`crate::RecallHandle`].
    pub recall_handle: Option<Cow<'a, str>>,
    /// The unique id of a batch that is one message to its producer.
    pub batch_unique_id: Option<Cow<'a, str>>,
}

impl<'a> SendMessageResponse<'a> {
    /// The ext fields, with [`SEND_FIELDS`].
    pub fn fields(&self) -> [ExtField<'_>; 8] {
        let [region, trace] = SEND_FIELDS;
        [
            ("msgId", ExtValue::Text(&self.message_id)),
            ("queueId", self.queue_id.into()),
            ("queueOffset", self.queue_offset.into()),
            ("transactionId", self.transaction_id.as_deref().into()),
            ("recallHandle", self.recall_handle.as_deref().into()),
            ("batchUniqId", self.batch_unique_id.as_deref().into()),
            region,
            trace,
        ]
    }

    /// Reads a reply to a send.
    pub fn decode(ext: &Ext<'a>) -> Result<Self, HeaderError> {
        let [id, queue, offset, transaction, recall, batch] =
            ext.pick(["msgId", "queueId", "queueOffset", "transactionId", "recallHandle", "batchUniqId"]);
        Ok(Self {
            message_id: id.text()?,
            queue_id: queue.i32()?,
            queue_offset: offset.i64()?,
            transaction_id: transaction.text_opt(),
            recall_handle: recall.text_opt(),
            batch_unique_id: batch.text_opt(),
        })
    }
}

/// Where to go on pulling (`PullMessageResponseHeader`). The body is stored records one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullMessageResponse {
    /// Which broker of the group to ask next; 0 is the master.
    pub suggest_which_broker_id: i64,
    /// The offset to ask for next.
    pub next_begin_offset: i64,
    /// The queue's first offset still there.
    pub min_offset: i64,
    /// The offset that the queue's next message will get.
    pub max_offset: i64,
    /// The topic's `topicSysFlag`, sent by brokers since 5.0.
    pub topic_sys_flag: Option<i32>,
    /// The group's `groupSysFlag`, sent by brokers since 5.0.
    pub group_sys_flag: Option<i32>,
    /// Of a static topic: what clients add to the offsets in the records.
    pub offset_delta: Option<i64>,
}

impl PullMessageResponse {
    /// The ext fields.
    pub fn fields(&self) -> [ExtField<'_>; 7] {
        [
            ("suggestWhichBrokerId", self.suggest_which_broker_id.into()),
            ("nextBeginOffset", self.next_begin_offset.into()),
            ("minOffset", self.min_offset.into()),
            ("maxOffset", self.max_offset.into()),
            ("topicSysFlag", self.topic_sys_flag.into()),
            ("groupSysFlag", self.group_sys_flag.into()),
            ("offsetDelta", self.offset_delta.into()),
        ]
    }

    /// Reads a reply to a pull.
    pub fn decode(ext: &Ext<'_>) -> Result<Self, HeaderError> {
        let [broker, next, min, max, topic, group, delta] = ext.pick([
            "suggestWhichBrokerId",
            "nextBeginOffset",
            "minOffset",
            "maxOffset",
            "topicSysFlag",
            "groupSysFlag",
            "offsetDelta",
        ]);
        Ok(Self {
            suggest_which_broker_id: broker.i64()?,
            next_begin_offset: next.i64()?,
            min_offset: min.i64()?,
            max_offset: max.i64()?,
            topic_sys_flag: topic.i32_opt()?,
            group_sys_flag: group.i32_opt()?,
            offset_delta: delta.i64_opt()?,
        })
    }
}

/// How far the key index is (`QueryMessageResponseHeader`, the answer to request 12). The body is stored records one after the
/// other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueryMessageResponse {
    /// Store time of the last message with a key; 0 where nothing was found.
    pub index_last_update_timestamp: i64,
    /// Its log offset.
    pub index_last_update_phyoffset: i64,
}

impl QueryMessageResponse {
    /// The ext fields.
    pub fn fields(&self) -> [ExtField<'_>; 2] {
        [
            ("indexLastUpdatePhyoffset", self.index_last_update_phyoffset.into()),
            ("indexLastUpdateTimestamp", self.index_last_update_timestamp.into()),
        ]
    }

    /// Reads such a reply.
    pub fn decode(ext: &Ext<'_>) -> Result<Self, HeaderError> {
        let [timestamp, offset] = ext.pick(["indexLastUpdateTimestamp", "indexLastUpdatePhyoffset"]);
        Ok(Self { index_last_update_timestamp: timestamp.i64()?, index_last_update_phyoffset: offset.i64()? })
    }
}

/// An offset, the answer to requests 14, 29, 30 and 31 (`QueryConsumerOffsetResponseHeader` and others).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OffsetResponse {
    /// The offset asked for.
    pub offset: i64,
}

impl OffsetResponse {
    /// The ext fields.
    pub fn fields(&self) -> [ExtField<'_>; 1] {
        [("offset", self.offset.into())]
    }

    /// Reads such a reply.
    pub fn decode(ext: &Ext<'_>) -> Result<Self, HeaderError> {
        let [offset] = ext.pick(["offset"]);
        Ok(Self { offset: offset.i64()? })
    }
}

/// The remark for a code that nobody serves, code 3 (`NettyRemotingAbstract.processRequestCommand`, 5.5).
pub fn not_supported(code: i32) -> String {
    format!(" request type {code} not supported")
}

#[cfg(test)]
mod tests;
