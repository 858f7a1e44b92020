//! Requests that wait for their replies.

use crate::Reply;
use parking_lot::Mutex;
use std::collections::HashMap;
use tokio::sync::oneshot;

/// The waiting requests of one connection by their numbers. After [`Pending::close`] none can wait any more.
#[derive(Debug)]
pub(crate) struct Pending {
    table: Mutex<Option<HashMap<i32, oneshot::Sender<Reply>>>>,
}

impl Pending {
    pub(crate) fn new() -> Self {
        Self { table: Mutex::new(Some(HashMap::new())) }
    }

    /// Waits for the reply under this number; `None` after the connection was lost.
    pub(crate) fn wait(&self, opaque: i32) -> Option<oneshot::Receiver<Reply>> {
        let (sender, receiver) = oneshot::channel();
        self.table.lock().as_mut()?.insert(opaque, sender);
        Some(receiver)
    }

    pub(crate) fn forget(&self, opaque: i32) {
        if let Some(table) = self.table.lock().as_mut() {
            table.remove(&opaque);
        }
    }

    /// A reply came; one that nobody waits for any more is dropped.
    pub(crate) fn complete(&self, opaque: i32, reply: Reply) {
        let waiting = self.table.lock().as_mut().and_then(|table| table.remove(&opaque));
        if let Some(waiting) = waiting {
            let _ = waiting.send(reply);
        }
    }

    /// The connection is lost: whoever waits is told.
    pub(crate) fn close(&self) {
        self.table.lock().take();
    }
}
