//! What other tasks leave for a connection: whole frames to write, and parked pulls to look at again.

use bytes::Bytes;
use parking_lot::Mutex;
use std::mem;
use tokio::sync::Notify;

/// The letter box of one connection. Anyone may leave something; the connection's own task empties it.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    letters: Mutex<Letters>,
    notify: Notify,
}

/// The contents of an [`Outbox`].
#[derive(Debug, Default)]
pub(crate) struct Letters {
    /// Complete frames, each in one or several parts, in order.
    pub(crate) frames: Vec<Bytes>,
    /// Tokens of parked pulls whose queue has new records.
    pub(crate) woken: Vec<u64>,
}

impl Outbox {
    /// Leaves the parts of one or more complete frames.
    pub(crate) fn send(&self, parts: impl IntoIterator<Item = Bytes>) {
        self.letters.lock().frames.extend(parts);
        self.notify.notify_one();
    }

    /// Tells that a parked pull may find records now.
    pub(crate) fn wake_parked(&self, token: u64) {
        self.letters.lock().woken.push(token);
        self.notify.notify_one();
    }

    /// Ends when something was left.
    pub(crate) async fn arrived(&self) {
        self.notify.notified().await;
    }

    /// Empties the box.
    pub(crate) fn take(&self) -> Letters {
        mem::take(&mut *self.letters.lock())
    }
}
