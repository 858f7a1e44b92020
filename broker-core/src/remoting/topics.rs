//! Creating topics: request 17.

use super::{BrokerSession, Refusal, answer, request_of, send};
use crate::{
    acks::Acks,
    catalog::{Catalog, ChangeError},
};
use halley_model::{Permission, TopicConfig, TopicName};
use halley_wire::{Frame, ResponseCode, request::CreateTopic};
use std::collections::BTreeMap;

/// What requests about topics use.
pub(super) struct TopicRequests<'a> {
    pub(super) catalog: &'a Catalog,
    pub(super) acks: &'a Acks,
}

impl TopicRequests<'_> {
    /// 17: the reply waits until the log has the change.
    pub(super) fn create(&self, frame: &Frame<'_>, session: &mut BrokerSession) -> Result<(), Refusal> {
        let header = CreateTopic::decode(&frame.ext)?;
        let illegal = |remark: String| Refusal::new(ResponseCode::InvalidParameter, remark);
        let name = TopicName::new(&header.topic).map_err(|error| illegal(error.to_string()))?;
        if header.attributes.as_deref().is_some_and(|attributes| !attributes.is_empty()) {
            return Err(illegal("topic attributes are not supported yet".to_owned()));
        }
        let permission = u8::try_from(header.perm).ok().filter(|perm| *perm <= 7);
        let permission =
            permission.ok_or_else(|| illegal(format!("the permission {} is not 0 to 7", header.perm)))?;
        let config = TopicConfig {
            name,
            read_queues: u32::try_from(header.read_queue_nums).unwrap_or(0),
            write_queues: u32::try_from(header.write_queue_nums).unwrap_or(0),
            permission: Permission(permission),
            system_flag: header.topic_sys_flag,
            ordered: header.order,
            attributes: BTreeMap::new(),
        };
        let end = self.catalog.update(config).map_err(|error| match error {
            ChangeError::Create(error) => illegal(error.to_string()),
            ChangeError::Stage(error) => send::refusal_of(error),
        })?;
        let request = request_of(frame);
        if !frame.is_oneway() {
            session
                .held
                .push(end, request, |out| answer(out, request, ResponseCode::Success, None, &[], b""));
            // An unchanged topic waits for nothing.
            session.held.release(self.acks.acked(), &mut session.out);
        }
        Ok(())
    }
}
