//! `halley admin`: topics, groups, offsets and clients of a broker, ours or any RocketMQ 5, over Remoting.

use super::Error;
use super::table::Table;
use crate::cli::{Admin, AdminCommand, GroupCommand, OffsetCommand, TopicCommand};
use halley_client::{Client, Options, Reply};
use halley_wire::{
    BrokerCode, NamesrvCode, ResponseCode,
    body::{
        ClusterInfo,
        connections::ConsumerConnections,
        figures::{self, KeyValues},
        group_config::{AllGroupConfigs, GroupConfigBody},
        progress::{self, ConsumeStats, TopicStats},
        topic_config::{AllTopicConfigs, TopicConfigBody},
    },
    encode::ExtField,
    request::{
        ConsumerGroup, CreateTopic,
        admin::{DeleteGroup, GetConsumeStats, GroupOnly, ResetOffset, TopicOnly},
    },
};
use serde_json::Value;
use std::{collections::BTreeMap, process::ExitCode, time::Duration};

/// A broker has this long for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);

pub(super) fn run(arguments: Admin) -> Result<ExitCode, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let text = runtime.block_on(answer(&arguments))?;
    print!("{text}");
    Ok(ExitCode::SUCCESS)
}

async fn answer(arguments: &Admin) -> Result<String, Error> {
    let broker = Peer::new(&arguments.broker);
    let table = match &arguments.command {
        AdminCommand::Cluster => cluster(&Peer::new(&arguments.namesrv)).await?,
        AdminCommand::Topics { command } => match command {
            TopicCommand::List => topics(&broker).await?,
            TopicCommand::Show { topic } => topic_queues(&broker, topic).await?,
            TopicCommand::Create { topic, queues, attribute } => {
                create_topic(&broker, topic, *queues, attribute).await?;
                return Ok(format!("topic {topic} has {queues} queues\n"));
            }
            TopicCommand::Delete { topic } => {
                let header = TopicOnly { topic: topic.into() };
                broker.ask(BrokerCode::DeleteTopicInBroker, &header.fields(), b"").await?;
                return Ok(format!("topic {topic} is deleted\n"));
            }
        },
        AdminCommand::Groups { command } => match command {
            GroupCommand::List => groups(&broker).await?,
            GroupCommand::Show { group } => group_settings(&broker, group).await?,
            GroupCommand::Create { group } => {
                let body = GroupConfigBody { group_name: group.clone(), ..GroupConfigBody::default() };
                broker.ask(BrokerCode::UpdateAndCreateSubscriptionGroup, &[], &body.encode()).await?;
                return Ok(format!("group {group} is there\n"));
            }
            GroupCommand::Delete { group, offsets } => {
                let header = DeleteGroup { group_name: group.into(), clean_offset: *offsets };
                broker.ask(BrokerCode::DeleteSubscriptionGroup, &header.fields(), b"").await?;
                return Ok(format!("group {group} is deleted\n"));
            }
        },
        AdminCommand::Offsets { command } => match command {
            OffsetCommand::Show { group, topic } => offsets(&broker, group, topic.as_deref()).await?,
            OffsetCommand::Reset { group, topic, to, queue } => {
                let (timestamp, offset) = to.time_and_offset();
                if offset.is_some() && queue.is_none() {
                    return Err("--to-offset is about one queue: name it with --queue".into());
                }
                let header = ResetOffset {
                    group: group.into(),
                    topic: topic.into(),
                    queue_id: *queue,
                    offset,
                    timestamp,
                    is_force: true,
                };
                reset(&broker, &header).await?
            }
        },
        AdminCommand::Consumers { group } => consumers(&broker, group).await?,
    };
    Ok(table.text(arguments.json))
}

/// A broker or name server.
struct Peer(Client);

impl Peer {
    fn new(address: &str) -> Self {
        Self(Client::new(address, Options::default()))
    }

    /// Asks; an answer other than success is an error in the peer's words.
    async fn ask(&self, code: impl Into<i32>, fields: &[ExtField<'_>], body: &[u8]) -> Result<Reply, Error> {
        let reply = self.0.request(code, fields, body, ANSWER_MAX).await?;
        if reply.code() == ResponseCode::Success {
            return Ok(reply);
        }
        let frame = reply.frame();
        let remark = frame.remark.as_deref().unwrap_or("without a reason");
        Err(format!("{} answered {}: {remark}", self.0.peer(), frame.code).into())
    }
}

async fn cluster(names: &Peer) -> Result<Table, Error> {
    let reply = names.ask(NamesrvCode::GetBrokerClusterInfo, &[], b"").await?;
    let info = ClusterInfo::decode(&reply.body())?;
    let mut table =
        Table::new(&["cluster", "broker", "id", "address", "version", "sent_today", "received_today"]);
    for broker in info.brokers.values() {
        for (id, address) in &broker.addresses {
            let figures = Peer::new(address).ask(BrokerCode::GetBrokerRuntimeInfo, &[], b"").await;
            let figures = figures.ok().and_then(|reply| KeyValues::decode(&reply.body()).ok());
            let figures = figures.unwrap_or_default().table;
            let today = |what: &str| {
                let number = |name: String| figures.get(&name)?.parse::<i64>().ok();
                let now = number(format!("msg{what}TotalTodayNow"))?;
                Some(now - number(format!("msg{what}TotalTodayMorning"))?)
            };
            table.row([
                broker.cluster.clone().into(),
                broker.broker_name.clone().into(),
                (*id).into(),
                address.clone().into(),
                figures.get("brokerVersionDesc").cloned().into(),
                today("Put").into(),
                today("Get").into(),
            ]);
        }
    }
    Ok(table)
}

async fn topics(broker: &Peer) -> Result<Table, Error> {
    let reply = broker.ask(BrokerCode::GetAllTopicConfig, &[], b"").await?;
    let mut table = Table::new(&["topic", "read_queues", "write_queues", "permission", "attributes"]);
    for topic in AllTopicConfigs::decode(&reply.body())?.topic_config_table.into_values() {
        table.row([
            topic.topic_name.into(),
            topic.read_queue_nums.into(),
            topic.write_queue_nums.into(),
            permission(topic.perm).into(),
            pairs(&topic.attributes),
        ]);
    }
    Ok(table)
}

async fn topic_queues(broker: &Peer, topic: &str) -> Result<Table, Error> {
    let header = TopicOnly { topic: topic.into() };
    let reply = broker.ask(BrokerCode::GetTopicStatsInfo, &header.fields(), b"").await?;
    let mut table = Table::new(&["queue", "first", "end", "messages", "last_stored_ms"]);
    for (queue, stats) in TopicStats::decode(&reply.body())?.offset_table {
        table.row([
            queue.queue_id.into(),
            stats.min_offset.into(),
            stats.max_offset.into(),
            (stats.max_offset - stats.min_offset).into(),
            Some(stats.last_update).filter(|time| *time > 0).into(),
        ]);
    }
    Ok(table)
}

async fn create_topic(broker: &Peer, topic: &str, queues: u16, attributes: &[String]) -> Result<(), Error> {
    let attributes: Vec<String> = attributes.iter().map(|attribute| format!("+{attribute}")).collect();
    let settings = TopicConfigBody::default();
    let header = CreateTopic {
        topic: topic.into(),
        default_topic: "TBW102".into(),
        read_queue_nums: queues.into(),
        write_queue_nums: queues.into(),
        perm: settings.perm,
        topic_filter_type: Some((&*settings.topic_filter_type).into()),
        topic_sys_flag: 0,
        order: false,
        attributes: (!attributes.is_empty()).then(|| attributes.join(",").into()),
    };
    broker.ask(BrokerCode::UpdateAndCreateTopic, &header.fields(), b"").await?;
    Ok(())
}

async fn groups(broker: &Peer) -> Result<Table, Error> {
    let reply = broker.ask(BrokerCode::GetAllSubscriptionGroupConfig, &[], b"").await?;
    let mut table = Table::new(&["group", "consumes", "attempts", "attributes"]);
    for group in AllGroupConfigs::decode(&reply.body())?.subscription_group_table.into_values() {
        table.row([
            group.group_name.into(),
            group.consume_enable.into(),
            (i64::from(group.retry_max_times) + 1).into(),
            pairs(&group.attributes),
        ]);
    }
    Ok(table)
}

async fn group_settings(broker: &Peer, group: &str) -> Result<Table, Error> {
    let header = GroupOnly { group: group.into() };
    let reply = broker.ask(BrokerCode::GetSubscriptionGroupConfig, &header.fields(), b"").await?;
    let mut table = Table::new(&["setting", "value"]);
    let settings = serde_json::to_value(GroupConfigBody::decode(&reply.body())?)?;
    for (name, value) in settings.as_object().into_iter().flatten() {
        table.row([name.clone().into(), value.clone()]);
    }
    Ok(table)
}

async fn offsets(broker: &Peer, group: &str, topic: Option<&str>) -> Result<Table, Error> {
    let header =
        GetConsumeStats { consumer_group: group.into(), topic: topic.map(Into::into), topic_list: None };
    let reply = broker.ask(BrokerCode::GetConsumeStats, &header.fields(), b"").await?;
    let mut table = Table::new(&["topic", "queue", "end", "committed", "behind", "last_consumed_ms"]);
    for (queue, at) in ConsumeStats::decode(&reply.body())?.offset_table {
        table.row([
            queue.topic.into(),
            queue.queue_id.into(),
            at.broker_offset.into(),
            at.consumer_offset.into(),
            (at.broker_offset - at.consumer_offset).into(),
            Some(at.last_timestamp).filter(|time| *time > 0).into(),
        ]);
    }
    Ok(table)
}

async fn reset(broker: &Peer, header: &ResetOffset<'_>) -> Result<Table, Error> {
    let reply = broker.ask(BrokerCode::InvokeBrokerToResetOffset, &header.fields(), b"").await?;
    let mut table = Table::new(&["topic", "queue", "offset"]);
    for (queue, offset) in progress::decode_offsets(&reply.body())? {
        table.row([queue.topic.into(), queue.queue_id.into(), offset.into()]);
    }
    Ok(table)
}

async fn consumers(broker: &Peer, group: &str) -> Result<Table, Error> {
    // `topic:` asks the other way round: who consumes it?
    if let Some(topic) = group.strip_prefix("topic:") {
        let header = TopicOnly { topic: topic.into() };
        let reply = broker.ask(BrokerCode::QueryTopicConsumeByWho, &header.fields(), b"").await?;
        let mut table = Table::new(&["group"]);
        for group in figures::decode_groups(&reply.body())? {
            table.row([group.into()]);
        }
        return Ok(table);
    }
    let header = ConsumerGroup { consumer_group: group.into() };
    let reply = broker.ask(BrokerCode::GetConsumerConnectionList, &header.fields(), b"").await?;
    let connected = ConsumerConnections::decode(&reply.body())?;
    let topics: Vec<_> =
        connected.subscription_table.values().map(|of| format!("{}: {}", of.topic, of.sub_string)).collect();
    let mut table = Table::new(&["client", "address", "language", "model", "subscriptions"]);
    for client in connected.connection_set {
        table.row([
            client.client_id.into(),
            client.client_addr.into(),
            client.language.into(),
            connected.message_model.clone().into(),
            topics.join("; ").into(),
        ]);
    }
    Ok(table)
}

/// RocketMQ's bits as a word.
fn permission(bits: i32) -> &'static str {
    match (bits & 4 != 0, bits & 2 != 0) {
        (true, true) => "read, write",
        (true, false) => "read",
        (false, true) => "write",
        (false, false) => "none",
    }
}

fn pairs(attributes: &BTreeMap<String, String>) -> Value {
    let pair = |(name, value): (&String, &String)| format!("{name}={value}");
    attributes.iter().map(pair).collect::<Vec<_>>().join(", ").into()
}
