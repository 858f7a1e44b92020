//! Requests of and about brokers: 103, 104, 106, 205, 322, 327, 901 and 904.

use super::{NameSession, data_of, tell};
use crate::{
    answers::{Refusal, answer, request_of},
    clock,
    names::Names,
};
use halley_machine::{
    kv_configs::{KvConfigs, ORDER_TOPIC_CONFIG},
    routes::{Member, Queues, Registration, SingleTopicFirst},
};
use halley_wire::{
    Frame, ResponseCode,
    body::{self, ClusterInfo, IntegerKeys, registration::checksum},
    request::{BrokerHeartbeat, BrokerMember, BrokerName, GetBrokerMemberGroup, RegisterBroker},
};

/// What requests about brokers use.
pub(super) struct BrokerRequests<'a> {
    pub(super) names: &'a Names,
}

impl BrokerRequests<'_> {
    /// 103.
    pub(super) fn register(&self, frame: &Frame<'_>, session: &mut NameSession) -> Result<(), Refusal> {
        let header = RegisterBroker::decode(&frame.ext)?;
        if header.body_crc32 != 0 && header.body_crc32 != checksum(frame.body) {
            return Err(Refusal::new(ResponseCode::SystemError, "crc32 not match"));
        }
        let body = body::Registration::decode(frame.body, header.compressed)?;
        let topics = body.topics.into_iter().map(|topic| {
            let queues = Queues {
                read: topic.read_queue_nums,
                write: topic.write_queue_nums,
                permission: topic.perm,
                system_flag: topic.topic_sys_flag,
            };
            (topic.name, queues)
        });
        let registration = Registration {
            member: member_of(&header.broker),
            ha_address: Some(header.ha_server_addr.into_owned()),
            zone: header.zone_name.map(Into::into),
            silence_max: header.heartbeat_timeout_millis,
            acting_master: header.enable_acting_master,
            version: body.version,
            topics: topics.collect(),
            filter_servers: body.filter_servers,
            mappings: body.mappings,
            connection: Some(session.info.id),
        };
        let registered = self
            .names
            .register_remote(registration)
            .map_err(|SingleTopicFirst| Refusal::new(ResponseCode::SystemError, "register broker failed"))?;
        let fields = [
            ("haServerAddr", registered.ha_address.as_deref().into()),
            ("masterAddr", registered.master_address.as_deref().into()),
        ];
        // Brokers make topics that they have ordered by it.
        let kept = self.names.kept();
        let order = |kv: &KvConfigs| kv.namespace(ORDER_TOPIC_CONFIG).map(body::kv_configs::encode);
        let tells = kept.settings().return_order_topic_config_to_broker;
        let body = if tells { kept.kv(order) } else { None };
        tell(frame, session, &fields, &body.unwrap_or_default())
    }

    /// 104.
    pub(super) fn unregister(&self, frame: &Frame<'_>, session: &mut NameSession) -> Result<(), Refusal> {
        let member = member_of(&BrokerMember::decode(&frame.ext)?);
        self.names.step(|routes, effects| routes.unregister(&[member], effects));
        tell(frame, session, &[], b"")
    }

    /// 904.
    pub(super) fn heartbeat(&self, frame: &Frame<'_>, session: &mut NameSession) -> Result<(), Refusal> {
        let BrokerHeartbeat { cluster_name, broker_addr } = BrokerHeartbeat::decode(&frame.ext)?;
        self.names.step(|routes, _| routes.heartbeat(clock::now(), &cluster_name, &broker_addr));
        tell(frame, session, &[], b"")
    }

    /// 322: whether the broker's version differs from the one that is known, which is the body.
    pub(super) fn version(&self, frame: &Frame<'_>, session: &mut NameSession) -> Result<(), Refusal> {
        let BrokerMember { cluster_name, broker_addr, .. } = BrokerMember::decode(&frame.ext)?;
        let version = body::decode_version(frame.body)?;
        let known = self.names.step(|routes, _| {
            routes.heartbeat(clock::now(), &cluster_name, &broker_addr);
            routes.version(&cluster_name, &broker_addr)
        });
        let changed = known.is_none() || known != version;
        let body = known.map(body::version).unwrap_or_default();
        tell(frame, session, &[("changed", changed.into())], &body)
    }

    /// 901. RocketMQ leaves the remark that it begins answers with, so that is told, too.
    pub(super) fn members(&self, frame: &Frame<'_>, session: &mut NameSession) -> Result<(), Refusal> {
        let GetBrokerMemberGroup { cluster_name, broker_name } = GetBrokerMemberGroup::decode(&frame.ext)?;
        let addresses =
            self.names.look(|routes| routes.broker(&broker_name).map(|broker| broker.addresses.clone()));
        let body = body::members::encode(&cluster_name, &broker_name, &addresses.unwrap_or_default());
        if !frame.is_oneway() {
            let remark = Some("not set any response code");
            answer(session.out.head(), request_of(frame), ResponseCode::Success, remark, &[], &body);
        }
        Ok(())
    }

    /// 106, always with bare keys as 5.5 writes them.
    pub(super) fn clusters(&self, frame: &Frame<'_>, session: &mut NameSession) -> Result<(), Refusal> {
        let info = self.names.look(|routes| ClusterInfo::of(routes.brokers().map(data_of)));
        tell(frame, session, &[], &info.encode(IntegerKeys::Bare))
    }

    /// 205: takes effect with the next route that anybody asks for.
    pub(super) fn wipe_write(&self, frame: &Frame<'_>, session: &mut NameSession) -> Result<(), Refusal> {
        let BrokerName { broker_name } = BrokerName::decode(&frame.ext)?;
        let count = self.names.step(|routes, _| routes.wipe_write(&broker_name));
        tell(frame, session, &[("wipeTopicCount", count.into())], b"")
    }

    /// 327.
    pub(super) fn add_write(&self, frame: &Frame<'_>, session: &mut NameSession) -> Result<(), Refusal> {
        let BrokerName { broker_name } = BrokerName::decode(&frame.ext)?;
        let count = self.names.step(|routes, _| routes.add_write(&broker_name));
        tell(frame, session, &[("addTopicCount", count.into())], b"")
    }
}

fn member_of(header: &BrokerMember<'_>) -> Member {
    Member {
        cluster: header.cluster_name.to_string(),
        name: header.broker_name.to_string(),
        id: header.broker_id,
        address: header.broker_addr.to_string(),
    }
}
