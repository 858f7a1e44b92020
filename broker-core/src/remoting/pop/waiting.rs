//! Requests of one connection that wait for messages to pop.

use super::REVIVE_QUEUES;
use crate::{
    held::RequestId,
    lite::take::LitePop,
    pop::{
        polling::{ANY_QUEUE, Kind, Place, PollingFull, client_key},
        take::Pop,
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicU64, Ordering},
};
use tokio::time::Instant;

/// Most requests that wait on one connection.
const PARKED_MAX: usize = 16_384;

/// Tokens of waiting pops have this bit, those of parked pulls do not.
const POP_BIT: u64 = 1 << 63;

/// Tokens are unique in the process.
static NEXT_TOKEN: AtomicU64 = AtomicU64::new(POP_BIT);

/// Counts pops, from which their numbers and revive queues are made.
static POPS: AtomicU64 = AtomicU64::new(0);

/// Whether a token is that of a waiting pop.
pub(in crate::remoting) fn is_pop(token: u64) -> bool {
    token & POP_BIT != 0
}

/// A request that waits.
#[derive(Debug, Clone)]
pub(super) struct Waiting {
    pub(super) id: RequestId,
    pub(super) request: Request,
    pub(super) until: Instant,
    /// Under which it waits where that is no topic.
    key: String,
}

/// What it asks for.
#[derive(Debug, Clone)]
pub(super) enum Request {
    /// Messages.
    Pop(Box<Pop>),
    /// To be told when there are some.
    Notification(Box<Pop>),
    /// Messages of lite topics.
    Lite(Box<LitePop>),
}

/// The waiting requests.
#[derive(Debug, Default)]
pub(in crate::remoting) struct Parked {
    waiting: BTreeMap<u64, Waiting>,
    deadlines: BTreeSet<(Instant, u64)>,
}

impl Waiting {
    pub(super) fn new(id: RequestId, request: Request, until: Instant) -> Self {
        let key = match &request {
            Request::Pop(_) | Request::Notification(_) => String::new(),
            Request::Lite(pop) => client_key(&pop.client),
        };
        Self { id, request, until, key }
    }

    /// The pop of a topic.
    pub(super) fn pop(&self) -> Option<&Pop> {
        match &self.request {
            Request::Pop(pop) | Request::Notification(pop) => Some(pop),
            Request::Lite(_) => None,
        }
    }

    /// Where it waits.
    pub(super) fn place(&self) -> Place<'_> {
        let (kind, pop) = match &self.request {
            Request::Pop(pop) => (Kind::Pop, pop),
            Request::Notification(pop) => (Kind::Notification, pop),
            Request::Lite(pop) => {
                return Place { kind: Kind::Lite, group: &pop.group, topic: &self.key, queue: ANY_QUEUE };
            }
        };
        let queue = pop.queue.map_or(ANY_QUEUE, |queue| queue as i32);
        Place { kind, group: &pop.group, topic: &pop.topic.name, queue }
    }
}

impl Parked {
    pub(in crate::remoting) fn deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(until, _)| *until)
    }

    /// A number from 0 to 99, as good as a random one (the multiplier is that of Knuth).
    pub(super) fn number(&self) -> u32 {
        let count = POPS.fetch_add(1, Ordering::Relaxed);
        ((count.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407) >> 33) % 100)
            as u32
    }

    /// The revive queue that the next handles name.
    pub(super) fn revive_queue(&self) -> i32 {
        (POPS.load(Ordering::Relaxed) % REVIVE_QUEUES) as i32
    }

    /// Lets a request wait; its token.
    pub(super) fn park(&mut self, waiting: Waiting) -> Result<u64, PollingFull> {
        if self.waiting.len() >= PARKED_MAX {
            return Err(PollingFull);
        }
        let token = NEXT_TOKEN.fetch_add(1, Ordering::Relaxed) | POP_BIT;
        self.deadlines.insert((waiting.until, token));
        self.waiting.insert(token, waiting);
        Ok(token)
    }

    pub(super) fn remove(&mut self, token: u64) -> Option<Waiting> {
        let waiting = self.waiting.remove(&token)?;
        self.deadlines.remove(&(waiting.until, token));
        Some(waiting)
    }

    pub(super) fn take_expired(&mut self, now: Instant) -> Option<(u64, Waiting)> {
        let &(until, token) = self.deadlines.first()?;
        if until > now {
            return None;
        }
        self.remove(token).map(|waiting| (token, waiting))
    }

    pub(super) fn take_all(&mut self) -> BTreeMap<u64, Waiting> {
        self.deadlines.clear();
        std::mem::take(&mut self.waiting)
    }
}
