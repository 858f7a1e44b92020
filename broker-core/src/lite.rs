//! Lite topics as the broker keeps them: subscriptions, offsets, and their end
//! (`LiteSubscriptionRegistryImpl`, `LiteLifecycleManager`, 5.5).

pub(crate) mod events;
pub(crate) mod take;

use crate::{
    catalog::Catalog,
    clock, held,
    identity::Identity,
    names::Names,
    outbox::Outbox,
    pop::polling::Polling,
    progress::Progress,
    queues::Queues,
    settings::{Number, Settings},
};
use halley_machine::{
    attributes,
    lite::{self, Client, Context, EVENTS_MAX, Effect, Lite, Policy, Refused, Rules, Start, World},
    offsets::Committed,
};
use halley_model::{GroupName, LogOffset, Millis, QueueOffset, TopicConfig, TopicName, light as names_of};
use halley_store::{StageError, disk::RealDisk};
use halley_wire::{
    ClientCode, Serialize,
    encode::{self, Request},
    request::lite::{LiteAction, LiteSubscription, OffsetKind, OffsetOption, unsubscribed_fields},
};
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

/// Most clients whose connections are remembered.
const REACHED_MAX: usize = 100_000;

/// Lite topics and who wants them.
pub(crate) struct LiteTopics {
    pub(crate) identity: Identity,
    pub(crate) queues: Queues<RealDisk>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) names: Option<Arc<Names>>,
    /// Where to reach clients.
    reached: Mutex<HashMap<Box<str>, Arc<Outbox>>>,
    started: Millis,
    /// When to look next for clients that left events, and for lite topics that ended.
    next_scan: AtomicI64,
    next_expiry: AtomicI64,
}

impl LiteTopics {
    pub(crate) fn new(
        identity: Identity,
        queues: Queues<RealDisk>,
        catalog: Arc<Catalog>,
        progress: Arc<Progress>,
        settings: Arc<Settings>,
        names: Option<Arc<Names>>,
    ) -> Self {
        Self {
            identity,
            queues,
            catalog,
            progress,
            settings,
            names,
            reached: Mutex::default(),
            started: clock::now(),
            next_scan: AtomicI64::new(0),
            next_expiry: AtomicI64::new(0),
        }
    }

    /// Changes what a client wants. `outbox` is its connection's.
    pub(crate) fn change(&self, wanted: &LiteSubscription, outbox: &Arc<Outbox>) -> Result<(), Refused> {
        let LiteSubscription { action, client_id, group, topic, lite_topic_set, offset_option } = wanted;
        let Some(action) = action else { return Ok(()) };
        let queues: Vec<String> =
            lite_topic_set.iter().filter_map(|lite| lite::queue_of(topic, lite)).collect();
        let client = Client { id: client_id, group, topic, rules: self.rules(group) };
        let mut effects = Vec::new();
        if matches!(action, LiteAction::PartialAdd | LiteAction::CompleteAdd) {
            let mut reached = self.reached.lock();
            if reached.len() < REACHED_MAX || reached.contains_key(&**client_id) {
                reached.insert(client_id.as_str().into(), outbox.clone());
            }
        }
        let active = || -> Vec<String> {
            queues.iter().filter(|queue| self.is_active(topic, queue)).cloned().collect()
        };
        let changed = match action {
            LiteAction::PartialAdd => {
                let (queues, start) = (active(), offset_option.and_then(start_of));
                self.in_context(|lite, context| lite.add(context, client, &queues, start, &mut effects))
            }
            LiteAction::PartialRemove => {
                self.in_context(|lite, context| lite.remove(context.now, client, &queues, &mut effects));
                Ok(())
            }
            LiteAction::CompleteAdd => {
                let queues = active();
                self.in_context(|lite, context| lite.replace(context, client, &queues, &mut effects))
            }
            LiteAction::CompleteRemove => {
                self.reached.lock().remove(&**client_id);
                self.in_context(|lite, context| {
                    lite.leave(context.now, client_id, &context.policy, &mut effects)
                });
                Ok(())
            }
        };
        self.perform(effects);
        changed
    }

    /// The lite topic has messages for the group, once more: a block ended.
    pub(crate) fn dispatch(&self, group: &str, queue: &str) {
        let mut effects = Vec::new();
        self.in_context(|lite, context| {
            lite.dispatch(context.now, group, queue, None, &context.policy, &mut effects)
        });
        self.perform(effects);
    }

    /// Shows a client, or all of the group, what there is for them.
    pub(crate) fn show(&self, group: &str, parent: &str, client: Option<&str>) {
        let mut effects = Vec::new();
        self.in_context(|lite, context| match client {
            Some(client) => lite.show_client(context, client, &mut effects),
            None => lite.show_group(context, group, parent, &mut effects),
        });
        self.perform(effects);
    }

    /// Looks at the machine.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&mut Lite) -> T) -> T {
        self.events().with(&self.policy(), look)
    }

    /// Does what is to be done at its time. Reads store times, and so may block on the disk.
    pub(crate) fn tick(&self) {
        let now = clock::now();
        if is_time(&self.next_scan, now, self.settings.number(Number::LiteScanMs)) {
            let mut effects = Vec::new();
            self.in_context(|lite, context| lite.tick(context, &mut effects));
            self.perform(effects);
            let known: Vec<_> = self.reached.lock().keys().cloned().collect();
            let gone = self.look(|lite| {
                known.into_iter().filter(|id| lite.queues_of_client(id).is_none()).collect::<Vec<_>>()
            });
            let mut reached = self.reached.lock();
            gone.iter().for_each(|id| _ = reached.remove(id));
        }
        let protected = now - self.started < self.settings.number(Number::LiteTtlMinMs);
        if !protected && is_time(&self.next_expiry, now, self.settings.number(Number::LiteExpiryMs)) {
            self.end_expired(now);
        }
    }

    /// Ends lite topics that had no message for as long as their parent topic says (`cleanExpiredLiteTopic`).
    fn end_expired(&self, now: Millis) {
        let mut ttl_minutes: HashMap<String, i64> = HashMap::new();
        self.catalog.with_tables(|topics, _| {
            let lite = topics.all().into_iter().filter(|topic| is_lite(topic));
            ttl_minutes.extend(lite.map(|topic| (topic.name.to_string(), i64::from(expiration(&topic)))));
        });
        ttl_minutes.retain(|_, minutes| *minutes > 0);
        if ttl_minutes.is_empty() {
            return;
        }
        for queue in self.queues.reader.topics() {
            let Some((parent, _)) = lite::parts_of(&queue) else { continue };
            let (Some(minutes), end) = (ttl_minutes.get(parent), self.end(&queue)) else { continue };
            let idle = if end > 0 { now - self.stored_at(&queue, end - 1) } else { 0 };
            if idle >= self.settings.number(Number::LiteTtlMinMs)
                && idle > minutes * 60_000
                && let Err(error) = self.end_queue(&queue)
            {
                tracing::warn!(%error, queue = &*queue, "a lite topic did not end, it is tried again");
            }
        }
    }

    /// Ends all lite topics of a parent.
    pub(crate) fn end_all(&self, parent: &str) -> Result<LogOffset, StageError> {
        let mut end = 0;
        for queue in self.queues_of(parent) {
            end = self.end_queue(&queue)?.max(end);
        }
        Ok(end)
    }

    /// Ends a lite topic, or another light queue: its messages are hidden, and what groups committed and clients wanted is forgotten.
    pub(crate) fn end_queue(&self, queue: &str) -> Result<LogOffset, StageError> {
        let Ok(name) = TopicName::known(queue) else { return Ok(0) };
        let deleted =
            self.progress.forget(|key| *key.1 == *queue, || self.catalog.delete_light_queue(&name))?;
        for (number, end) in (0..).zip(&deleted.0) {
            self.queues.reader.begin_at(queue, number, *end);
        }
        self.look(|lite| lite.forget_queue(queue));
        Ok(deleted.1)
    }

    /// The light queues of a parent topic that have messages.
    pub(crate) fn queues_of(&self, parent: &str) -> Vec<Box<str>> {
        let prefix = format!("{}{parent}$", lite::PREFIX);
        let all = self.queues.reader.topics();
        let own = all.iter().filter(|queue| queue.starts_with(&prefix) && self.end(queue) > 0);
        own.map(|queue| (**queue).into()).collect()
    }

    /// The end of a light queue, 0 where it has no messages (any more).
    pub(crate) fn end(&self, queue: &str) -> QueueOffset {
        let (min, max) = self.queues.bounds(queue, names_of::QUEUE);
        if max > min { max } else { 0 }
    }

    /// When a message was stored, 0 where there is none. May block on the disk.
    pub(crate) fn stored_at(&self, queue: &str, offset: QueueOffset) -> Millis {
        let mut entries = Vec::with_capacity(1);
        let looked_up = self.queues.reader.lookup(queue, names_of::QUEUE, offset, 1, &mut entries);
        let entry = entries.first().filter(|entry| looked_up.is_ok() && entry.queue_offset == offset);
        entry.and_then(|entry| self.queues.reader.stored_at(entry).ok()).unwrap_or(0)
    }

    /// Where a group is in a light queue.
    pub(crate) fn committed(&self, group: &str, queue: &str) -> Option<QueueOffset> {
        let (group, queue) = (GroupName::new(group).ok()?, TopicName::known(queue).ok()?);
        self.progress.committed(&group, &queue, names_of::QUEUE).map(|committed| committed.offset)
    }

    /// Whether new messages of the lite topic come to this broker.
    pub(crate) fn is_here(&self, parent: &str, queue: &str) -> bool {
        let Some(((_, lite), names)) = lite::parts_of(queue).zip(self.names.as_deref()) else { return true };
        let Some(route) = names.look(|routes| routes.route(parent)) else { return true };
        let mut brokers: Vec<_> = route
            .queues
            .iter()
            .filter(|(_, queues)| queues.permission & 2 != 0)
            .map(|(broker, queues)| (broker.clone(), usize::try_from(queues.write).unwrap_or(0)))
            .collect();
        brokers.sort();
        let all: usize = brokers.iter().map(|(_, queues)| queues).sum();
        if all == 0 {
            return true;
        }
        let mut shard = lite::shard_of(lite, all);
        let owner = brokers.iter().find(|(_, queues)| {
            let found = shard < *queues;
            shard = shard.saturating_sub(*queues);
            found
        });
        owner.is_none_or(|(broker, _)| **broker == *self.identity.name)
    }

    /// The parent topic that a group is bound to.
    pub(crate) fn bind_topic(&self, group: &str) -> Option<String> {
        self.catalog.group(group)?.attributes.get(attributes::LITE_BIND_TOPIC).cloned()
    }

    fn is_active(&self, parent: &str, queue: &str) -> bool {
        self.is_here(parent, queue) || self.end(queue) > 0
    }

    fn rules(&self, group: &str) -> Rules {
        let of_broker = || usize::try_from(self.settings.number(Number::LiteEventsMax)).unwrap_or(0);
        let Some(group) = self.catalog.group(group) else {
            return Rules { events_max: of_broker(), ..Rules::default() };
        };
        let given = |name: &str| group.attributes.get(name).map(String::as_str);
        let is_true = |name| given(name).is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let events = given(attributes::LITE_EVENTS_MAX).and_then(|max| max.parse::<usize>().ok());
        Rules {
            exclusive: given(attributes::LITE_SUB_MODEL) == Some("Exclusive"),
            reset_exclusive: is_true(attributes::LITE_RESET_EXCLUSIVE),
            reset_unsubscribed: is_true(attributes::LITE_RESET_UNSUBSCRIBED),
            wildcard: given(attributes::LITE_WILDCARD).is_some(),
            events_max: events.filter(|max| *max > 0).unwrap_or_else(of_broker).min(EVENTS_MAX),
        }
    }

    fn policy(&self) -> Policy {
        let number = |number| self.settings.number(number);
        Policy {
            subscriptions_max: usize::try_from(number(Number::LiteSubscriptionsMax)).unwrap_or(0),
            client_timeout: number(Number::LiteClientTimeoutMs),
            full_after: number(Number::LiteFullAfterMs),
            wildcard_full_after: number(Number::LiteWildcardFullAfterMs),
        }
    }

    fn in_context<T>(&self, step: impl FnOnce(&mut Lite, &Context<'_>) -> T) -> T {
        let end = |queue: &str| self.end(queue);
        let committed = |group: &str, queue: &str| self.committed(group, queue);
        let queues = |parent: &str| self.queues_of(parent);
        let world = World { end: &end, committed: &committed, queues: &queues };
        let context = Context { now: clock::now(), policy: self.policy(), world };
        self.events().with(&context.policy.clone(), |lite| step(lite, &context))
    }

    fn events(&self) -> &events::LiteEvents {
        &self.queues.arrivals.lite
    }

    fn polling(&self) -> &Polling {
        &self.queues.arrivals.polling
    }

    fn perform(&self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Wake { client, group } => self.polling().wake_client(&client, &group),
                Effect::Unsubscribed { client, group, queue } => self.tell(&client, &group, &queue),
                Effect::Reset { group, queue, start } => self.reset(&group, &queue, start),
            }
        }
    }

    /// Tells a client that it has the lite topic no more (`Broker2Client.notifyUnsubscribeLite`).
    fn tell(&self, client: &str, group: &str, queue: &str) {
        let Some(outbox) = self.reached.lock().get(client).cloned() else { return };
        let Some((_, lite)) = lite::parts_of(queue) else { return };
        // The code has no room in a binary header.
        let serialize = Serialize::Json;
        let code = ClientCode::NotifyUnsubscribeLite;
        let request = Request { oneway: true, serialize, ..Request::new(code, 0) };
        let notice = held::frame(|out| {
            let written = encode::request(out, request, &unsubscribed_fields(client, group, lite), b"");
            written.expect("three names fit a frame");
        });
        outbox.send([notice]);
    }

    /// Lets a group go on elsewhere, if that is not where it is (`resetOffset`).
    fn reset(&self, group: &str, queue: &str, start: Start) {
        let (Ok(group), Ok(queue)) = (GroupName::new(group), TopicName::known(queue)) else { return };
        let committed = self.progress.committed(&group, &queue, names_of::QUEUE);
        let current = committed.map(|Committed { offset, .. }| offset);
        let target = match start {
            Start::First => Some(self.queues.bounds(&queue, names_of::QUEUE).0),
            Start::Last => Some(self.end(&queue)),
            Start::Offset(offset) => Some(offset),
            Start::Back(count) => current.map(|current| current.saturating_sub(count)),
        };
        if let Some(target) = target.filter(|target| current != Some(*target)) {
            self.progress.reset((group, queue, names_of::QUEUE), target);
        }
    }
}

/// Whether a topic is a parent of lite topics.
pub(crate) fn is_lite(topic: &TopicConfig) -> bool {
    topic.attributes.get(attributes::MESSAGE_TYPE).is_some_and(|kind| kind == attributes::LITE)
}

/// When lite topics of a parent end, in minutes; -1 never.
pub(crate) fn expiration(topic: &TopicConfig) -> i32 {
    let minutes = topic.attributes.get(attributes::LITE_EXPIRATION);
    minutes.filter(|_| is_lite(topic)).and_then(|minutes| minutes.parse().ok()).unwrap_or(-1)
}

/// A time is ignored, as by RocketMQ 5.5.
fn start_of(option: OffsetOption) -> Option<Start> {
    let value = u64::try_from(option.value).unwrap_or(0);
    match (option.kind, option.value) {
        (OffsetKind::Policy, 1) => Some(Start::First),
        (OffsetKind::Policy, 2) => Some(Start::Last),
        (OffsetKind::Policy, _) | (OffsetKind::Timestamp, _) => None,
        (OffsetKind::Offset, _) => Some(Start::Offset(value)),
        (OffsetKind::TailN, _) => Some(Start::Back(value)),
    }
}

/// Whether something that is done every `interval` is to be done now.
fn is_time(next: &AtomicI64, now: Millis, interval: Millis) -> bool {
    let is_due = now >= next.load(Ordering::Relaxed);
    if is_due {
        next.store(now + interval, Ordering::Relaxed);
    }
    is_due
}
