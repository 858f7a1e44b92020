//! What is counted of topics, groups and the broker, for tools that look at a running broker (`BrokerStatsManager`,
//! `StoreStatsService`, 5.5). Counting costs one lookup for each run of sends to a topic and for each pull.

use crate::clock;
use halley_machine::counters::{Count, Samples, Stretch, Sum, Ticks};
use halley_model::{Millis, QueueId, QueueOffset, light, topic};
use parking_lot::{Mutex, RwLock};
use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasherDefault, DefaultHasher},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// Rates look back so many seconds at most.
const RATE_SECONDS_MAX: usize = 600;

/// Stretches over which tools show rates, in seconds.
const RATES: [usize; 3] = [10, 60, 600];

/// Milliseconds of a day.
const DAY_MS: Millis = 86_400_000;

type Table<T> = RwLock<HashMap<Box<str>, Arc<T>, BuildHasherDefault<DefaultHasher>>>;

/// All counters of a broker.
pub(crate) struct Stats {
    topics: Table<OfTopic>,
    broker: OfBroker,
    started: Millis,
    sampling: Mutex<Sampling>,
    /// Times to write a batch, weighted by its records: since the last minute began, and in the minute before.
    latencies: [Latencies; 2],
}

#[derive(Default)]
struct OfTopic {
    puts: Counted,
    gets: Table<Gets>,
}

/// What a group is sent of a topic, and how far it has pulled.
#[derive(Default)]
pub(crate) struct Gets {
    sent: Counted,
    /// The offset after what was pulled last, by queue; 0 where nothing was.
    pulled: Mutex<Vec<QueueOffset>>,
}

/// Messages and their bytes, with samples. The numbers only grow.
#[derive(Default)]
pub(crate) struct Counted {
    messages: AtomicU64,
    bytes: AtomicU64,
    times: AtomicU64,
    samples: Mutex<Samples>,
}

#[derive(Default)]
struct OfBroker {
    puts: Counted,
    gets: Counted,
    own_puts: Counted,
    own_gets: Counted,
    put_failures: AtomicU64,
    found: AtomicU64,
    missed: AtomicU64,
    transferred: AtomicU64,
    batch_max_us: AtomicU64,
}

struct Sampling {
    /// By stretch, when samples are to be taken next.
    next: [Millis; 3],
    /// By stretch.
    ticks: [Ticks; 3],
    seconds: VecDeque<Second>,
    day: Millis,
    puts: Mornings,
    gets: Mornings,
    latencies_at: Millis,
}

/// Totals as a second ended.
#[derive(Clone, Copy, Default)]
struct Second {
    at: Millis,
    puts: u64,
    found: u64,
    missed: u64,
    transferred: u64,
}

/// Totals as days began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Mornings {
    pub(crate) yesterday: u64,
    pub(crate) today: u64,
    pub(crate) now: u64,
}

/// Counts of times up to each power of two of microseconds.
struct Latencies([AtomicU64; 32]);

/// Rates over 10, 60 and 600 s, as far as there are samples.
pub(crate) struct Rates {
    pub(crate) puts: Vec<f64>,
    pub(crate) found: Vec<f64>,
    pub(crate) missed: Vec<f64>,
    pub(crate) total: Vec<f64>,
    pub(crate) transferred: Vec<f64>,
}

impl Default for Stats {
    fn default() -> Self {
        let now = clock::now();
        let sampling = Sampling {
            next: Stretch::ALL.map(|stretch| now + stretch.rhythm()),
            ticks: Default::default(),
            seconds: VecDeque::new(),
            day: now / DAY_MS,
            puts: Mornings::default(),
            gets: Mornings::default(),
            latencies_at: now,
        };
        Self {
            topics: RwLock::default(),
            broker: OfBroker::default(),
            started: now,
            sampling: Mutex::new(sampling),
            latencies: [Latencies::new(), Latencies::new()],
        }
    }
}

impl Gets {
    /// The group was told to go on at `next`.
    pub(crate) fn pulled(&self, topic: &str, queue: QueueId, next: QueueOffset) {
        if light::is_light(topic) {
            return;
        }
        let mut pulled = self.pulled.lock();
        let queue = queue as usize;
        if pulled.len() <= queue {
            if next == 0 {
                return;
            }
            pulled.resize(queue + 1, 0);
        }
        pulled[queue] = next;
    }
}

impl Stats {
    /// Messages were sent to a topic.
    pub(crate) fn put(&self, topic: &str, messages: u64, bytes: u64) {
        entry(&self.topics, topic).puts.add(messages, bytes);
        self.broker.puts.add_each(messages, bytes);
        if !topic::is_system(topic) {
            self.broker.own_puts.add_each(messages, bytes);
        }
    }

    /// Messages were refused.
    pub(crate) fn put_failed(&self) {
        self.broker.put_failures.fetch_add(1, Relaxed);
    }

    /// A batch of records was written.
    pub(crate) fn batch(&self, records: u64, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.latencies[0].add(micros, records);
        self.broker.batch_max_us.fetch_max(micros, Relaxed);
    }

    /// The counter of what a group is sent of a topic. Light queues and their groups are counted together
    /// (`LmqBrokerStatsManager`, 5.5).
    pub(crate) fn gets_of(&self, topic: &str, group: &str) -> Arc<Gets> {
        let together = |name| if light::is_light(name) { light::PREFIX } else { name };
        let (topic, group) = (together(topic), together(group));
        entry(&entry(&self.topics, topic).gets, group)
    }

    /// A group was answered.
    pub(crate) fn got(&self, topic: &str, of_group: &Gets, messages: u64, bytes: u64) {
        if messages == 0 {
            self.broker.missed.fetch_add(1, Relaxed);
            return;
        }
        of_group.sent.add(messages, bytes);
        self.broker.found.fetch_add(1, Relaxed);
        self.broker.transferred.fetch_add(messages, Relaxed);
        self.broker.gets.add(messages, bytes);
        if !topic::is_system(topic) {
            self.broker.own_gets.add(messages, bytes);
        }
    }

    /// The offset after what a group pulled last, since the process started (`ConsumerOffsetManager.queryPullOffset`, 5.5);
    /// not of light queues, of which there are too many.
    pub(crate) fn pulled(&self, group: &str, topic: &str, queue: QueueId) -> Option<QueueOffset> {
        let topics = self.topics.read();
        let gets = topics.get(topic)?.gets.read();
        let pulled = gets.get(group)?.pulled.lock().get(queue as usize).copied();
        pulled.filter(|pulled| *pulled > 0)
    }

    /// Forgets a deleted topic.
    pub(crate) fn forget_topic(&self, topic: &str) {
        self.topics.write().remove(topic);
    }

    /// Forgets a deleted group.
    pub(crate) fn forget_group(&self, group: &str) {
        for topic in self.topics.read().values() {
            topic.gets.write().remove(group);
        }
    }

    /// Takes samples. To be called about once a second.
    pub(crate) fn tick(&self) {
        let now = clock::now();
        let mut sampling = self.sampling.lock();
        for stretch in Stretch::ALL {
            let at = stretch as usize;
            if sampling.next[at] <= now {
                sampling.next[at] = now + stretch.rhythm();
                sampling.ticks[at].add(stretch, now);
                self.each_counter(|counted| counted.sample(stretch, &sampling.ticks[at]));
            }
        }
        let OfBroker { own_puts, own_gets, found, missed, transferred, .. } = &self.broker;
        let (puts, gets) = (own_puts.messages(), own_gets.messages());
        let second = Second {
            at: now,
            puts: self.broker.puts.messages(),
            found: found.load(Relaxed),
            missed: missed.load(Relaxed),
            transferred: transferred.load(Relaxed),
        };
        sampling.seconds.push_back(second);
        if sampling.seconds.len() > RATE_SECONDS_MAX + 1 {
            sampling.seconds.pop_front();
        }
        if sampling.day != now / DAY_MS {
            sampling.day = now / DAY_MS;
            sampling.puts = Mornings { yesterday: sampling.puts.today, today: puts, now: 0 };
            sampling.gets = Mornings { yesterday: sampling.gets.today, today: gets, now: 0 };
        }
        if now - sampling.latencies_at >= 60_000 {
            sampling.latencies_at = now;
            self.latencies[1].take_over(&self.latencies[0]);
        }
    }

    /// What a counter counted, by RocketMQ's names of the counter and of its key; `None` where it never counted.
    pub(crate) fn sums(&self, name: &str, key: &str, cluster: &str) -> Option<[Sum; 3]> {
        let sampling = self.sampling.lock();
        let topics = self.topics.read();
        type Pick = fn(&Count) -> u64;
        let of_topic = |pick: Pick| topics.get(key)?.puts.sums(&sampling.ticks, pick);
        let of_group = |pick: Pick| {
            let (topic, group) = key.split_once('@')?;
            let gets = topics.get(topic)?.gets.read();
            gets.get(group)?.sent.sums(&sampling.ticks, pick)
        };
        let of_broker = |counted: &Counted| {
            (key == cluster).then(|| counted.sums(&sampling.ticks, |count| count.messages)).flatten()
        };
        match name {
            "TOPIC_PUT_NUMS" => of_topic(|count| count.messages),
            "TOPIC_PUT_SIZE" => of_topic(|count| count.bytes),
            "GROUP_GET_NUMS" => of_group(|count| count.messages),
            "GROUP_GET_SIZE" => of_group(|count| count.bytes),
            "BROKER_PUT_NUMS" => of_broker(&self.broker.puts),
            "BROKER_GET_NUMS" => of_broker(&self.broker.gets),
            "BROKER_PUT_NUMS_WITHOUT_SYSTEM_TOPIC" => of_broker(&self.broker.own_puts),
            "BROKER_GET_NUMS_WITHOUT_SYSTEM_TOPIC" => of_broker(&self.broker.own_gets),
            _ => None,
        }
    }

    /// Messages a second sent to a topic, over the last minute.
    pub(crate) fn put_rate(&self, topic: &str) -> f64 {
        let sampling = self.sampling.lock();
        let topics = self.topics.read();
        topics.get(topic).map_or(0.0, |topic| topic.puts.rate(&sampling.ticks))
    }

    /// Messages a second sent to a group from a topic, over the last minute.
    pub(crate) fn get_rate(&self, group: &str, topic: &str) -> f64 {
        let sampling = self.sampling.lock();
        let topics = self.topics.read();
        let of_group = topics.get(topic).and_then(|topic| topic.gets.read().get(group).cloned());
        of_group.map_or(0.0, |gets| gets.sent.rate(&sampling.ticks))
    }

    pub(crate) fn started(&self) -> Millis {
        self.started
    }

    /// Totals without system topics: sent and received.
    pub(crate) fn mornings(&self) -> (Mornings, Mornings) {
        let sampling = self.sampling.lock();
        let now = |mornings: Mornings, counted: &Counted| Mornings { now: counted.messages(), ..mornings };
        (now(sampling.puts, &self.broker.own_puts), now(sampling.gets, &self.broker.own_gets))
    }

    /// Messages sent, their bytes, sends that failed, and the longest time to write a batch in microseconds.
    pub(crate) fn puts(&self) -> (u64, u64, u64, u64) {
        let OfBroker { puts, put_failures, batch_max_us, .. } = &self.broker;
        let Count { messages, bytes, .. } = puts.count();
        (messages, bytes, put_failures.load(Relaxed), batch_max_us.load(Relaxed))
    }

    pub(crate) fn rates(&self) -> Rates {
        let sampling = self.sampling.lock();
        let seconds = &sampling.seconds;
        let rate = |pick: fn(&Second) -> u64| {
            let over = |back: usize| {
                let last = seconds.back()?;
                let first = seconds.get(seconds.len().checked_sub(back + 1)?)?;
                let elapsed = (last.at - first.at).max(1) as f64 / 1000.0;
                Some(pick(last).saturating_sub(pick(first)) as f64 / elapsed)
            };
            RATES.iter().map_while(|back| over(*back)).collect::<Vec<f64>>()
        };
        Rates {
            puts: rate(|second| second.puts),
            found: rate(|second| second.found),
            missed: rate(|second| second.missed),
            total: rate(|second| second.found + second.missed),
            transferred: rate(|second| second.transferred),
        }
    }

    /// How many records were written in batches that took up to each bound of the last minute, in milliseconds.
    pub(crate) fn distribution(&self, bounds_ms: &[u64]) -> Vec<u64> {
        let mut counts = vec![0; bounds_ms.len() + 1];
        for (micros, count) in self.latencies[1].iter() {
            let at = bounds_ms.iter().position(|bound| micros <= bound * 1000).unwrap_or(bounds_ms.len());
            counts[at] += count;
        }
        counts
    }

    /// The time, in milliseconds, within which that share of the last minute's records was written.
    pub(crate) fn latency_ms(&self, share: f64) -> f64 {
        let total: u64 = self.latencies[1].iter().map(|(_, count)| count).sum();
        let mut seen = 0;
        for (micros, count) in self.latencies[1].iter() {
            seen += count;
            if count > 0 && seen as f64 >= total as f64 * share {
                return micros as f64 / 1000.0;
            }
        }
        0.0
    }

    fn each_counter(&self, mut each: impl FnMut(&Counted)) {
        for topic in self.topics.read().values() {
            each(&topic.puts);
            topic.gets.read().values().for_each(|group| each(&group.sent));
        }
        let OfBroker { puts, gets, own_puts, own_gets, .. } = &self.broker;
        [puts, gets, own_puts, own_gets].into_iter().for_each(each);
    }
}

impl Counted {
    /// Counts messages once.
    fn add(&self, messages: u64, bytes: u64) {
        self.add_times(messages, bytes, 1);
    }

    /// Counts each message.
    fn add_each(&self, messages: u64, bytes: u64) {
        self.add_times(messages, bytes, messages);
    }

    fn add_times(&self, messages: u64, bytes: u64, times: u64) {
        self.messages.fetch_add(messages, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
        self.times.fetch_add(times, Relaxed);
    }

    fn messages(&self) -> u64 {
        self.messages.load(Relaxed)
    }

    fn count(&self) -> Count {
        let (bytes, times) = (self.bytes.load(Relaxed), self.times.load(Relaxed));
        Count { messages: self.messages(), bytes, times }
    }

    fn sample(&self, stretch: Stretch, ticks: &Ticks) {
        self.samples.lock().take(stretch, ticks, self.count());
    }

    /// Of the last minute, hour and day; `None` where it never counted.
    fn sums(&self, ticks: &[Ticks; 3], pick: fn(&Count) -> u64) -> Option<[Sum; 3]> {
        if self.times.load(Relaxed) == 0 {
            return None;
        }
        let samples = self.samples.lock();
        Some(Stretch::ALL.map(|stretch| samples.sum(stretch, &ticks[stretch as usize], pick)))
    }

    fn rate(&self, ticks: &[Ticks; 3]) -> f64 {
        let minute = Stretch::Minute;
        self.samples.lock().sum(minute, &ticks[minute as usize], |count| count.messages).per_second
    }
}

impl Latencies {
    fn new() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }

    fn add(&self, micros: u64, count: u64) {
        let at = (64 - micros.leading_zeros() as usize).min(self.0.len() - 1);
        self.0[at].fetch_add(count, Relaxed);
    }

    /// Upper bounds in microseconds, with how many were up to them and above the one before.
    fn iter(&self) -> impl Iterator<Item = (u64, u64)> {
        self.0.iter().enumerate().map(|(at, count)| ((1u64 << at) - 1, count.load(Relaxed)))
    }

    fn take_over(&self, other: &Self) {
        for (mine, its) in self.0.iter().zip(&other.0) {
            mine.store(its.swap(0, Relaxed), Relaxed);
        }
    }
}

fn entry<T: Default>(table: &Table<T>, key: &str) -> Arc<T> {
    if let Some(found) = table.read().get(key) {
        return found.clone();
    }
    table.write().entry(key.into()).or_default().clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_told() {
        let stats = Stats::default();
        stats.put("t", 3, 300);
        let gets = stats.gets_of("t", "g");
        stats.got("t", &gets, 0, 0);
        assert_eq!(stats.sums("GROUP_GET_NUMS", "t@g", "c"), None, "nothing was sent yet");
        stats.got("t", &gets, 2, 200);
        stats.put("rmq_sys_x", 5, 1);
        {
            let ticks = &mut stats.sampling.lock().ticks[Stretch::Minute as usize];
            ticks.add(Stretch::Minute, 10_000);
            stats.each_counter(|counted| counted.sample(Stretch::Minute, ticks));
        }
        let minute = |name, key| stats.sums(name, key, "c").map(|sums| sums[0].sum);
        assert_eq!(minute("TOPIC_PUT_NUMS", "t"), Some(3));
        assert_eq!(minute("TOPIC_PUT_SIZE", "t"), Some(300));
        assert_eq!(minute("GROUP_GET_NUMS", "t@g"), Some(2));
        assert_eq!(minute("BROKER_PUT_NUMS", "c"), Some(8));
        assert_eq!(minute("BROKER_PUT_NUMS_WITHOUT_SYSTEM_TOPIC", "c"), Some(3));
        assert_eq!(minute("TOPIC_PUT_NUMS", "u"), None);
        assert_eq!((stats.put_rate("t"), stats.get_rate("g", "t")), (0.3, 0.2));
        assert_eq!(stats.pulled("g", "t", 2), None);
        gets.pulled("t", 2, 7);
        assert_eq!([0, 1, 2, 3].map(|queue| stats.pulled("g", "t", queue)), [None, None, Some(7), None]);
        gets.pulled("t", 2, 3);
        assert_eq!(stats.pulled("g", "t", 2), Some(3), "where the group goes on, also where it went back");
        stats.forget_group("g");
        assert_eq!((minute("GROUP_GET_NUMS", "t@g"), stats.pulled("g", "t", 2)), (None, None));
        stats.forget_topic("t");
        assert_eq!(minute("TOPIC_PUT_NUMS", "t"), None);
        assert_eq!(stats.mornings().0, Mornings { yesterday: 0, today: 0, now: 3 });
        assert!(stats.rates().puts.is_empty());
    }

    #[test]
    fn latencies_are_told_a_minute_later() {
        let stats = Stats::default();
        stats.batch(99, Duration::from_micros(900));
        stats.batch(1, Duration::from_millis(30));
        assert_eq!(stats.latency_ms(0.99), 0.0);
        stats.latencies[1].take_over(&stats.latencies[0]);
        assert!(stats.latency_ms(0.99) < 1.1 && stats.latency_ms(0.999) > 20.0);
        assert_eq!(stats.distribution(&[10, 50]), [99, 1, 0]);
    }
}
