//! Removing what is not needed to restore any moment.

use super::{LOG, Manifest, ManifestError, manifests};
use crate::objects::Objects;
use halley_model::Millis;
use std::collections::BTreeSet;

/// What was removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tidied {
    /// Manifests.
    pub manifests: usize,
    /// Pieces of the log.
    pub objects: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// Removes backups that are not needed to restore any moment, or only for moments before `oldest`; then what lies in the place
/// and belongs to none. Nobody may back up to the place meanwhile.
pub fn tidy(to: &dyn Objects, oldest: Option<Millis>) -> Result<Tidied, ManifestError> {
    let all = manifests(to)?;
    let mut done = Tidied::default();
    let mut needed = BTreeSet::new();
    for (at, manifest) in all.iter().enumerate() {
        if is_needed(&all, at, oldest) {
            needed.extend(manifest.stretches.iter().map(super::Stretch::name));
        } else {
            to.remove(&manifest.name())?;
            done.manifests += 1;
        }
    }
    // Manifests first: none ever names what is gone.
    for object in to.list(LOG)?.iter().filter(|object| !needed.contains(&object.name)) {
        to.remove(&object.name)?;
        done.objects += 1;
        done.bytes += object.len;
    }
    Ok(done)
}

/// A later backup of a log that begins at the same place has all that this one has. But where a log had lost its beginning, it is
/// known to be whole only from its oldest such backup on.
fn is_needed(all: &[Manifest], at: usize, oldest: Option<Millis>) -> bool {
    let begin = all[at].begin;
    let Some(next) = all.get(at + 1) else { return true };
    if oldest.is_some_and(|oldest| next.taken <= oldest) {
        return false;
    }
    let is_first = at.checked_sub(1).is_none_or(|before| all[before].begin != begin);
    next.begin != begin || (is_first && begin > 0)
}
