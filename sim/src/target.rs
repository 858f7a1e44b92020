//! A target: what it does with a request, and what its sender learns.

use crate::{faults::Fault, random::Random, scene::Scene};
use halley_delivery::Verdict;
use halley_model::Millis;
use std::time::Duration;

/// How many of a hundred requests a fault strikes while it lasts.
const STRUCK_PERCENT: u64 = 80;

/// A target. It lives outside of the process and knows nothing of its crashes.
pub(crate) struct Target {
    /// When which fault lasts.
    troubles: Vec<(Fault, Millis, Millis)>,
}

/// What a target does with a request.
pub(crate) struct Done {
    /// It has the event now.
    pub(crate) accepted: bool,
    /// What it answers, `None` where it does not.
    pub(crate) answer: Option<Verdict>,
}

impl Target {
    /// A target whose times of trouble are drawn.
    pub(crate) fn draw(scene: &mut Scene) -> Self {
        let mut troubles = Vec::new();
        let end = scene.now + scene.plan.chaos;
        let faults = scene.plan.faults;
        for fault in Fault::OF_TARGETS.into_iter().filter(|fault| faults.has(*fault)) {
            for _ in 0..scene.random.between(1, 3) {
                let from = scene.random.millis(scene.now, end);
                troubles.push((fault, from, from + scene.random.millis(200, 4_000)));
            }
        }
        Self { troubles }
    }

    /// A request arrives.
    pub(crate) fn receive(&self, scene: &mut Scene, poison: bool) -> Done {
        let now = scene.now;
        let trouble = self.troubles.iter().find(|(_, from, to)| (*from..*to).contains(&now));
        if let Some((fault, ..)) = trouble
            && !scene.healed
            && scene.random.percent(STRUCK_PERCENT)
        {
            scene.coverage.strike(*fault);
            return struck(*fault, &mut scene.random);
        }
        // Who rejects an event does so for ever.
        if poison && scene.plan.faults.has(Fault::Rejections) {
            scene.coverage.strike(Fault::Rejections);
            let answer = Verdict::Reject { reason: "HTTP 400".to_owned() };
            return Done { accepted: false, answer: Some(answer) };
        }
        Done { accepted: true, answer: Some(Verdict::Delivered) }
    }
}

fn struck(fault: Fault, random: &mut Random) -> Done {
    let retry = |reason: &str, retry_after| Verdict::Retry { reason: reason.to_owned(), retry_after };
    let answer = match fault {
        Fault::Errors => retry(random.pick(&["HTTP 500", "HTTP 503"]), None),
        Fault::Throttling => {
            let wait = Duration::from_millis(random.between(0, 4_000));
            retry("HTTP 429", Some(wait))
        }
        Fault::Outage => retry("connection refused", None),
        _ => return Done { accepted: random.percent(50), answer: None },
    };
    Done { accepted: false, answer: Some(answer) }
}
