//! Wall-clock milliseconds that never go back while the process runs, as the delivery machine needs them.

use halley_model::Millis;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// The wall clock at one moment, and a monotonic clock from there on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    wall: Millis,
    started: Instant,
}

impl Clock {
    /// Takes the time once.
    pub(crate) fn start() -> Self {
        let wall =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as Millis);
        Self { wall, started: Instant::now() }
    }

    pub(crate) fn now(&self) -> Millis {
        self.wall + self.started.elapsed().as_millis() as Millis
    }

    /// When `due` is.
    pub(crate) fn at(&self, due: Millis) -> Instant {
        let millis = u64::try_from(due - self.wall).unwrap_or(0);
        // One more, since whole milliseconds of elapsed time are what counts.
        self.started + Duration::from_millis(millis)
    }
}
