//! What a seed decides before its run begins: the load, the rules, the targets, and which faults are on.

use crate::{
    faults::{Fault, Switches},
    message::Sizes,
    random::Random,
};
use halley_delivery::{Backoff, Growth, Jitter, Limits, Policy};
use halley_model::Millis;
use halley_store::Durability;
use std::{fmt, sync::Arc, time::Duration};

/// Tags of events; a rule matches some of them.
pub(crate) const TAGS: u8 = 4;

/// Everything a seed decides.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) durability: Durability,
    pub(crate) segment_bytes: u64,
    pub(crate) tail_bytes: usize,
    /// Queues of the bus.
    pub(crate) queues: u32,
    /// Different order keys of events.
    pub(crate) keys: u64,
    pub(crate) sizes: Sizes,
    pub(crate) producers: usize,
    /// Longest pause between two sends of a producer.
    pub(crate) send_gap_max: Millis,
    /// Most events sent at once, all or nothing.
    pub(crate) group_max: u64,
    /// Longest time until the log's thread comes round.
    pub(crate) log_gap_max: Millis,
    /// Pauses between rounds of the background work.
    pub(crate) flush_gap: Millis,
    pub(crate) state_gap: Millis,
    pub(crate) read_gap: Millis,
    /// Pause between rounds of a group that pops; no such group in other seeds.
    pub(crate) pop_gap: Option<Millis>,
    /// How often the failing group tries a message again; no such group in other seeds.
    pub(crate) tries_max: Option<i32>,
    /// Pause between rounds of the removal of old segments; nothing is removed in other seeds.
    pub(crate) retain_gap: Option<Millis>,
    pub(crate) time_gap: Millis,
    /// How many of a hundred sends are of a message that waits.
    pub(crate) waiting_percent: u64,
    pub(crate) targets: Vec<TargetPlan>,
    pub(crate) rules: Vec<RulePlan>,
    pub(crate) faults: Switches,
    /// How often a timed fault that is on strikes, at most.
    pub(crate) strikes_max: u64,
    /// How many of a hundred crashes are followed by another one soon after the restart.
    pub(crate) crash_again_percent: u64,
    /// Length of the part of the run with faults.
    pub(crate) chaos: Millis,
}

/// A target.
#[derive(Debug, Clone)]
pub(crate) struct TargetPlan {
    pub(crate) limits: Limits,
    /// Longest time that a request or an answer travels.
    pub(crate) latency_max: Millis,
    /// How long an answer is waited for.
    pub(crate) timeout: Millis,
}

/// A rule.
#[derive(Debug, Clone)]
pub(crate) struct RulePlan {
    pub(crate) target: usize,
    /// One bit per tag that matches.
    pub(crate) tags: u8,
    /// Whether events of one key are delivered in order.
    pub(crate) ordered: bool,
    pub(crate) policy: Arc<Policy>,
}

impl RulePlan {
    pub(crate) fn matches(&self, tag: u8) -> bool {
        self.tags & 1 << tag != 0
    }
}

impl Plan {
    /// What `seed` decides.
    pub(crate) fn of(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x4861_6C6C_6579);
        // Some seeds are about the log alone: no deliveries, short histories, many crashes.
        // What waits is drawn apart, so that seeds without it keep the histories that they had before.
        let mut waits = Random::new(seed ^ 0x5761_6974);
        // So are removals.
        let removes = [0, 3, 5].contains(&(seed % 8));
        let retain_gap = removes.then(|| Random::new(seed ^ 0x7265_6D6F_7665).millis(50, 800));
        if seed % 8 == 4 {
            return Self::of_liars(seed, &mut random);
        }
        if random.percent(30) {
            return Self { retain_gap, ..Self::of_log(&mut random) };
        }
        // So are pops.
        let pop_gap = seed.is_multiple_of(3).then(|| Random::new(seed ^ 0x0070_6F70).millis(20, 300));
        // And failures.
        let tries_max = (seed % 3 == 1).then(|| Random::new(seed ^ 0x6661_696C).between(0, 4) as i32);
        let mut plan =
            Self { pop_gap, tries_max, retain_gap, ..Self::of_deliveries(&mut random, &mut waits) };
        if removes {
            // So that there is something to remove.
            plan.segment_bytes = 16 << 10;
        }
        plan.faults.set(Fault::SlowDisk, seed % 8 == 2 || seed % 8 == 7);
        plan
    }

    /// The log alone, on a device that lies in one way.
    fn of_liars(seed: u64, random: &mut Random) -> Self {
        let mut plan = Self { durability: Durability::Sync, strikes_max: 12, ..Self::of_log(random) };
        // Other faults of the disk would take the lies' place.
        for fault in [Fault::SwitchOff, Fault::FailedSync, Fault::FailedWrite, Fault::CrashWhileOpening] {
            plan.faults.set(fault, false);
        }
        plan.faults.set(Fault::PowerCut, true);
        plan.faults.set(Fault::LIES[(seed / 8 % 3) as usize], true);
        plan
    }

    fn of_log(random: &mut Random) -> Self {
        let base = random.between(80, 700);
        let sizes = match random.between(0, 3) {
            0 => Sizes::Varied(900),
            1 => Sizes::Equal(base),
            _ => Sizes::Aligned(base),
        };
        Self {
            durability: random.pick(&[Durability::Sync, Durability::Os]),
            segment_bytes: random.pick(&[4 << 10, 8 << 10]),
            tail_bytes: random.pick(&[0, 4 << 10, 1 << 20]),
            queues: random.pick(&[1, 1, 2]),
            keys: 4,
            sizes,
            producers: 1,
            send_gap_max: random.pick(&[20, 100]),
            group_max: random.pick(&[1, 1, 3]),
            log_gap_max: random.pick(&[0, 3, 30]),
            flush_gap: random.pick(&[500, 3_000]),
            state_gap: 5_000,
            read_gap: random.millis(20, 400),
            pop_gap: None,
            tries_max: None,
            retain_gap: None,
            time_gap: 1_000,
            waiting_percent: 0,
            targets: Vec::new(),
            rules: Vec::new(),
            faults: switches(random, 50),
            strikes_max: 6,
            crash_again_percent: 60,
            chaos: random.millis(2_000, 10_000),
        }
    }

    fn of_deliveries(random: &mut Random, waits: &mut Random) -> Self {
        let targets: Vec<_> = (0..random.between(1, 2)).map(|_| TargetPlan::draw(random)).collect();
        let rules: Vec<_> =
            (0..random.between(1, 3)).map(|_| RulePlan::draw(random, targets.len())).collect();
        Self {
            durability: random.pick(&[Durability::Sync, Durability::Os]),
            segment_bytes: random.pick(&[16 << 10, 32 << 10, 64 << 10]),
            tail_bytes: random.pick(&[0, 8 << 10, 1 << 20]),
            queues: random.pick(&[1, 2, 3]),
            keys: random.between(1, 6),
            sizes: Sizes::Varied(random.pick(&[50, 400, 1_500])),
            producers: random.pick(&[1, 2]),
            send_gap_max: random.millis(40, 400),
            group_max: random.between(1, 4),
            log_gap_max: random.pick(&[0, 5, 40]),
            flush_gap: random.pick(&[500, 500, 3_000]),
            state_gap: random.pick(&[200, 1_000, 3_000]),
            read_gap: random.millis(50, 1_000),
            pop_gap: None,
            tries_max: None,
            retain_gap: None,
            time_gap: waits.millis(5, 100),
            waiting_percent: waits.pick(&[0, 0, 30, 60]),
            targets,
            rules,
            faults: switches(random, 50),
            strikes_max: 3,
            crash_again_percent: 30,
            chaos: random.millis(5_000, 20_000),
        }
    }

    /// The streams: each rule reads each queue of the bus.
    pub(crate) fn streams(&self) -> impl Iterator<Item = (usize, u32)> + use<> {
        let queues = self.queues;
        (0..self.rules.len()).flat_map(move |rule| (0..queues).map(move |queue| (rule, queue)))
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?}, segments of {} KiB, {} queues, {} targets, {} rules, {:?}; faults: {}",
            self.durability,
            self.segment_bytes >> 10,
            self.queues,
            self.targets.len(),
            self.rules.len(),
            self.sizes,
            self.faults
        )
    }
}

impl TargetPlan {
    fn draw(random: &mut Random) -> Self {
        let inflight_max = random.pick(&[1, 2, 4, 16]);
        let open_max = random.pick(&[2, 8, 60]);
        Self {
            limits: Limits { inflight_max, open_max },
            latency_max: random.pick(&[1, 10, 60]),
            timeout: random.millis(300, 3_000),
        }
    }
}

impl RulePlan {
    fn draw(random: &mut Random, targets: usize) -> Self {
        let millis = |random: &mut Random, low, high| Duration::from_millis(random.between(low, high));
        let policy = Policy {
            attempts_max: random.pick(&[1, 2, 4, 8, 1_000]),
            age_max: random.pick(&[Duration::from_secs(3), Duration::from_secs(24 * 3600)]),
            backoff: Backoff {
                initial: millis(random, 10, 400),
                max: millis(random, 500, 8_000),
                growth: random.pick(&[Growth::Exponential, Growth::Linear]),
                jitter: random.pick(&[Jitter::Full, Jitter::None]),
            },
            retry_after_max: random.pick(&[Duration::ZERO, Duration::from_secs(2), Duration::from_secs(20)]),
        };
        Self {
            target: random.between(0, targets as u64 - 1) as usize,
            tags: random.pick(&[0b1111, 0b0111, 0b0010, 0b1010]),
            ordered: random.percent(50),
            policy: Arc::new(policy),
        }
    }
}

fn switches(random: &mut Random, percent: u64) -> Switches {
    let mut switches = Switches::default();
    for fault in Fault::ALL.into_iter().take(Fault::OF_ALL_SEEDS) {
        switches.set(fault, random.percent(percent));
    }
    switches
}
