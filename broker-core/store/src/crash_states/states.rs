//! The states in which a crash may leave a disk: of what is not synced, any part.

use super::{
    Bounds,
    recorder::{Event, FileId, History, Image, Promise},
};
use crate::disk::Random;
use std::collections::BTreeMap;

/// The least that a crash keeps or loses as a whole.
#[derive(Debug)]
enum Unit<'h> {
    /// A sector's part of a write.
    Sector {
        file: FileId,
        offset: u64,
        bytes: &'h [u8],
    },
    /// A change of length.
    Length {
        file: FileId,
        len: u64,
    },
    /// A change of names.
    Create {
        path: &'h str,
        file: FileId,
    },
    Rename {
        from: &'h str,
        to: &'h str,
        file: FileId,
    },
    Remove {
        path: &'h str,
    },
}

/// A point in time: what is durable, and what may be.
#[derive(Default)]
pub(super) struct Point<'h> {
    files: Vec<Vec<u8>>,
    names: BTreeMap<&'h str, FileId>,
    /// The names as a running process sees them.
    seen: BTreeMap<&'h str, FileId>,
    units: Vec<Unit<'h>>,
    pub(super) promise: Promise,
}

impl<'h> Point<'h> {
    /// Calls `each` with every point of the history from which no smaller one differs by more than what a crash may lose anyway:
    /// before each sync and each promise, and at the end.
    pub(super) fn each<E>(
        history: &'h History,
        grain: u64,
        mut each: impl FnMut(&Point<'h>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut point = Self::default();
        for (file, (path, bytes)) in history.before.iter().enumerate() {
            point.files.push(bytes.clone());
            point.names.insert(path, file);
        }
        point.seen = point.names.clone();
        let mut is_new = false;
        for event in &history.events {
            if matches!(event, Event::Sync { .. } | Event::SyncDir { .. } | Event::Promise(_))
                && std::mem::take(&mut is_new)
            {
                each(&point)?;
            }
            is_new |= point.take(event, grain);
        }
        if is_new { each(&point) } else { Ok(()) }
    }

    /// Takes in what happened; whether there are states that were not there before.
    fn take(&mut self, event: &'h Event, grain: u64) -> bool {
        match event {
            Event::Create { path, file } => {
                self.files.resize(self.files.len().max(file + 1), Vec::new());
                self.seen.insert(path, *file);
                self.units.push(Unit::Create { path, file: *file });
            }
            Event::Write { file, offset, bytes } => {
                let end = offset + bytes.len() as u64;
                let mut at = *offset;
                while at < end {
                    let next = ((at / grain + 1) * grain).min(end);
                    let part = &bytes[(at - offset) as usize..(next - offset) as usize];
                    self.units.push(Unit::Sector { file: *file, offset: at, bytes: part });
                    at = next;
                }
            }
            Event::Length { file, len } => self.units.push(Unit::Length { file: *file, len: *len }),
            Event::Rename { from, to } => {
                let file = self.seen.remove(&**from).expect("a file that was renamed had this name");
                self.seen.insert(to, file);
                self.units.push(Unit::Rename { from, to, file });
            }
            Event::Remove { path } => {
                self.seen.remove(&**path);
                self.units.push(Unit::Remove { path });
            }
            Event::Sync { file } => {
                let of_file = |unit: &mut Unit<'h>| unit.file_changed() == Some(*file);
                for unit in self.units.extract_if(.., of_file) {
                    unit.change(&mut self.files[*file]);
                }
                return false;
            }
            Event::SyncDir { dir } => {
                let in_dir =
                    |unit: &mut Unit<'h>| unit.name_changed().is_some_and(|name| dir_of(name) == dir);
                for unit in self.units.extract_if(.., in_dir) {
                    unit.change_names(&mut self.names);
                }
                return false;
            }
            Event::Promise(promise) => {
                let is_new = self.promise != *promise;
                self.promise = promise.clone();
                return is_new;
            }
        }
        true
    }

    /// Whether all of this point's states are tried within the bounds.
    pub(super) fn is_exhausted(&self, bounds: &Bounds) -> bool {
        self.units.len() <= bounds.newest
    }

    /// Calls `each` with the states of this point, each once or oftener.
    pub(super) fn each_state<E>(
        &self,
        bounds: &Bounds,
        random: &mut Random,
        mut each: impl FnMut(Image, &[bool]) -> Result<(), E>,
    ) -> Result<(), E> {
        let all = self.units.len();
        let newest = all.min(bounds.newest);
        let older = all - newest;
        let backgrounds = if older == 0 { 1 } else { bounds.backgrounds };
        let mut kept = vec![false; all];
        for background in 0..backgrounds {
            for kept in &mut kept[..older] {
                // All of what is older, none of it, and then any.
                *kept = background == 0 || background > 1 && random.coin();
            }
            for combination in 0..1u64 << newest {
                for bit in 0..newest {
                    kept[older + bit] = combination >> bit & 1 == 1;
                }
                each(self.image(&kept), &kept)?;
            }
        }
        if older == 0 {
            return Ok(());
        }
        // The first few, all but one, and one alone.
        for at in (0..=all).step_by(all.div_ceil(bounds.singles).max(1)) {
            let rules: [&dyn Fn(usize) -> bool; 3] =
                [&|place| place < at, &|place| place != at, &|place| place == at];
            for rule in rules {
                (0..all).for_each(|place| kept[place] = rule(place));
                each(self.image(&kept), &kept)?;
            }
        }
        Ok(())
    }

    /// The files that are there when these units were kept.
    fn image(&self, kept: &[bool]) -> Image {
        let mut names = self.names.clone();
        let mut changed = BTreeMap::<FileId, Vec<u8>>::new();
        for unit in self.units.iter().zip(kept).filter(|(_, kept)| **kept).map(|(unit, _)| unit) {
            match unit.file_changed() {
                Some(file) => unit.change(changed.entry(file).or_insert_with(|| self.files[file].clone())),
                None => unit.change_names(&mut names),
            }
        }
        let contents = |file: FileId| changed.get(&file).unwrap_or(&self.files[file]).clone();
        names.into_iter().map(|(path, file)| (path.to_owned(), contents(file))).collect()
    }
}

impl<'h> Unit<'h> {
    fn file_changed(&self) -> Option<FileId> {
        match self {
            Self::Sector { file, .. } | Self::Length { file, .. } => Some(*file),
            Self::Create { .. } | Self::Rename { .. } | Self::Remove { .. } => None,
        }
    }

    fn name_changed(&self) -> Option<&'h str> {
        match self {
            Self::Create { path, .. } | Self::Remove { path } | Self::Rename { to: path, .. } => Some(path),
            Self::Sector { .. } | Self::Length { .. } => None,
        }
    }

    fn change(&self, contents: &mut Vec<u8>) {
        match self {
            Self::Sector { offset, bytes, .. } => {
                let from = *offset as usize;
                contents.resize(contents.len().max(from + bytes.len()), 0);
                contents[from..from + bytes.len()].copy_from_slice(bytes);
            }
            Self::Length { len, .. } => contents.resize(*len as usize, 0),
            Self::Create { .. } | Self::Rename { .. } | Self::Remove { .. } => {}
        }
    }

    fn change_names(&self, names: &mut BTreeMap<&'h str, FileId>) {
        match self {
            Self::Create { path, file } => {
                names.insert(path, *file);
            }
            Self::Rename { from, to, file } => {
                names.remove(from);
                names.insert(to, *file);
            }
            Self::Remove { path } => {
                names.remove(path);
            }
            Self::Sector { .. } | Self::Length { .. } => {}
        }
    }
}

fn dir_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}
