//! The name server's requests: 105, 106 and 206.

use crate::{
    catalog::Catalog,
    connection::{Service, Session, SessionInfo},
    remoting::{Refusal, not_supported, refuse, succeed},
};
use halley_machine::routes::Broker;
use halley_wire::{
    Frame, NamesrvCode, ResponseCode,
    body::{self, BrokerData, ClusterInfo, IntegerKeys, QueueData, TopicRoute},
    frame::{self, FrameError},
    request::GetRouteInfo,
};
use std::sync::Arc;
use tokio::time::Instant;

/// Answers where topics are served.
pub(crate) struct NameServer {
    pub(crate) catalog: Arc<Catalog>,
}

impl Service for NameServer {
    type State = ();

    fn opened(&self, _: &SessionInfo) {}

    fn frames(&self, input: &[u8], session: &mut Session<()>) -> Result<usize, FrameError> {
        let limits = frame::Limits::default();
        let mut used = 0;
        while let Some((frame, len)) = frame::decode(&input[used..], &limits)? {
            used += len;
            if !frame.is_reply()
                && let Err(refusal) = self.dispatch(&frame, session)
            {
                refuse(&frame, session, &refusal);
            }
        }
        Ok(used)
    }

    fn woken(&self, _: u64, _: &mut Session<()>) {}

    fn expire(&self, _: Instant, _: &mut Session<()>) {}

    fn deadline(&self, _: &Session<()>) -> Option<Instant> {
        None
    }

    fn stopped(&self, _: &mut Session<()>) {}

    fn closed(&self, _: &mut Session<()>) {}
}

impl NameServer {
    fn dispatch(&self, frame: &Frame<'_>, session: &mut Session<()>) -> Result<(), Refusal> {
        let body = match NamesrvCode::of(frame.code) {
            NamesrvCode::GetRouteInfoByTopic => self.route(frame)?,
            NamesrvCode::GetBrokerClusterInfo => self.clusters(),
            NamesrvCode::GetAllTopicListFromNameserver => self.topics(),
            NamesrvCode::Unknown(code) => return Err(not_supported(code)),
        };
        succeed(frame, session, &[], &body);
        Ok(())
    }

    /// 105.
    fn route(&self, frame: &Frame<'_>) -> Result<Vec<u8>, Refusal> {
        let header = GetRouteInfo::decode(&frame.ext)?;
        let route = self.catalog.route(&header.topic);
        if route.is_empty() {
            let remark = format!("No topic route info in name server for the topic: {}", header.topic);
            return Err(Refusal::new(ResponseCode::TopicNotExist, remark));
        }
        let queues = route.iter().map(|(broker, topic)| QueueData {
            broker_name: broker.name.clone(),
            read_queue_nums: topic.read_queues as i32,
            write_queue_nums: topic.write_queues as i32,
            perm: i32::from(topic.permission.0),
            topic_sys_flag: topic.system_flag,
        });
        let answer = TopicRoute {
            order_topic_conf: None,
            queues: queues.collect(),
            brokers: route.iter().map(|(broker, _)| data_of(broker)).collect(),
        };
        Ok(answer.encode(header.integer_keys(frame.version)))
    }

    /// 106, always with bare keys as 5.5 writes them.
    fn clusters(&self) -> Vec<u8> {
        let info = self
            .catalog
            .with_routes(|routes| ClusterInfo::of(routes.brokers().map(|broker| data_of(broker))));
        info.encode(IntegerKeys::Bare)
    }

    /// 206.
    fn topics(&self) -> Vec<u8> {
        self.catalog.with_routes(|routes| body::topics::encode(routes.topics().map(|topic| topic.as_str())))
    }
}

fn data_of(broker: &Broker) -> BrokerData {
    BrokerData {
        cluster: broker.cluster.clone(),
        broker_name: broker.name.clone(),
        addresses: broker.addresses.clone(),
    }
}
