//! Every state in which a crash may leave the disk, tried out, as CrashMonkey and ALICE do for file systems.
//!
//! A recording disk notes what short lives of a store do to it, and what the store had promised by then. For every point in
//! time each state is made that a crash may leave: of everything not synced any part, each sector of a write, each
//! change of a length and each change of a name by itself. Points at which nothing was taken away from what a crash may lose
//! need no states of their own: those of the next sync or promise hold them. On each state the store is opened, and must hold
//! what it promised; inspection must work on it. Of some states the recovery and the next send are recorded in turn, and
//! crash as well.
//!
//! Where the states of a point are too many, the newest units are tried in every combination, each with several choices of
//! the older ones, and so are the first few units, all but one, and one alone.

mod check;
mod life;
mod recorder;
mod states;

use crate::{Canary, Durability, Options, disk::Random};
use life::{Group, Life, Story, options};
use recorder::{History, Image, Promise};
use states::Point;
use std::{
    collections::BTreeSet,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// How far to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// So many unsynced units of a point, the newest, are tried in every combination; at most 20.
    pub newest: usize,
    /// With so many choices of the older ones: all, none, and some that are drawn; 2 at least.
    pub backgrounds: usize,
    /// So many times of the first few units, all but one, and one alone.
    pub singles: usize,
    /// Bytes of a sector.
    pub grains: &'static [u64],
    /// The recovery of one state of so many crashes, too; 0 for none.
    pub again_every: u64,
}

/// Planted bugs that this finds: those of writing, syncing and naming files.
#[cfg(feature = "canaries")]
pub const FINDS: [Canary; 6] = [
    Canary::AckBeforeSync,
    Canary::TailCrcSkipped,
    Canary::RenameUnsynced,
    Canary::LightQueuesForgotten,
    Canary::RemovedBeforeMark,
    Canary::SnapshotAheadOfLog,
];

impl Bounds {
    /// About two seconds in a debug build.
    pub const NARROW: Self = Self { newest: 2, backgrounds: 2, singles: 3, grains: &[512], again_every: 400 };
    /// Less than a minute in an optimized build.
    pub const WIDE: Self =
        Self { newest: 10, backgrounds: 3, singles: 64, grains: &[512, 4096], again_every: 100 };
    /// Of recoveries, within both.
    const AGAIN: Self = Self { newest: 3, backgrounds: 2, singles: 3, grains: &[], again_every: 0 };
}

/// What was tried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tried {
    /// Points in time, and how many of them with all their states.
    pub points: u64,
    /// See [`Tried::points`].
    pub exhausted: u64,
    /// Different states on which a store was opened.
    pub states: u64,
    /// How many of them are of a crash during recovery.
    pub again: u64,
}

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The life, what was synced when, and the sectors.
    pub life: String,
    /// The point, and which units that were not synced were kept.
    pub state: String,
    /// What was found.
    pub what: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}: {}", self.life, self.state, self.what)
    }
}

/// Tries all lives, with a bug planted or none. The same bounds give the same states.
pub fn run(bounds: &Bounds, canary: Option<Canary>) -> Result<Tried, Broken> {
    let mut trial = Trial { tried: Tried::default(), seen: BTreeSet::new(), random: Random::new(1) };
    for durability in [Durability::Sync, Durability::Os] {
        let options = planted(options(durability), canary);
        for story in Story::ALL {
            let life = format!("{story:?} under {durability:?}");
            let told = |what| Broken { life: life.clone(), state: "without a crash".to_owned(), what };
            let lived = caught(|| Life::live(story, &options)).map_err(told)?;
            let history = lived.recorder.take();
            for grain in bounds.grains.iter().copied() {
                trial.seen.clear();
                let life = format!("{life}, sectors of {grain} bytes");
                trial.history(&life, &history, &options, &[&lived.groups], (grain, bounds))?;
            }
        }
    }
    Ok(trial.tried)
}

fn planted(options: Options, canary: Option<Canary>) -> Options {
    #[cfg(feature = "canaries")]
    return Options { canary, ..options };
    #[cfg(not(feature = "canaries"))]
    return {
        assert_eq!(canary, None, "bugs can be planted with the feature `canaries` alone");
        options
    };
}

/// What is under way.
struct Trial {
    tried: Tried,
    /// States that were tried, by a hash.
    seen: BTreeSet<u64>,
    random: Random,
}

impl Trial {
    /// Tries all states of a history. A promise names one of the lists of groups.
    fn history(
        &mut self,
        life: &str,
        history: &History,
        options: &Options,
        lists: &[&[Group]],
        (grain, bounds): (u64, &Bounds),
    ) -> Result<(), Broken> {
        let mut number = 0;
        Point::each(history, grain, |point| {
            number += 1;
            self.tried.points += 1;
            self.tried.exhausted += u64::from(point.is_exhausted(bounds));
            let mut random = Random::new(self.random.next());
            point.each_state(bounds, &mut random, |image, kept| {
                if !self.seen.insert(hash_of(&image, &point.promise)) {
                    return Ok(());
                }
                self.tried.states += 1;
                self.tried.again += u64::from(bounds.again_every == 0);
                let state = || {
                    let kept: String = kept.iter().map(|kept| if *kept { '1' } else { '0' }).collect();
                    format!("point {number}, kept {kept}")
                };
                let groups = &lists[point.promise.list][..point.promise.staged];
                let again = bounds.again_every > 0 && self.tried.states.is_multiple_of(bounds.again_every);
                let before = again.then(|| image.clone());
                caught(|| check::check(image, options, groups, &point.promise)).map_err(|what| Broken {
                    life: life.to_owned(),
                    state: state(),
                    what,
                })?;
                match before {
                    None => Ok(()),
                    Some(before) => {
                        let life = format!("{life}, {}, opened again", state());
                        self.again(&life, before, options, groups, (&point.promise, grain))
                    }
                }
            })
        })
    }

    /// Records the recovery of this state, and lets it crash.
    fn again(
        &mut self,
        life: &str,
        image: Image,
        options: &Options,
        groups: &[Group],
        (promise, grain): (&Promise, u64),
    ) -> Result<(), Broken> {
        let lived = caught(|| {
            let promise = Promise { list: 0, ..promise.clone() };
            let mut life = Life::begin(image, options, groups.to_vec(), promise).map_err(life::told)?;
            life.recovered()?;
            life.send(&[200])?;
            life.flush()?;
            Ok(life)
        });
        let lived =
            lived.map_err(|what| Broken { life: life.to_owned(), state: "no crash".to_owned(), what })?;
        let history = lived.recorder.take();
        let seen = std::mem::take(&mut self.seen);
        // Until the recovery ended, more of the old groups may be found than it found.
        let done = self.history(life, &history, options, &[groups, &lived.groups], (grain, &Bounds::AGAIN));
        self.seen = seen;
        done
    }
}

fn hash_of(image: &Image, promise: &Promise) -> u64 {
    let mix = |hash: u64, word: u64| (hash ^ word).wrapping_mul(0x0100_0000_01B3).rotate_left(23);
    let files = image.iter().fold(0, |hash, (path, bytes)| {
        let crcs = u64::from(crc32fast::hash(path.as_bytes())) << 32 | u64::from(crc32fast::hash(bytes));
        mix(mix(hash, crcs), bytes.len() as u64)
    });
    let Promise { list, staged, must, begin, begin_or, snapshot } = promise;
    let counts = [*list as u64, *staged as u64, *must as u64, *begin];
    let options = [*begin_or, *snapshot].map(|at| at.map_or(0, |at| at + 1));
    counts.into_iter().chain(options).fold(files, mix)
}

/// What `act` gives; a failed assertion in it is an error like any other.
fn caught<T>(act: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(act)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        Err(format!("assertion: {}", text.unwrap_or_default()))
    })
}
