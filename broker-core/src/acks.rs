//! Who waits for the log: futures that end when a log offset is acknowledged, woken in log order.

use halley_model::LogOffset;
use parking_lot::Mutex;
use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    future::poll_fn,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    task::{Context, Poll, Waker},
};

/// The store stopped: what was waited for is not acknowledged, and whether it is in the log is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stopped;

/// The acknowledged watermark, and the tasks waiting for it to reach their offset.
#[derive(Debug, Default)]
pub(crate) struct Acks {
    acked: AtomicU64,
    stopped: AtomicBool,
    waiting: Mutex<BinaryHeap<Reverse<Waiting>>>,
}

#[derive(Debug)]
struct Waiting {
    end: LogOffset,
    waker: Waker,
}

impl Acks {
    pub(crate) fn acked(&self) -> LogOffset {
        self.acked.load(Ordering::Acquire)
    }

    /// Everything before `acked` is as durable as the policy asks: wakes whoever waited for it.
    pub(crate) fn advance(&self, acked: LogOffset) {
        self.acked.store(acked, Ordering::Release);
        loop {
            // One lock per waiter, so that a woken task that registers anew never waits for a long release.
            let mut waiting = self.waiting.lock();
            match waiting.peek() {
                Some(Reverse(first)) if first.end <= acked => {}
                _ => return,
            }
            let Some(Reverse(first)) = waiting.pop() else { return };
            drop(waiting);
            first.waker.wake();
        }
    }

    /// The store stopped: everyone waiting fails.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        for Reverse(waiting) in std::mem::take(&mut *self.waiting.lock()) {
            waiting.waker.wake();
        }
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Whether `end` is acknowledged; if not yet, the task is woken when it is. `registered` is the caller's own
    /// memory of the offset its waker already waits for, so that polling again registers nothing twice.
    pub(crate) fn poll(
        &self,
        end: LogOffset,
        registered: &mut Option<LogOffset>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Stopped>> {
        if let Some(result) = self.check(end) {
            return Poll::Ready(result);
        }
        if *registered != Some(end) {
            self.waiting.lock().push(Reverse(Waiting { end, waker: context.waker().clone() }));
            *registered = Some(end);
            // The watermark may have passed between the first look and the registration.
            if let Some(result) = self.check(end) {
                return Poll::Ready(result);
            }
        }
        Poll::Pending
    }

    /// Ends when `end` is acknowledged or the store stopped.
    pub(crate) async fn reached(&self, end: LogOffset) -> Result<(), Stopped> {
        let mut registered = None;
        poll_fn(|context| self.poll(end, &mut registered, context)).await
    }

    fn check(&self, end: LogOffset) -> Option<Result<(), Stopped>> {
        if self.acked() >= end {
            Some(Ok(()))
        } else if self.is_stopped() {
            Some(Err(Stopped))
        } else {
            None
        }
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.end == other.end
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.end.cmp(&other.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[tokio::test]
    async fn waiters_end_in_log_order() {
        let acks = Arc::new(Acks::default());
        let wait = |end| {
            let acks = acks.clone();
            tokio::spawn(async move { acks.reached(end).await })
        };
        let (first, second, third) = (wait(10), wait(20), wait(30));
        tokio::task::yield_now().await;
        acks.advance(10);
        assert_eq!(first.await.unwrap(), Ok(()));
        acks.advance(29);
        assert_eq!(second.await.unwrap(), Ok(()));
        acks.stop();
        assert_eq!(third.await.unwrap(), Err(Stopped));
        assert_eq!(acks.reached(5).await, Ok(()));
    }
}
