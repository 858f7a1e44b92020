//! The machine of lite topics behind its lock, where the log's thread finds it.

use crate::{clock, pop::polling::Polling};
use halley_machine::lite::{self, Effect, Lite, Policy};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// Who wants which lite topics, and has messages in which.
#[derive(Debug)]
pub(crate) struct LiteEvents {
    state: Mutex<State>,
    /// Lets the log's thread pass without a lock while nobody wants any.
    used: AtomicBool,
}

#[derive(Debug)]
struct State {
    lite: Lite,
    policy: Policy,
}

impl Default for LiteEvents {
    fn default() -> Self {
        let policy =
            Policy { subscriptions_max: 0, client_timeout: 0, full_after: 0, wildcard_full_after: 0 };
        Self { state: Mutex::new(State { lite: Lite::default(), policy }), used: AtomicBool::new(false) }
    }
}

impl LiteEvents {
    /// Looks at the machine or changes it, under these settings.
    pub(crate) fn with<T>(&self, policy: &Policy, step: impl FnOnce(&mut Lite) -> T) -> T {
        let mut state = self.state.lock();
        state.policy = *policy;
        let done = step(&mut state.lite);
        self.used.store(!state.lite.is_unused(), Ordering::Release);
        done
    }

    /// Messages arrived in a queue.
    pub(crate) fn arrived(&self, queue: &str, polling: &Polling) {
        if !queue.starts_with(lite::PREFIX) || !self.used.load(Ordering::Acquire) {
            return;
        }
        let mut effects = Vec::new();
        {
            let State { lite, policy } = &mut *self.state.lock();
            lite.arrived(clock::now(), queue, policy, &mut effects);
        }
        for effect in effects {
            // An arrival tells of nothing else.
            if let Effect::Wake { client, group } = effect {
                polling.wake_client(&client, &group);
            }
        }
    }
}
