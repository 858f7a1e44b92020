//! Typed request headers, one file per family. Each is decoded from ext fields in one pass and borrows from them;
//! `fields` is the way back, for our own client.
//!
//! Fields that RocketMQ marks not-null must be there, unless its broker gets along without them.

pub mod assignment;
mod header;

pub mod admin;
pub mod client;
pub mod lite;
pub mod namesrv;
pub mod offsets;
pub mod pop;
pub mod pull;
pub mod query;
pub mod reply_message;
pub mod retry;
pub mod route;
pub mod send;
pub mod topic;
pub mod transaction;

pub use assignment::{QueryAssignment, RequestMode, SetMessageRequestMode};
pub use client::{
    CheckClientConfig, ClientError, ConsumerData, Heartbeat, LockBatch, MessageModel, MessageQueue,
    ProducerData, SubscriptionData, UnregisterClient,
};
pub use namesrv::{
    BrokerHeartbeat, BrokerMember, BrokerName, ClusterName, GetBrokerMemberGroup, KvConfig,
    MinBrokerIdChange, NamesrvTopic, RegisterBroker,
};
pub use offsets::{
    Boundary, GetMaxOffset, GetMinOffset, QueryConsumerOffset, SearchOffset, UpdateConsumerOffset,
};
pub use pop::{
    AckMessage, BatchAck, BatchAckMessage, ChangeInvisibleTime, Notification, PeekMessage, PollingInfo,
    PopMessage,
};
pub use pull::PullMessage;
pub use query::{QueryConsumeQueue, QueryMessage, ViewMessage};
pub use reply_message::PushReply;
pub use retry::{RecallMessage, SendBack};
pub use route::GetRouteInfo;
pub use send::{SendForm, SendMessage};
pub use topic::CreateTopic;
pub use transaction::{CheckTransaction, Decision, EndTransaction};

/// The group that a request is about, where that is all it says (requests 38 and 40).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerGroup<'a> {
    /// The consumer group.
    pub consumer_group: std::borrow::Cow<'a, str>,
}

impl<'a> ConsumerGroup<'a> {
    /// Reads the header.
    pub fn decode(ext: &crate::Ext<'a>) -> Result<Self, crate::HeaderError> {
        let [group] = ext.pick(["consumerGroup"]);
        Ok(Self { consumer_group: group.text()? })
    }

    /// The ext fields.
    pub fn fields(&self) -> [crate::encode::ExtField<'_>; 1] {
        [("consumerGroup", (&*self.consumer_group).into())]
    }
}

#[cfg(test)]
mod tests;
