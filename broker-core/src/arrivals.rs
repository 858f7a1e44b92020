//! Who waits for records in a queue: parked pulls of clients, and tasks of this process.

use crate::{lite::events::LiteEvents, outbox::Outbox, pop::polling::Polling};
use halley_model::QueueId;
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, DefaultHasher},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::sync::Notify;

/// Whom to wake when records arrive in a queue.
#[derive(Debug, Clone)]
pub(crate) enum Waiter {
    /// A pull parked on a connection, by its token there.
    Parked(Arc<Outbox>, u64),
    /// A task of this process.
    Task(Arc<Notify>),
}

type ByQueue = HashMap<QueueId, Vec<Waiter>, BuildHasherDefault<DefaultHasher>>;

/// The waiters by topic and queue. A waiter is woken once; it looks, and registers again if it still must wait.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    // Lets the log thread pass without a lock while nobody waits anywhere.
    count: AtomicUsize,
    waiting: Mutex<HashMap<Box<str>, ByQueue, BuildHasherDefault<DefaultHasher>>>,
    /// Who waits for messages to pop.
    pub(crate) polling: Polling,
    /// Who wants lite topics.
    pub(crate) lite: LiteEvents,
}

impl Arrivals {
    /// Registers a waiter. The caller looks at the queue once more afterwards: records may have arrived meanwhile.
    pub(crate) fn wait(&self, topic: &str, queue: QueueId, waiter: Waiter) {
        let mut waiting = self.waiting.lock();
        self.count.fetch_add(1, Ordering::SeqCst);
        let by_queue = match waiting.get_mut(topic) {
            Some(by_queue) => by_queue,
            None => waiting.entry(topic.into()).or_default(),
        };
        by_queue.entry(queue).or_default().push(waiter);
    }

    /// Forgets a parked pull that was answered otherwise.
    pub(crate) fn forget(&self, topic: &str, queue: QueueId, outbox: &Arc<Outbox>, token: u64) {
        let gone = |waiter: &Waiter| match waiter {
            Waiter::Parked(of, parked) => *parked == token && Arc::ptr_eq(of, outbox),
            Waiter::Task(_) => false,
        };
        self.remove(topic, queue, gone);
    }

    /// Forgets a task that no longer waits.
    pub(crate) fn forget_task(&self, topic: &str, queue: QueueId, task: &Arc<Notify>) {
        self.remove(topic, queue, |waiter| matches!(waiter, Waiter::Task(of) if Arc::ptr_eq(of, task)));
    }

    /// Records arrived in these queues.
    pub(crate) fn notify<'a, I>(&self, queues: I)
    where
        I: IntoIterator<Item = (&'a str, QueueId), IntoIter: Clone>,
    {
        let queues = queues.into_iter();
        queues.clone().for_each(|(topic, _)| self.lite.arrived(topic, &self.polling));
        if self.polling.any() {
            queues.clone().for_each(|(topic, queue)| self.polling.arrived(topic, queue));
        }
        if self.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        let mut woken = Vec::new();
        {
            let mut waiting = self.waiting.lock();
            for (topic, queue) in queues {
                let Some(by_queue) = waiting.get_mut(topic) else { continue };
                woken.extend(by_queue.remove(&queue).into_iter().flatten());
                if by_queue.is_empty() {
                    waiting.remove(topic);
                }
            }
            self.count.fetch_sub(woken.len(), Ordering::SeqCst);
        }
        for waiter in woken {
            match waiter {
                Waiter::Parked(outbox, token) => outbox.wake_parked(token),
                Waiter::Task(notify) => notify.notify_one(),
            }
        }
    }

    /// How many wait, for metrics.
    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed) + self.polling.len()
    }

    fn remove(&self, topic: &str, queue: QueueId, gone: impl Fn(&Waiter) -> bool) {
        let mut waiting = self.waiting.lock();
        let Some(by_queue) = waiting.get_mut(topic) else { return };
        let Some(waiters) = by_queue.get_mut(&queue) else { return };
        let before = waiters.len();
        waiters.retain(|waiter| !gone(waiter));
        self.count.fetch_sub(before - waiters.len(), Ordering::SeqCst);
        if waiters.is_empty() {
            by_queue.remove(&queue);
        }
        if by_queue.is_empty() {
            waiting.remove(topic);
        }
    }
}

/// A task's registration, taken back when the wait ends, also by being dropped half-way.
pub(crate) struct Registration<'a> {
    arrivals: &'a Arrivals,
    topic: &'a str,
    queue: QueueId,
    notify: &'a Arc<Notify>,
}

impl<'a> Registration<'a> {
    pub(crate) fn new(
        arrivals: &'a Arrivals,
        topic: &'a str,
        queue: QueueId,
        notify: &'a Arc<Notify>,
    ) -> Self {
        arrivals.wait(topic, queue, Waiter::Task(notify.clone()));
        Self { arrivals, topic, queue, notify }
    }
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        self.arrivals.forget_task(self.topic, self.queue, self.notify);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn arrivals_wake_who_waits_there() {
        let arrivals = Arrivals::default();
        let (here, there) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        arrivals.wait("t", 0, Waiter::Task(here.clone()));
        arrivals.wait("t", 1, Waiter::Task(there.clone()));
        arrivals.notify([("t", 0), ("u", 0)]);
        here.notified().await;
        assert_eq!(arrivals.len(), 1);
        arrivals.forget_task("t", 1, &there);
        assert_eq!(arrivals.len(), 0);
        let outbox = Arc::new(Outbox::default());
        arrivals.wait("t", 2, Waiter::Parked(outbox.clone(), 7));
        arrivals.forget("t", 2, &outbox, 8);
        assert_eq!(arrivals.len(), 1);
        arrivals.notify([("t", 2)]);
        assert_eq!(outbox.take().woken, [7]);
    }
}
