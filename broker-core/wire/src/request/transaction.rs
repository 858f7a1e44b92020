//! Transactions: request 37 from producers, request 39 to them.

use crate::{ClientCode, Ext, HeaderError, Serialize, encode, encode::ExtField, language};
use bytes::BytesMut;
use std::borrow::Cow;

/// What becomes of a transaction (`commitOrRollback`, the transaction bits of a system flag).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Not known yet.
    Unknown,
    /// Deliver the message.
    Commit,
    /// Forget it.
    Rollback,
}

/// The end of a transaction (`EndTransactionRequestHeader`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndTransaction<'a> {
    /// The message's topic, since 5.0.
    pub topic: Option<Cow<'a, str>>,
    /// The producer's group.
    pub producer_group: Cow<'a, str>,
    /// The half message's offset in its queue.
    pub tran_state_table_offset: i64,
    /// The half message's log offset.
    pub commit_log_offset: i64,
    /// What to do; a number that means nothing is [`Decision::Unknown`], as for RocketMQ.
    pub commit_or_rollback: Decision,
    /// Whether the producer was asked.
    pub from_transaction_check: bool,
    /// The message's unique key.
    pub msg_id: Cow<'a, str>,
    /// The transaction's id.
    pub transaction_id: Option<Cow<'a, str>>,
}

impl Decision {
    fn of(number: i32) -> Self {
        match number {
            8 => Self::Commit,
            12 => Self::Rollback,
            _ => Self::Unknown,
        }
    }

    fn number(self) -> i32 {
        match self {
            Self::Unknown => 0,
            Self::Commit => 8,
            Self::Rollback => 12,
        }
    }
}

impl<'a> EndTransaction<'a> {
    /// Reads the header.
    pub fn decode(ext: &Ext<'a>) -> Result<Self, HeaderError> {
        let [topic, group, state_offset, log_offset, decision, check, message, transaction] = ext.pick([
            "topic",
            "producerGroup",
            "tranStateTableOffset",
            "commitLogOffset",
            "commitOrRollback",
            "fromTransactionCheck",
            "msgId",
            "transactionId",
        ]);
        Ok(Self {
            topic: topic.text_opt(),
            producer_group: group.text()?,
            tran_state_table_offset: state_offset.i64()?,
            commit_log_offset: log_offset.i64()?,
            commit_or_rollback: Decision::of(decision.i32()?),
            from_transaction_check: check.bool_opt().unwrap_or(false),
            msg_id: message.text()?,
            transaction_id: transaction.text_opt(),
        })
    }

    /// The same, borrowing nothing.
    pub fn into_owned(self) -> EndTransaction<'static> {
        EndTransaction {
            topic: self.topic.map(|topic| Cow::Owned(topic.into_owned())),
            producer_group: Cow::Owned(self.producer_group.into_owned()),
            msg_id: Cow::Owned(self.msg_id.into_owned()),
            transaction_id: self.transaction_id.map(|id| Cow::Owned(id.into_owned())),
            tran_state_table_offset: self.tran_state_table_offset,
            commit_log_offset: self.commit_log_offset,
            commit_or_rollback: self.commit_or_rollback,
            from_transaction_check: self.from_transaction_check,
        }
    }

    /// The ext fields.
    pub fn fields(&self) -> [ExtField<'_>; 8] {
        [
            ("topic", self.topic.as_deref().into()),
            ("producerGroup", (&*self.producer_group).into()),
            ("tranStateTableOffset", self.tran_state_table_offset.into()),
            ("commitLogOffset", self.commit_log_offset.into()),
            ("commitOrRollback", self.commit_or_rollback.number().into()),
            ("fromTransactionCheck", self.from_transaction_check.into()),
            ("msgId", (&*self.msg_id).into()),
            ("transactionId", self.transaction_id.as_deref().into()),
        ]
    }
}

/// Whether a transaction is to be committed is asked (`CheckTransactionStateRequestHeader`); the body is the half
/// message, under its own topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckTransaction<'a> {
    /// The half messages' topic.
    pub topic: Cow<'a, str>,
    /// The half message's offset in its queue.
    pub tran_state_table_offset: i64,
    /// The half message's log offset.
    pub commit_log_offset: i64,
    /// The message's unique key.
    pub msg_id: Option<Cow<'a, str>>,
    /// The half message's id by its place.
    pub offset_msg_id: Cow<'a, str>,
    /// This broker's name.
    pub broker_name: Cow<'a, str>,
}

impl CheckTransaction<'_> {
    /// Appends the one-way request: JSON, which every client reads.
    pub fn encode(&self, out: &mut BytesMut, half: &[u8]) -> Result<(), encode::EncodeError> {
        let fields: [ExtField<'_>; 7] = [
            ("topic", (&*self.topic).into()),
            ("tranStateTableOffset", self.tran_state_table_offset.into()),
            ("commitLogOffset", self.commit_log_offset.into()),
            ("msgId", self.msg_id.as_deref().into()),
            ("transactionId", self.msg_id.as_deref().into()),
            ("offsetMsgId", (&*self.offset_msg_id).into()),
            ("bname", (&*self.broker_name).into()),
        ];
        let request = encode::Request {
            serialize: Serialize::Json,
            oneway: true,
            language: language::JAVA,
            ..encode::Request::new(ClientCode::CheckTransactionState, 0)
        };
        encode::request(out, request, &fields, half)
    }
}
