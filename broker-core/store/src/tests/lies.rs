//! Devices that lie. No store can promise that nothing is lost on one; what is promised is told in `docs/format/faults.md`:
//! nothing wrong is taken for right, and a loss is noticed as soon as two frames that were written later are there.

use super::*;
use crate::{
    OpenError,
    disk::{Crash, Random},
};
use std::collections::BTreeMap;

#[derive(Debug, Clone, Copy)]
enum Lie {
    Sync,
    Lost,
    Misdirected,
}

/// How histories with one lie ended.
#[derive(Debug, Default)]
struct Seen {
    /// The lie did no harm.
    harmless: u32,
    /// The store does not open and says where it is damaged, or a record cannot be read and says so.
    noticed: u32,
    /// So many histories lost records, and the store could not know.
    silent: u32,
    /// The most records that were sent since the lie, the lost one among them.
    silent_most: usize,
}

/// Sends one record per frame, lets one thing go wrong, cuts the power, and looks what readers are given.
fn lie(lie: Lie, seed: u64, seen: &mut Seen) {
    let options = Options { tail_bytes: 0, ..small(Durability::Sync) };
    let mut random = Random::new(seed);
    let disk = SimDisk::new(seed);
    let mut opened = reopen(&disk, &options);
    let mut known = BTreeMap::new();
    let mut struck = None;
    let lies_at = random.below(12);
    for number in 0..12 + random.below(8) {
        if number == lies_at {
            let nth = 1 + random.below(3);
            match lie {
                Lie::Sync => disk.lie_on_sync(nth),
                Lie::Lost => disk.lose_write(nth),
                Lie::Misdirected => disk.misdirect_write(nth),
            }
        }
        let payload = vec![number as u8; random.below(1200) as usize];
        let queue = random.below(2) as u32;
        let placed = store(&mut opened, "T", queue, &payload);
        known.insert((queue, placed.queue_offset), payload);
        if random.below(3) == 0 {
            opened.flusher.flush().unwrap();
        }
        if disk.faults_happened() > 0 {
            struck.get_or_insert(known.len());
        }
    }
    drop(opened);
    let sent = known.len();
    disk.crash(Crash::PowerCut);
    disk.heal();
    let opened = match open(Arc::new(disk.clone()), options, NOW) {
        Ok(opened) => opened,
        Err(OpenError::Damaged { .. }) => {
            seen.noticed += 1;
            return;
        }
        Err(error) => panic!("{lie:?}, seed {seed}: {error}"),
    };
    let mut noticed = false;
    for queue in 0..2 {
        let mut found = Vec::new();
        noticed |= opened.reader.lookup("T", queue, 0, usize::MAX, &mut found).is_err();
        for entry in found {
            let payload = known.remove(&(queue, entry.queue_offset)).expect("it was sent");
            match opened.reader.read(&entry) {
                Ok(record) => assert_eq!(RecordView::parse(&record).unwrap().body(), payload, "seed {seed}"),
                Err(_) => noticed = true,
            }
        }
    }
    let lost = known.len();
    if noticed {
        seen.noticed += 1;
    } else if lost > 0 {
        seen.silent += 1;
        let struck = struck.expect("nothing is lost without a lie");
        seen.silent_most = seen.silent_most.max(sent + 1 - struck);
    } else {
        seen.harmless += 1;
    }
}

#[test]
fn nothing_wrong_is_delivered_and_losses_are_noticed_soon() {
    for kind in [Lie::Sync, Lie::Lost, Lie::Misdirected] {
        let mut seen = Seen::default();
        (0..400).for_each(|seed| lie(kind, seed, &mut seen));
        println!("{kind:?}: {seen:?}");
        assert!(seen.noticed > 20 && seen.harmless > 0, "{kind:?}: {seen:?}");
        // A device whose cache is lost as a whole leaves nothing that could tell.
        assert!(matches!(kind, Lie::Sync) || seen.silent_most <= 3, "{kind:?}: {seen:?}");
    }
}
