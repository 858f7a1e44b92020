//! Consumer and producer groups: who is connected, what they subscribe to, and who must be told of changes.
//!
//! A consumer is known by its connection (RocketMQ `ConsumerManager`, `ConsumerGroupInfo`, 5.5): it joins with its
//! first heartbeat, leaves when it says so, its connection closes, or no heartbeat came for
//! [`CLIENT_EXPIRY_MS`]. Each change of a clustering group's members or topics is told to all its members, so that
//! they share the queues anew.

use crate::ConnectionId;
use halley_filter::Expression;
use halley_model::{GroupName, Millis, TopicName};
use std::{collections::BTreeMap, sync::Arc};

/// A client that sends no heartbeat for this long is gone (`ClientChannelInfo` expiry, 5.5).
pub const CLIENT_EXPIRY_MS: Millis = 120_000;

/// What a group wants of one topic.
#[derive(Debug, Clone)]
pub struct Subscription {
    /// The topic.
    pub topic: TopicName,
    /// The client's version of the subscription, a time stamp; a higher one replaces a lower.
    pub version: i64,
    /// The compiled expression; `Err` holds why it could not be compiled.
    pub expression: Result<Arc<Expression>, String>,
}

/// A consumer's part of a heartbeat.
#[derive(Debug, Clone)]
pub struct ConsumerHeartbeat {
    /// The group.
    pub group: GroupName,
    /// Each member reads everything, so that nobody need be told of changes.
    pub broadcasting: bool,
    /// What the group subscribes to.
    pub subscriptions: Vec<Subscription>,
}

/// What happens to groups.
#[derive(Debug, Clone)]
pub enum Input {
    /// A client says that it lives (request 34).
    Heartbeat {
        /// on this connection
        connection: ConnectionId,
        /// the client's own id, the same after a reconnect
        client: String,
        /// its consumers
        consumers: Vec<ConsumerHeartbeat>,
        /// its producer groups
        producers: Vec<GroupName>,
    },
    /// A client takes its leave from groups (request 35).
    Unregister {
        /// on this connection
        connection: ConnectionId,
        /// from this consumer group
        consumer: Option<GroupName>,
        /// from this producer group
        producer: Option<GroupName>,
    },
    /// A connection closed.
    Closed(ConnectionId),
    /// Time has passed.
    Tick,
}

/// What the shell must do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Tell these connections that the group's members or topics changed (request 40).
    NotifyChanged {
        /// the group
        group: GroupName,
        /// all its members
        members: Vec<ConnectionId>,
    },
}

/// The groups of one broker.
#[derive(Debug, Default)]
pub struct Groups {
    consumers: BTreeMap<GroupName, ConsumerGroup>,
    producers: BTreeMap<GroupName, BTreeMap<ConnectionId, Member>>,
}

#[derive(Debug, Default)]
struct ConsumerGroup {
    broadcasting: bool,
    members: BTreeMap<ConnectionId, Member>,
    subscriptions: BTreeMap<TopicName, Subscription>,
}

#[derive(Debug)]
struct Member {
    client: String,
    seen: Millis,
}

impl Groups {
    /// Takes one input.
    pub fn step(&mut self, now: Millis, input: Input, effects: &mut Vec<Effect>) {
        match input {
            Input::Heartbeat { connection, client, consumers, producers } => {
                for consumer in consumers {
                    self.consumer_heartbeat(now, connection, &client, consumer, effects);
                }
                for group in producers {
                    let member = Member { client: client.clone(), seen: now };
                    self.producers.entry(group).or_default().insert(connection, member);
                }
            }
            Input::Unregister { connection, consumer, producer } => {
                if let Some(group) = producer {
                    self.drop_producers(|name, of, _| *name == group && of == connection);
                }
                if let Some(group) = consumer {
                    self.drop_consumers(|name, of, _| *name == group && of == connection, effects);
                }
            }
            Input::Closed(connection) => {
                self.drop_producers(|_, of, _| of == connection);
                self.drop_consumers(|_, of, _| of == connection, effects);
            }
            Input::Tick => {
                self.drop_producers(|_, _, member| now - member.seen > CLIENT_EXPIRY_MS);
                self.drop_consumers(|_, _, member| now - member.seen > CLIENT_EXPIRY_MS, effects);
            }
        }
    }

    /// When [`Input::Tick`] has work to do, if nothing else happens.
    pub fn deadline(&self) -> Option<Millis> {
        let consumers = self.consumers.values().flat_map(|group| group.members.values());
        let producers = self.producers.values().flat_map(BTreeMap::values);
        consumers.chain(producers).map(|member| member.seen + CLIENT_EXPIRY_MS + 1).min()
    }

    /// The client ids of a group's consumers, `None` where it has none.
    pub fn consumer_ids(&self, group: &str) -> Option<Vec<String>> {
        let group = self.consumers.get(group)?;
        Some(group.members.values().map(|member| member.client.clone()).collect())
    }

    /// The connections of a producer group's members.
    pub fn producers(&self, group: &str) -> impl Iterator<Item = ConnectionId> {
        self.producers.get(group).into_iter().flat_map(|members| members.keys().copied())
    }

    /// What the group wants of the topic; the outer `None` where the group has no consumers.
    pub fn subscription(&self, group: &str, topic: &str) -> Option<Option<&Subscription>> {
        Some(self.consumers.get(group)?.subscriptions.get(topic))
    }

    fn consumer_heartbeat(
        &mut self,
        now: Millis,
        connection: ConnectionId,
        client: &str,
        heartbeat: ConsumerHeartbeat,
        effects: &mut Vec<Effect>,
    ) {
        let group = self.consumers.entry(heartbeat.group.clone()).or_default();
        group.broadcasting = heartbeat.broadcasting;
        let member = Member { client: client.to_owned(), seen: now };
        let joined = group.members.insert(connection, member).is_none();
        let resubscribed = group.subscribe(heartbeat.subscriptions);
        if joined || resubscribed {
            group.notify(heartbeat.group, effects);
        }
    }

    fn drop_producers(&mut self, gone: impl Fn(&GroupName, ConnectionId, &Member) -> bool) {
        self.producers.retain(|group, members| {
            members.retain(|connection, member| !gone(group, *connection, member));
            !members.is_empty()
        });
    }

    fn drop_consumers(
        &mut self,
        gone: impl Fn(&GroupName, ConnectionId, &Member) -> bool,
        effects: &mut Vec<Effect>,
    ) {
        self.consumers.retain(|name, group| {
            let before = group.members.len();
            group.members.retain(|connection, member| !gone(name, *connection, member));
            if group.members.len() < before && !group.members.is_empty() {
                group.notify(name.clone(), effects);
            }
            !group.members.is_empty()
        });
    }
}

impl ConsumerGroup {
    /// Takes over a member's subscriptions; whether topics came or went. The last heartbeat decides for the whole
    /// group, as in RocketMQ (`ConsumerGroupInfo.updateSubscription`): members are expected to agree.
    fn subscribe(&mut self, subscriptions: Vec<Subscription>) -> bool {
        let mut changed = false;
        let wanted: Vec<TopicName> = subscriptions.iter().map(|s| s.topic.clone()).collect();
        for subscription in subscriptions {
            match self.subscriptions.get(&subscription.topic) {
                Some(old) if subscription.version <= old.version => {}
                old => {
                    changed |= old.is_none();
                    self.subscriptions.insert(subscription.topic.clone(), subscription);
                }
            }
        }
        let before = self.subscriptions.len();
        self.subscriptions.retain(|topic, _| wanted.contains(topic));
        changed | (self.subscriptions.len() < before)
    }

    fn notify(&self, group: GroupName, effects: &mut Vec<Effect>) {
        if !self.broadcasting {
            effects.push(Effect::NotifyChanged { group, members: self.members.keys().copied().collect() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(name: &str) -> GroupName {
        GroupName::new(name).unwrap()
    }

    fn heartbeat(connection: u64, topics: &[(&str, i64)], broadcasting: bool) -> Input {
        let subscriptions = topics
            .iter()
            .map(|(topic, version)| Subscription {
                topic: TopicName::new(topic).unwrap(),
                version: *version,
                expression: Err("not compiled here".into()),
            })
            .collect();
        let consumer = ConsumerHeartbeat { group: group("g"), broadcasting, subscriptions };
        Input::Heartbeat {
            connection: ConnectionId(connection),
            client: format!("client-{connection}"),
            consumers: vec![consumer],
            producers: vec![group("p")],
        }
    }

    /// Connected consumers and producers.
    fn counts(groups: &Groups) -> (usize, usize) {
        (
            groups.consumers.values().map(|group| group.members.len()).sum(),
            groups.producers.values().map(BTreeMap::len).sum(),
        )
    }

    fn step(groups: &mut Groups, now: Millis, input: Input) -> Vec<Vec<u64>> {
        let mut effects = Vec::new();
        groups.step(now, input, &mut effects);
        effects
            .into_iter()
            .map(|Effect::NotifyChanged { members, .. }| members.into_iter().map(|id| id.0).collect())
            .collect()
    }

    #[test]
    fn members_are_told_of_every_change() {
        let mut groups = Groups::default();
        assert_eq!(step(&mut groups, 0, heartbeat(1, &[("t", 1)], false)), [vec![1]]);
        assert!(step(&mut groups, 1, heartbeat(1, &[("t", 1)], false)).is_empty());
        assert_eq!(step(&mut groups, 2, heartbeat(2, &[("t", 1)], false)), [vec![1, 2]]);
        assert_eq!(step(&mut groups, 3, heartbeat(2, &[("t", 2), ("u", 2)], false)), [vec![1, 2]]);
        assert_eq!(groups.consumer_ids("g").unwrap(), ["client-1", "client-2"]);
        assert_eq!(groups.subscription("g", "t").unwrap().unwrap().version, 2);
        assert_eq!(step(&mut groups, 4, Input::Closed(ConnectionId(1))), [vec![2]]);
        let leave = Input::Unregister {
            connection: ConnectionId(2),
            consumer: Some(group("g")),
            producer: Some(group("p")),
        };
        assert!(step(&mut groups, 5, leave).is_empty());
        assert!(groups.consumer_ids("g").is_none());
        assert_eq!(counts(&groups), (0, 0));
        assert_eq!(groups.deadline(), None);
    }

    #[test]
    fn silent_members_expire() {
        let mut groups = Groups::default();
        step(&mut groups, 0, heartbeat(1, &[("t", 1)], false));
        step(&mut groups, 60_000, heartbeat(2, &[("t", 1)], false));
        assert_eq!(groups.deadline(), Some(CLIENT_EXPIRY_MS + 1));
        assert_eq!(step(&mut groups, CLIENT_EXPIRY_MS + 1, Input::Tick), [vec![2]]);
        assert_eq!(counts(&groups), (1, 1));
    }

    #[test]
    fn broadcasting_members_are_left_alone() {
        let mut groups = Groups::default();
        assert!(step(&mut groups, 0, heartbeat(1, &[("t", 1)], true)).is_empty());
        assert!(step(&mut groups, 0, heartbeat(2, &[("t", 1)], true)).is_empty());
    }
}
