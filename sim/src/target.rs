//! The target's behaviour: how it answers, and when.

use crate::random::Random;
use halley_delivery::Verdict;
use halley_model::Millis;
use std::time::Duration;

/// How an attempt will end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) at: Millis,
    /// Whether the target has the event, whatever it answers.
    pub(crate) has_it: bool,
    pub(crate) verdict: Verdict,
}

/// Draws an answer; a `kind` target accepts everything.
pub(crate) fn answer(now: Millis, kind: bool, random: &mut Random) -> Answer {
    let at = now + random.millis(1, 40);
    let retry = |reason: &str, retry_after| Verdict::Retry { reason: reason.to_owned(), retry_after };
    let (has_it, verdict) = match random.next() % 100 {
        _ if kind => (true, Verdict::Delivered),
        0..60 => (true, Verdict::Delivered),
        60..75 => (false, retry("answered 503", None)),
        75..83 => (false, retry("answered 429", Some(Duration::from_millis(random.between(1, 200))))),
        // It has the event, but the answer is lost.
        83..93 => (true, retry("no answer", None)),
        _ => (false, Verdict::Reject { reason: "answered 400".to_owned() }),
    };
    Answer { at, has_it, verdict }
}
