//! Lite topics: who subscribes to which, and which of them have messages for whom (`LiteSubscriptionRegistryImpl`,
//! `LiteEventDispatcher`, 5.5).
//!
//! A lite topic is a light queue (`%LMQ%$parent$lite`). Clients say which of a parent topic's they want, perhaps thousands,
//! and take messages of all of them with one request. So that such a request looks into no queue in vain, a message that
//! arrives is an *event* for one client of each group that wants its queue: the queue's name in that client's events. A
//! client that does not come for its events loses them to others.
//!
//! Nothing here outlives the process: clients repeat their subscriptions.

mod events;
mod sharding;

pub use events::EVENTS_MAX;
pub use sharding::shard_of;

use events::{Events, Offered};
use halley_model::{Millis, QueueOffset};
use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

/// What the names of lite topics begin with (`LiteUtil.LITE_TOPIC_PREFIX`).
pub const PREFIX: &str = "%LMQ%$";

/// Between the parts of such a name.
const SEPARATOR: char = '$';

/// Most clients that are known, with subscriptions or without.
const CLIENTS_MAX: usize = 100_000;

/// A client that left its events is passed over for so long (`BLACKLIST_EXPIRE_SECONDS`).
const AVOIDED_MS: Millis = 10_000;

/// A client that wants all lite topics of a parent is shown what is there after this (`onRegister`).
const WILDCARD_FIRST_MS: Millis = 5_000;

/// The light queue of a lite topic, `None` where a name is empty (`LiteUtil.toLmqName`).
pub fn queue_of(parent: &str, lite: &str) -> Option<String> {
    (!parent.is_empty() && !lite.is_empty()).then(|| format!("{PREFIX}{parent}{SEPARATOR}{lite}"))
}

/// Parent topic and lite topic of a light queue, `None` for other queues (`LiteUtil.getParentTopic`, `getLiteTopic`).
pub fn parts_of(queue: &str) -> Option<(&str, &str)> {
    let (parent, lite) = queue.strip_prefix(PREFIX)?.split_once(SEPARATOR)?;
    (!parent.is_empty() && !lite.is_empty() && !lite.contains(SEPARATOR)).then_some((parent, lite))
}

/// How a group consumes lite topics: its attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rules {
    /// Only the last client to subscribe has a lite topic (`lite.sub.model=Exclusive`).
    pub exclusive: bool,
    /// It then begins at the first message (`lite.sub.reset.offset.exclusive`).
    pub reset_exclusive: bool,
    /// Who subscribes after somebody left begins at the first message (`lite.sub.reset.offset.unsubscribe`).
    pub reset_unsubscribed: bool,
    /// Its clients want all lite topics of the parent (`lite.sub.wildcard`).
    pub wildcard: bool,
    /// Most events of one client.
    pub events_max: usize,
}

/// The broker's settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Most pairs of clients and lite topics (`maxLiteSubscriptionCount`).
    pub subscriptions_max: usize,
    /// A client that did not repeat its subscriptions for so long is gone (`liteSubscriptionCheckTimeoutMills`).
    pub client_timeout: Millis,
    /// A client whose events were full is shown what is there after this (`liteEventFullDispatchDelayTime`).
    pub full_after: Millis,
    /// The same of a group that wants all lite topics (`liteEventFullDispatchDelayTimeForWildcardGroup`).
    pub wildcard_full_after: Millis,
}

/// Where a group goes on in a lite topic that it subscribes to (`OffsetOption`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At the first message.
    First,
    /// Behind the last.
    Last,
    /// Here.
    Offset(u64),
    /// So many messages before where it is, if it is anywhere.
    Back(u64),
}

/// Who speaks.
#[derive(Debug, Clone, Copy)]
pub struct Client<'a> {
    /// Its id.
    pub id: &'a str,
    /// Its group.
    pub group: &'a str,
    /// The parent topic.
    pub topic: &'a str,
    /// How the group consumes.
    pub rules: Rules,
}

/// What the broker knows of queues and groups.
pub struct World<'a> {
    /// The end of a light queue, 0 for one without messages.
    pub end: &'a dyn Fn(&str) -> QueueOffset,
    /// Where a group is in a light queue.
    pub committed: &'a dyn Fn(&str, &str) -> Option<QueueOffset>,
    /// All light queues of a parent topic.
    pub queues: &'a dyn Fn(&str) -> Vec<Box<str>>,
}

/// When something happens, and in which world.
pub struct Context<'a> {
    /// The time.
    pub now: Millis,
    /// The broker's settings.
    pub policy: Policy,
    /// Queues and groups.
    pub world: World<'a>,
}

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// The client has events: answer its waiting request.
    Wake {
        /// the client
        client: Box<str>,
        /// its group
        group: Box<str>,
    },
    /// Tell the client that it has the lite topic no more.
    Unsubscribed {
        /// the client
        client: Box<str>,
        /// its group
        group: Box<str>,
        /// the light queue
        queue: Box<str>,
    },
    /// The group goes on elsewhere.
    Reset {
        /// the group
        group: Box<str>,
        /// the light queue
        queue: Box<str>,
        /// where
        start: Start,
    },
}

/// A subscription was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There are too many; the text is RocketMQ's.
    #[error("lite subscription quota exceeded {0}")]
    Quota(usize),
    /// The group wants all lite topics as it is; the text is RocketMQ's.
    #[error("subscribe lite operation is not supported for this group")]
    Wildcard,
}

/// What a client wants.
#[derive(Debug, Clone)]
struct Subscription {
    group: Box<str>,
    queues: BTreeSet<Box<str>>,
    rules: Rules,
    updated: Millis,
}

/// Groups and clients.
type Subscribers = BTreeSet<(Box<str>, Box<str>)>;

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Lite {
    clients: BTreeMap<Box<str>, Subscription>,
    /// By light queue, or the parent topic of those who want all.
    subscribers: BTreeMap<Box<str>, Subscribers>,
    events: BTreeMap<Box<str>, Events>,
    /// Whom to show everything that is there, and when.
    scheduled: BTreeMap<Target, Millis>,
    /// Clients that left their events, and until when to pass them over.
    avoided: BTreeMap<Box<str>, Millis>,
    /// Pairs of clients and queues.
    active: usize,
    /// Whose turn it is among clients of a group.
    turn: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    Client(Box<str>),
    /// Group and parent topic.
    Group(Box<str>, Box<str>),
}

impl Lite {
    /// The client wants these queues too.
    pub fn add(
        &mut self,
        context: &Context<'_>,
        client: Client<'_>,
        queues: &[String],
        start: Option<Start>,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refused> {
        let Context { now, policy, .. } = *context;
        if self.active >= policy.subscriptions_max || self.clients.len() >= CLIENTS_MAX {
            return Err(Refused::Quota(policy.subscriptions_max));
        }
        if client.rules.wildcard {
            return Err(Refused::Wildcard);
        }
        let group = self.subscription(now, client).group.clone();
        for queue in queues {
            self.subscription(now, client).queues.insert(queue.as_str().into());
            if client.rules.exclusive {
                self.exclude_others(client, queue, effects);
            }
            if let Some(start) = start {
                effects.push(Effect::Reset { group: group.clone(), queue: queue.as_str().into(), start });
            }
            self.register(context, client, &group, queue, effects);
        }
        Ok(())
    }

    /// The client does not want these queues any more.
    pub fn remove(&mut self, now: Millis, client: Client<'_>, queues: &[String], effects: &mut Vec<Effect>) {
        let Some(subscription) = self.clients.get_mut(client.id) else { return };
        subscription.updated = now;
        let group = subscription.group.clone();
        for queue in queues {
            subscription.queues.remove(queue.as_str());
        }
        for queue in queues {
            if self.unregister(&group, client.id, queue) && client.rules.reset_unsubscribed {
                effects.push(Effect::Reset {
                    group: group.clone(),
                    queue: queue.as_str().into(),
                    start: Start::First,
                });
            }
        }
    }

    /// The client wants these queues and no others.
    pub fn replace(
        &mut self,
        context: &Context<'_>,
        client: Client<'_>,
        queues: &[String],
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refused> {
        let Context { now, policy, .. } = *context;
        if self.clients.len() >= CLIENTS_MAX && !self.clients.contains_key(client.id) {
            return Err(Refused::Quota(policy.subscriptions_max));
        }
        let all = [client.topic.to_owned()];
        let queues = if client.rules.wildcard { &all[..] } else { queues };
        let subscription = self.subscription(now, client);
        let group = subscription.group.clone();
        let wanted: BTreeSet<Box<str>> = queues.iter().map(|queue| queue.as_str().into()).collect();
        let gone: Vec<_> = subscription.queues.difference(&wanted).cloned().collect();
        subscription.queues = wanted.clone();
        for queue in gone {
            self.unregister(&group, client.id, &queue);
        }
        for queue in &wanted {
            self.register(context, client, &group, queue, effects);
        }
        Ok(())
    }

    /// The client is gone; its events go to others.
    pub fn leave(&mut self, now: Millis, client: &str, policy: &Policy, effects: &mut Vec<Effect>) {
        let Some(subscription) = self.clients.remove(client) else { return };
        for queue in &subscription.queues {
            self.unregister(&subscription.group, client, queue);
        }
        if let Some(events) = self.events.remove(client) {
            self.hand_on(now, (client, &subscription.group), events, policy, effects);
        }
    }

    /// A message arrived in a light queue: one client of each group that wants it has an event.
    pub fn arrived(&mut self, now: Millis, queue: &str, policy: &Policy, effects: &mut Vec<Effect>) {
        let wildcards = parts_of(queue).and_then(|(parent, _)| self.subscribers.get(parent));
        let all = self.subscribers.get(queue).into_iter().chain(wildcards).flatten();
        let groups: BTreeSet<Box<str>> = all.map(|(group, _)| group.clone()).collect();
        for group in groups {
            self.dispatch(now, &group, queue, None, policy, effects);
        }
    }

    /// A light queue has messages for a group. Not for `except`, if there is anybody else.
    pub fn dispatch(
        &mut self,
        now: Millis,
        group: &str,
        queue: &str,
        except: Option<&str>,
        policy: &Policy,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let parent = parts_of(queue).map_or("", |(parent, _)| parent);
        let of_group = |name: &str| -> Vec<Box<str>> {
            let all = self.subscribers.get(name).into_iter().flatten();
            all.filter(|(of, _)| **of == *group).map(|(_, client)| client.clone()).collect()
        };
        let mut clients = of_group(queue);
        if clients.is_empty() {
            clients = of_group(parent);
        }
        if clients.is_empty() {
            return true;
        }
        self.turn = self.turn.wrapping_add(1);
        let begin = self.turn % clients.len();
        clients.rotate_left(begin);
        let is_last_choice = |client: &str| {
            except == Some(client) || self.avoided.get(client).is_some_and(|until| now < *until)
        };
        let (last, mut order): (Vec<_>, Vec<_>) =
            clients.into_iter().partition(|client| is_last_choice(client));
        order.extend(last);
        for client in order {
            if self.offer(now, &client, queue, policy) {
                effects.push(Effect::Wake { client, group: group.into() });
                return true;
            }
        }
        if self.is_wildcard(group, parent) {
            let target = Target::Group(group.into(), parent.into());
            self.scheduled.entry(target).or_insert(now + policy.wildcard_full_after);
        }
        false
    }

    /// The next queue with messages for the client.
    pub fn next_event(&mut self, now: Millis, client: &str) -> Option<Box<str>> {
        self.events.get_mut(client)?.poll(now)
    }

    /// The event was not used.
    pub fn put_back(&mut self, client: &str, queue: Box<str>) {
        if let Some(events) = self.events.get_mut(client) {
            events.put_back(queue);
        }
    }

    /// Whether the client has events.
    pub fn has_events(&self, client: &str) -> bool {
        self.events.get(client).is_some_and(|events| !events.is_empty())
    }

    /// Whether anybody subscribes to anything.
    pub fn is_unused(&self) -> bool {
        self.subscribers.is_empty()
    }

    /// Does what is to be done at its time: takes events from clients that do not come for them, shows clients what is there
    /// whose events were full, and forgets those that are gone.
    pub fn tick(&mut self, context: &Context<'_>, effects: &mut Vec<Effect>) {
        let Context { now, ref policy, .. } = *context;
        self.avoided.retain(|_, until| now < *until);
        let idle: Vec<_> =
            self.events.iter().filter(|(_, events)| events.is_left(now)).map(|(id, _)| id.clone()).collect();
        for client in idle {
            let group = self.clients.get(&client).map(|subscription| subscription.group.clone());
            if let (Some(events), Some(group)) = (self.events.remove(&client), group) {
                self.avoided.insert(client.clone(), now + AVOIDED_MS);
                self.hand_on(now, (&client, &group), events, policy, effects);
            }
        }
        let due: Vec<_> =
            self.scheduled.iter().filter(|(_, at)| **at <= now).map(|(target, _)| target.clone()).collect();
        for target in due {
            self.scheduled.remove(&target);
            match target {
                Target::Client(client) => self.show_client(context, &client, effects),
                Target::Group(group, parent) => self.show_all(context, &group, &parent, effects),
            }
        }
        let gone: Vec<_> = self
            .clients
            .iter()
            .filter(|(_, subscription)| now - subscription.updated > policy.client_timeout)
            .map(|(id, _)| id.clone())
            .collect();
        for client in gone {
            self.leave(now, &client, policy, effects);
        }
    }

    /// Shows a client the queues that have messages for it (`doFullDispatchForClient`).
    pub fn show_client(&mut self, context: &Context<'_>, client: &str, effects: &mut Vec<Effect>) {
        let Context { now, ref policy, ref world } = *context;
        let Some(subscription) = self.clients.get(client).cloned() else { return };
        if subscription.queues.is_empty() {
            return;
        }
        let events = self.events_of(now, client, subscription.rules);
        if events.is_left(now) || !events.is_low() {
            self.scheduled.insert(Target::Client(client.into()), now + policy.full_after);
            return;
        }
        for queue in &subscription.queues {
            let end = (world.end)(queue);
            let behind = end > 0
                && (world.committed)(&subscription.group, queue).is_none_or(|committed| committed < end);
            if behind && !self.offer(now, client, queue, policy) {
                break;
            }
        }
        effects.push(Effect::Wake { client: client.into(), group: subscription.group });
    }

    /// Shows all clients of a group what there is for them (`doFullDispatchByGroup`).
    pub fn show_group(
        &mut self,
        context: &Context<'_>,
        group: &str,
        parent: &str,
        effects: &mut Vec<Effect>,
    ) {
        if self.is_wildcard(group, parent) {
            return self.show_all(context, group, parent, effects);
        }
        let clients: Vec<_> = self
            .clients
            .iter()
            .filter(|(_, subscription)| *subscription.group == *group)
            .map(|(id, _)| id.clone())
            .collect();
        for client in clients {
            self.show_client(context, &client, effects);
        }
    }

    /// Shows a group that wants all lite topics those with messages for it (`doFullDispatchForWildcardGroup`).
    fn show_all(&mut self, context: &Context<'_>, group: &str, parent: &str, effects: &mut Vec<Effect>) {
        let Context { now, policy, world } = context;
        for queue in (world.queues)(parent) {
            let end = (world.end)(&queue);
            let behind = end > 0 && (world.committed)(group, &queue).is_none_or(|committed| committed < end);
            if behind && !self.dispatch(*now, group, &queue, None, policy, effects) {
                return;
            }
        }
    }

    /// The light queue is no more.
    pub fn forget_queue(&mut self, queue: &str) {
        for (_, client) in self.subscribers.remove(queue).into_iter().flatten() {
            self.active -= 1;
            if let Some(subscription) = self.clients.get_mut(&client) {
                subscription.queues.remove(queue);
            }
        }
    }

    /// Pairs of clients and lite topics.
    pub fn active(&self) -> usize {
        self.active
    }

    /// How many clients have had events.
    pub fn clients_with_events(&self) -> usize {
        self.events.len()
    }

    /// The queues that a client wants, `None` for an unknown client.
    pub fn queues_of_client(&self, client: &str) -> Option<impl ExactSizeIterator<Item = &str>> {
        self.clients.get(client).map(|subscription| subscription.queues.iter().map(|queue| &**queue))
    }

    /// When a client last came for events.
    pub fn last_access(&self, client: &str) -> Option<Millis> {
        self.events.get(client).map(Events::accessed)
    }

    /// Groups and clients that want a light queue; groups that want all have the client `*`.
    pub fn subscribers_of(&self, queue: &str) -> BTreeSet<(String, String)> {
        let own = self.subscribers.get(queue).into_iter().flatten();
        let own = own.map(|(group, client)| (group.to_string(), client.to_string()));
        let parent = parts_of(queue).map_or("", |(parent, _)| parent);
        let wildcards = self.subscribers.get(parent).into_iter().flatten();
        own.chain(wildcards.map(|(group, _)| (group.to_string(), "*".to_owned()))).collect()
    }

    fn subscription(&mut self, now: Millis, client: Client<'_>) -> &mut Subscription {
        let subscription = match self.clients.entry(client.id.into()) {
            Entry::Occupied(known) => known.into_mut(),
            // What a client said first of its group holds until it leaves.
            Entry::Vacant(new) => new.insert(Subscription {
                group: client.group.into(),
                queues: BTreeSet::new(),
                rules: client.rules,
                updated: now,
            }),
        };
        subscription.rules = client.rules;
        subscription.updated = now;
        subscription
    }

    fn register(
        &mut self,
        context: &Context<'_>,
        client: Client<'_>,
        group: &str,
        queue: &str,
        effects: &mut Vec<Effect>,
    ) {
        let Context { now, policy, world } = context;
        if !self.subscribers.entry(queue.into()).or_default().insert((group.into(), client.id.into())) {
            return;
        }
        self.active += 1;
        if client.rules.wildcard {
            let target = Target::Group(group.into(), queue.into());
            self.scheduled.entry(target).or_insert(now + WILDCARD_FIRST_MS);
        } else if (world.end)(queue) > 0 {
            self.dispatch(*now, group, queue, None, policy, effects);
        }
    }

    /// Whether the client had it.
    fn unregister(&mut self, group: &str, client: &str, queue: &str) -> bool {
        let Some(subscribers) = self.subscribers.get_mut(queue) else { return false };
        let had = subscribers.remove(&(group.into(), client.into()));
        if subscribers.is_empty() {
            self.subscribers.remove(queue);
        }
        self.active -= usize::from(had);
        had
    }

    /// Takes the queue from everybody of the group, the client itself not excepted (`excludeClientByLmqName`).
    fn exclude_others(&mut self, client: Client<'_>, queue: &str, effects: &mut Vec<Effect>) {
        let subscribers = self.subscribers.get(queue).into_iter().flatten();
        let of_group: Vec<_> = subscribers
            .filter(|(group, _)| **group == *client.group)
            .map(|(_, other)| other.clone())
            .collect();
        for other in of_group {
            if other.as_ref() != client.id
                && let Some(subscription) = self.clients.get_mut(&other)
            {
                subscription.queues.remove(queue);
                if subscription.queues.is_empty() {
                    self.clients.remove(&other);
                }
            }
            self.unregister(client.group, &other, queue);
            let (group, queue): (Box<str>, Box<str>) = (client.group.into(), queue.into());
            if other.as_ref() != client.id {
                effects.push(Effect::Unsubscribed {
                    client: other,
                    group: group.clone(),
                    queue: queue.clone(),
                });
            }
            if client.rules.reset_exclusive {
                effects.push(Effect::Reset { group, queue, start: Start::First });
            }
        }
    }

    /// Gives a client an event; `false` where it has too many.
    fn offer(&mut self, now: Millis, client: &str, queue: &str, policy: &Policy) -> bool {
        let Some(rules) = self.clients.get(client).map(|subscription| subscription.rules) else {
            return false;
        };
        match self.events_of(now, client, rules).offer(queue) {
            Offered::Taken => true,
            Offered::Full => {
                if !rules.wildcard {
                    let target = Target::Client(client.into());
                    self.scheduled.entry(target).or_insert(now + policy.full_after);
                }
                false
            }
        }
    }

    fn events_of(&mut self, now: Millis, client: &str, rules: Rules) -> &mut Events {
        match self.events.entry(client.into()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(Events::new(now, rules.events_max)),
        }
    }

    /// Gives a client's events to others of its group, or to itself where there are none.
    fn hand_on(
        &mut self,
        now: Millis,
        (client, group): (&str, &str),
        events: Events,
        policy: &Policy,
        effects: &mut Vec<Effect>,
    ) {
        for queue in events.into_queues() {
            self.dispatch(now, group, &queue, Some(client), policy, effects);
        }
    }

    fn is_wildcard(&self, group: &str, parent: &str) -> bool {
        self.subscribers.get(parent).into_iter().flatten().any(|(of, _)| **of == *group)
    }
}

#[cfg(test)]
mod tests;
