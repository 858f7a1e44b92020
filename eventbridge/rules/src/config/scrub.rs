//! `server.scrub`: how what is stored is read again to find decay.

use super::server::is;
use crate::{
    read::{Problems, Table, millis, size},
    yaml::Node,
};

/// The least rate, in bytes per second: a file of the log takes half an hour.
const RATE_MIN: u64 = 64 << 10;

/// The shortest and the longest interval, in milliseconds: a second, and ten years.
const EVERY_MS_MIN: u64 = 1000;
const EVERY_MS_MAX: u64 = 10 * 366 * 24 * 60 * 60 * 1000;

/// How what is stored is read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scrub {
    /// Most bytes per second.
    pub rate: u64,
    /// Each file of the log is read again after so long, in milliseconds.
    pub every_ms: u64,
}

impl Default for Scrub {
    fn default() -> Self {
        Self { rate: 8 << 20, every_ms: 7 * 24 * 60 * 60 * 1000 }
    }
}

pub(super) fn read(node: &Node, problems: &mut Problems) -> Option<Scrub> {
    if is(node, "false") {
        return None;
    }
    let mut scrub = Scrub::default();
    let mut table = Table::of(node, problems);
    if let Some(rate) = table.get("rate").and_then(|node| size(node, RATE_MIN, u64::MAX, problems)) {
        scrub.rate = rate;
    }
    if let Some(every) =
        table.get("every").and_then(|node| millis(node, EVERY_MS_MIN, EVERY_MS_MAX, problems))
    {
        scrub.every_ms = every;
    }
    table.finish(problems);
    Some(scrub)
}
