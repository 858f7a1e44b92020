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
    /// The expression as the client wrote it.
    pub text: String,
    /// Its language, "TAG" where absent.
    pub kind: Option<String>,
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
    /// RocketMQ's word for push, pull or POP; for operators to see.
    pub consume_type: String,
    /// Where a new group begins, in RocketMQ's word; for operators to see.
    pub consume_from_where: String,
    /// What the group subscribes to; `None` where the client says that it is what it said before.
    pub subscriptions: Option<Vec<Subscription>>,
    /// A digest of what the client subscribes to, from clients with heartbeat v2; else 0.
    pub fingerprint: i32,
}

/// Who a client is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// Its own id, the same after a reconnect.
    pub id: String,
    /// Its language, a number of RocketMQ's `LanguageCode`.
    pub language: u8,
    /// Its version, an ordinal of RocketMQ's `MQVersion.Version`.
    pub version: i32,
}

/// A client of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// On this connection.
    pub connection: ConnectionId,
    /// Who it is.
    pub client: Client,
    /// When its last heartbeat came.
    pub seen: Millis,
}

/// A consumer group as operators see it.
#[derive(Debug, Clone)]
pub struct ConsumerGroupView {
    /// Each member reads everything.
    pub broadcasting: bool,
    /// See [`ConsumerHeartbeat::consume_type`].
    pub consume_type: String,
    /// See [`ConsumerHeartbeat::consume_from_where`].
    pub consume_from_where: String,
    /// What it subscribes to, by topic.
    pub subscriptions: Vec<Subscription>,
    /// Who is in it.
    pub members: Vec<Member>,
}

/// What happens to groups.
#[derive(Debug, Clone)]
pub enum Input {
    /// A client says that it lives (request 34).
    Heartbeat {
        /// on this connection
        connection: ConnectionId,
        /// the client
        client: Client,
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
    producer_clients: ProducerClients,
}

/// Which client id is on which connection, of clients that produce: the newest connection of each id.
#[derive(Debug, Default)]
struct ProducerClients {
    by_client: BTreeMap<String, ConnectionId>,
    by_connection: BTreeMap<ConnectionId, String>,
}

impl ProducerClients {
    fn insert(&mut self, connection: ConnectionId, client: &str) {
        if self.by_connection.get(&connection).is_some_and(|known| known == client)
            && self.by_client.get(client) == Some(&connection)
        {
            return;
        }
        self.remove(connection);
        self.by_connection.insert(connection, client.to_owned());
        self.by_client.insert(client.to_owned(), connection);
    }

    fn remove(&mut self, connection: ConnectionId) {
        if let Some(client) = self.by_connection.remove(&connection)
            && self.by_client.get(&client) == Some(&connection)
        {
            self.by_client.remove(&client);
        }
    }
}

#[derive(Debug, Default)]
struct ConsumerGroup {
    broadcasting: bool,
    consume_type: String,
    consume_from_where: String,
    /// Of the last heartbeat.
    fingerprint: i32,
    members: BTreeMap<ConnectionId, Member>,
    subscriptions: BTreeMap<TopicName, Subscription>,
}

impl Groups {
    /// Takes one input.
    pub fn step(&mut self, now: Millis, input: Input, effects: &mut Vec<Effect>) {
        match input {
            Input::Heartbeat { connection, client, consumers, producers } => {
                for consumer in consumers {
                    self.consumer_heartbeat(now, connection, &client, consumer, effects);
                }
                if !producers.is_empty() {
                    self.producer_clients.insert(connection, &client.id);
                }
                for group in producers {
                    let member = Member { connection, client: client.clone(), seen: now };
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
        Some(group.members.values().map(|member| member.client.id.clone()).collect())
    }

    /// The connections of a producer group's members.
    pub fn producers(&self, group: &str) -> impl Iterator<Item = ConnectionId> {
        self.producers.get(group).into_iter().flat_map(|members| members.keys().copied())
    }

    /// The connection of the producer with this client id (`ProducerManager.findChannel`, 5.5).
    pub fn producer_connection(&self, client_id: &str) -> Option<ConnectionId> {
        self.producer_clients.by_client.get(client_id).copied()
    }

    /// What the group wants of the topic; the outer `None` where the group has no consumers.
    pub fn subscription(&self, group: &str, topic: &str) -> Option<Option<&Subscription>> {
        Some(self.consumers.get(group)?.subscriptions.get(topic))
    }

    /// Whether the group's members read everything each; `false` where it has none.
    pub fn is_broadcasting(&self, group: &str) -> bool {
        self.consumers.get(group).is_some_and(|group| group.broadcasting)
    }

    /// Whether a client with this digest must tell what it subscribes to: the group's last heartbeat had another one
    /// (`ClientManageProcessor.heartBeatV2`, 5.5), or what the client leaves out is not known here. RocketMQ does not look at the latter,
    /// so that its groups may have no subscriptions after a broker was restarted.
    pub fn is_changed(&self, group: &str, fingerprint: i32, without_subscriptions: bool) -> bool {
        match self.consumers.get(group) {
            Some(known) => {
                known.fingerprint != fingerprint || (without_subscriptions && known.subscriptions.is_empty())
            }
            None => without_subscriptions,
        }
    }

    /// How many topics the group subscribes to; 0 where it has no consumers.
    pub fn subscription_count(&self, group: &str) -> usize {
        self.consumers.get(group).map_or(0, |group| group.subscriptions.len())
    }

    /// A consumer group, `None` where it has no consumers.
    pub fn consumer_group(&self, group: &str) -> Option<ConsumerGroupView> {
        let group = self.consumers.get(group)?;
        Some(ConsumerGroupView {
            broadcasting: group.broadcasting,
            consume_type: group.consume_type.clone(),
            consume_from_where: group.consume_from_where.clone(),
            subscriptions: group.subscriptions.values().cloned().collect(),
            members: group.members.values().cloned().collect(),
        })
    }

    /// The consumer with that id in the group.
    pub fn consumer(&self, group: &str, client_id: &str) -> Option<&Member> {
        self.consumers.get(group)?.members.values().find(|member| member.client.id == client_id)
    }

    /// The consumer groups that subscribe to a topic.
    pub fn consumers_of(&self, topic: &str) -> Vec<GroupName> {
        let subscribed = |(_, group): &(&GroupName, &ConsumerGroup)| group.subscriptions.contains_key(topic);
        self.consumers.iter().filter(subscribed).map(|(name, _)| name.clone()).collect()
    }

    /// The members of a producer group, `None` where it has none.
    pub fn producer_group(&self, group: &str) -> Option<Vec<Member>> {
        Some(self.producers.get(group)?.values().cloned().collect())
    }

    /// All producer groups with their members.
    pub fn all_producers(&self) -> Vec<(GroupName, Vec<Member>)> {
        let members = |(name, members): (&GroupName, &BTreeMap<_, Member>)| {
            (name.clone(), members.values().cloned().collect())
        };
        self.producers.iter().map(members).collect()
    }

    fn consumer_heartbeat(
        &mut self,
        now: Millis,
        connection: ConnectionId,
        client: &Client,
        heartbeat: ConsumerHeartbeat,
        effects: &mut Vec<Effect>,
    ) {
        let group = self.consumers.entry(heartbeat.group.clone()).or_default();
        group.broadcasting = heartbeat.broadcasting;
        group.consume_type = heartbeat.consume_type;
        group.consume_from_where = heartbeat.consume_from_where;
        let member = Member { connection, client: client.clone(), seen: now };
        let joined = group.members.insert(connection, member).is_none();
        group.fingerprint = heartbeat.fingerprint;
        let resubscribed =
            heartbeat.subscriptions.is_some_and(|subscriptions| group.subscribe(subscriptions));
        if joined || resubscribed {
            group.notify(heartbeat.group, effects);
        }
    }

    fn drop_producers(&mut self, gone: impl Fn(&GroupName, ConnectionId, &Member) -> bool) {
        let mut dropped = Vec::new();
        self.producers.retain(|group, members| {
            members.retain(|connection, member| {
                let gone = gone(group, *connection, member);
                if gone {
                    dropped.push(*connection);
                }
                !gone
            });
            !members.is_empty()
        });
        for connection in dropped {
            // It may be in other groups too.
            if !self.producers.values().any(|members| members.contains_key(&connection)) {
                self.producer_clients.remove(connection);
            }
        }
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
                text: "*".into(),
                kind: None,
                expression: Err("not compiled here".into()),
            })
            .collect();
        let consumer = ConsumerHeartbeat {
            group: group("g"),
            broadcasting,
            consume_type: "CONSUME_PASSIVELY".into(),
            consume_from_where: "CONSUME_FROM_LAST_OFFSET".into(),
            subscriptions: Some(subscriptions),
            fingerprint: 0,
        };
        Input::Heartbeat {
            connection: ConnectionId(connection),
            client: Client { id: format!("client-{connection}"), language: 0, version: 1 },
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
        assert_eq!((groups.subscription_count("g"), groups.subscription_count("h")), (2, 0));
        assert_eq!(groups.consumers_of("u"), [group("g")]);
        assert!(groups.consumers_of("v").is_empty());
        assert_eq!(groups.consumer("g", "client-2").unwrap().connection, ConnectionId(2));
        assert!(groups.consumer("g", "client-3").is_none() && groups.consumer("h", "client-2").is_none());
        assert_eq!(groups.consumer_group("g").unwrap().members.len(), 2);
        assert_eq!(groups.producer_group("p").unwrap()[1].client.id, "client-2");
        assert_eq!(groups.all_producers().len(), 1);
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
    fn producers_are_found_by_their_client_id() {
        let mut groups = Groups::default();
        step(&mut groups, 0, heartbeat(1, &[], false));
        assert_eq!(groups.producer_connection("client-1"), Some(ConnectionId(1)));
        let reconnected = match heartbeat(1, &[], false) {
            Input::Heartbeat { client, consumers, producers, .. } => {
                Input::Heartbeat { connection: ConnectionId(2), client, consumers, producers }
            }
            other => other,
        };
        step(&mut groups, 1, reconnected);
        step(&mut groups, 2, Input::Closed(ConnectionId(1)));
        assert_eq!(groups.producer_connection("client-1"), Some(ConnectionId(2)), "the old one is forgotten");
        step(&mut groups, 3, Input::Closed(ConnectionId(2)));
        assert_eq!(groups.producer_connection("client-1"), None);
        assert!(groups.producer_clients.by_connection.is_empty());
    }

    #[test]
    fn broadcasting_members_are_left_alone() {
        let mut groups = Groups::default();
        assert!(step(&mut groups, 0, heartbeat(1, &[("t", 1)], true)).is_empty());
        assert!(step(&mut groups, 0, heartbeat(2, &[("t", 1)], true)).is_empty());
    }

    #[test]
    fn what_is_left_out_stays() {
        let mut groups = Groups::default();
        let mut effects = Vec::new();
        let mut beat = |groups: &mut Groups, fingerprint: i32, without: bool| {
            let Input::Heartbeat { connection, client, mut consumers, producers } =
                heartbeat(1, &[("t", 1)], false)
            else {
                unreachable!("it is one")
            };
            consumers[0].fingerprint = fingerprint;
            if without {
                consumers[0].subscriptions = None;
            }
            groups.step(0, Input::Heartbeat { connection, client, consumers, producers }, &mut effects);
        };
        assert!(groups.is_changed("g", 7, true) && !groups.is_changed("g", 7, false));
        beat(&mut groups, 7, true);
        assert!(groups.is_changed("g", 7, true), "nothing is known yet");
        beat(&mut groups, 7, false);
        assert!(!groups.is_changed("g", 7, true) && groups.is_changed("g", 8, false));
        beat(&mut groups, 7, true);
        assert_eq!(groups.subscription_count("g"), 1);
    }
}
