//! Requests about topics: 105, 206, 216, 217, 224, 304 and 311 to 313.

use super::{NameSession, data_of, tell};
use crate::{answers::Refusal, names::Names};
use halley_machine::{
    kv_configs::ORDER_TOPIC_CONFIG,
    namesrv_settings::NamesrvSettings,
    routes::{Queues, Routes},
};
use halley_wire::{
    Frame, ResponseCode,
    body::{self, QueueData, TopicRoute},
    request::{ClusterName, GetRouteInfo, NamesrvTopic},
};
use std::collections::BTreeSet;

/// What requests about topics use.
pub(super) struct TopicRequests<'a> {
    pub(super) names: &'a Names,
}

impl TopicRequests<'_> {
    /// 105.
    pub(super) fn route(&self, frame: &Frame<'_>, session: &mut NameSession) -> Result<(), Refusal> {
        let header = GetRouteInfo::decode(&frame.ext)?;
        if self.names.is_starting() {
            return Err(Refusal::new(ResponseCode::SystemError, "name server not ready"));
        }
        let Some(mut route) = self.names.look(|routes| routes.route(&header.topic)) else {
            let remark = format!(
                "No topic route info in name server for the topic: {}\n\
                 See https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details.",
                header.topic
            );
            return Err(Refusal::new(ResponseCode::TopicNotExist, remark));
        };
        if let Some(zone) = &header.zone {
            route.keep_zone(zone);
        }
        let queues = route.queues.iter().map(|(broker, queues)| QueueData {
            broker_name: broker.to_string(),
            read_queue_nums: queues.read,
            write_queue_nums: queues.write,
            perm: queues.permission,
            topic_sys_flag: queues.system_flag,
        });
        let answer = TopicRoute {
            order_topic_conf: self.order_conf(&header.topic),
            queues: queues.collect(),
            brokers: route.brokers.iter().map(data_of).collect(),
            filter_servers: route.filter_servers,
            mappings: route.mappings,
        };
        tell(frame, session, &[], &answer.encode(header.integer_keys(frame.version)))
    }

    /// 206.
    pub(super) fn all(&self, frame: &Frame<'_>, session: &mut NameSession) -> Result<(), Refusal> {
        let allowed = |settings: &NamesrvSettings| settings.enable_all_topic_list;
        self.list(allowed, frame, session, |routes| body::topics::encode(routes.topics()))
    }

    /// 216.
    pub(super) fn delete(&self, frame: &Frame<'_>, session: &mut NameSession) -> Result<(), Refusal> {
        let NamesrvTopic { topic, cluster_name } = NamesrvTopic::decode(&frame.ext)?;
        self.names.step(|routes, _| routes.delete_topic(&topic, cluster_name.as_deref()));
        tell(frame, session, &[], b"")
    }

    /// 217: the body is a route of which the queues count.
    pub(super) fn register(&self, frame: &Frame<'_>, session: &mut NameSession) -> Result<(), Refusal> {
        let NamesrvTopic { topic, .. } = NamesrvTopic::decode(&frame.ext)?;
        if !frame.body.is_empty() {
            let told = TopicRoute::decode(frame.body)?;
            let queues = told.queues.into_iter().map(|queue| {
                let queues = Queues {
                    read: queue.read_queue_nums,
                    write: queue.write_queue_nums,
                    permission: queue.perm,
                    system_flag: queue.topic_sys_flag,
                };
                (queue.broker_name, queues)
            });
            let queues: Vec<_> = queues.collect();
            self.names.step(|routes, _| routes.register_topic(&topic, &queues));
        }
        tell(frame, session, &[], b"")
    }

    /// 224.
    pub(super) fn of_cluster(&self, frame: &Frame<'_>, session: &mut NameSession) -> Result<(), Refusal> {
        let ClusterName { cluster } = ClusterName::decode(&frame.ext)?;
        self.list(LISTS, frame, session, |routes| body::topics::encode(routes.topics_of(&cluster)))
    }

    /// 304: clusters and brokers, whose names are topics, too.
    pub(super) fn system(&self, frame: &Frame<'_>, session: &mut NameSession) -> Result<(), Refusal> {
        let body = self.names.look(|routes| {
            let clusters: BTreeSet<_> = routes.brokers().map(|broker| broker.cluster.as_str()).collect();
            let names = clusters.into_iter().chain(routes.brokers().map(|broker| broker.name.as_str()));
            let address = routes.brokers().find_map(|broker| broker.addresses.values().next());
            body::topics::encode_system(names, address.map(String::as_str))
        });
        tell(frame, session, &[], &body)
    }

    /// 311.
    pub(super) fn unit(&self, frame: &Frame<'_>, session: &mut NameSession) -> Result<(), Refusal> {
        self.list(LISTS, frame, session, |routes| body::topics::encode(routes.unit_topics()))
    }

    /// 312.
    pub(super) fn unit_subscription(
        &self,
        frame: &Frame<'_>,
        session: &mut NameSession,
    ) -> Result<(), Refusal> {
        self.list(LISTS, frame, session, |routes| body::topics::encode(routes.unit_subscription_topics()))
    }

    /// 313.
    pub(super) fn unit_subscription_only(
        &self,
        frame: &Frame<'_>,
        session: &mut NameSession,
    ) -> Result<(), Refusal> {
        self.list(LISTS, frame, session, |routes| {
            body::topics::encode(routes.unit_subscription_only_topics())
        })
    }

    /// The queue counts of an ordered topic, where routes tell them.
    fn order_conf(&self, topic: &str) -> Option<String> {
        let kept = self.names.kept();
        let tells = kept.settings().order_message_enable;
        tells.then(|| kept.kv(|kv| kv.get(ORDER_TOPIC_CONFIG, topic).map(str::to_owned)))?
    }

    /// Lists topics, unless the settings do not let it.
    fn list(
        &self,
        allowed: impl FnOnce(&NamesrvSettings) -> bool,
        frame: &Frame<'_>,
        session: &mut NameSession,
        list: impl FnOnce(&Routes) -> Vec<u8>,
    ) -> Result<(), Refusal> {
        if !allowed(&self.names.kept().settings()) {
            return Err(Refusal::new(ResponseCode::SystemError, "disable"));
        }
        tell(frame, session, &[], &self.names.look(list))
    }
}

const LISTS: fn(&NamesrvSettings) -> bool = |settings| settings.enable_topic_list;
