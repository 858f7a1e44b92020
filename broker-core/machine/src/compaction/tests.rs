use super::*;
use proptest::prelude::*;

#[test]
fn files_end_as_rocketmqs_do() {
    // The defaults: 10 MiB of index, 100 MiB of log.
    let sizes = FileSizes::new(100 << 20, 10 << 20);
    assert_eq!((sizes.bytes, sizes.records), (10 * (227_951 * 46), 227_950));
    let small = FileSizes::new(4600, 460);
    assert_eq!((small.bytes, small.records), (11 * 460, 9));
    assert_eq!(FileSizes::new(1, 460).bytes, 5 * 460);
    assert_eq!(FileSizes::new(4700, 460).bytes, 10 * 460);
    assert_eq!(FileSizes::new(0, 0).records, 1);
    let closed = |sizes, records: &[u32]| {
        let mut files = Files::default();
        for (offset, size) in (0..).zip(records) {
            files.step(sizes, offset, *size);
        }
        files.closed()
    };
    assert_eq!(closed(small, &[100; 9]), 0);
    assert_eq!(closed(small, &[100; 10]), 9);
    assert_eq!(closed(small, &[100; 19]), 18);
    assert_eq!(closed(small, &[3000, 2000, 60]), 2, "by bytes: a file has 5,060, of which 8 stay free");
    assert_eq!(closed(small, &[9000, 9000]), 1);
}

#[test]
fn keys_are_bounded() {
    let mut newest = Newest::new(2 * ENTRY_BYTES + 2);
    assert_eq!((newest.put("a", 0), newest.put("b", 1), newest.put("c", 2)), (Ok(()), Ok(()), Err(Full)));
    assert_eq!(newest.put("a", 3), Ok(()));
    assert!(!newest.retains("a", 0, true) && newest.retains("a", 3, true) && !newest.retains("a", 3, false));
    assert!(newest.retains("c", 2, true), "of another stretch");
    assert_eq!(Newest::new(0).put("long", 0), Ok(()));
}

/// Key and whether there is a body.
type Message = (u8, bool);

/// What readers see of the first `end` messages, as it is meant.
fn meant(messages: &[Message], end: usize) -> Vec<u64> {
    let newest = |at: usize| messages[at + 1..end].iter().all(|(key, _)| *key != messages[at].0);
    (0..end).filter(|at| messages[*at].1 && newest(*at)).map(|at| at as u64).collect()
}

/// One pass: from what is compacted up to `end`, or as far as there is room for keys.
fn pass(messages: &[Message], before: &Kept, end: u64, bytes_max: usize) -> Kept {
    let mut newest = Newest::new(bytes_max);
    let mut end = end;
    for offset in before.end()..end {
        if newest.put(&messages[offset as usize].0.to_string(), offset).is_err() {
            end = offset;
            break;
        }
    }
    let mut kept = Kept::nothing_of(0, end);
    let old = all(before).into_iter();
    for offset in old.chain(before.end()..end) {
        let (key, has_body) = messages[offset as usize];
        if newest.retains(&key.to_string(), offset, has_body) {
            kept.keep(offset);
        }
    }
    kept
}

fn all(kept: &Kept) -> Vec<u64> {
    let mut offsets = Vec::new();
    while let Some(run) = kept.run_from(offsets.last().map_or(0, |last| last + 1)) {
        offsets.extend(run);
    }
    offsets
}

proptest! {
    /// Whatever the passes were, what is seen depends only on up to where they went.
    #[test]
    fn the_newest_of_each_key_is_seen(
        messages in proptest::collection::vec((0..20u8, proptest::bool::weighted(0.9)), 0..300),
        ends in proptest::collection::vec(0..300usize, 1..6),
        keys_max in 1..30usize,
    ) {
        let mut kept = Kept::default();
        for end in ends {
            let end = end.min(messages.len()) as u64;
            while kept.end() < end {
                kept = pass(&messages, &kept, end, keys_max * (ENTRY_BYTES + 2));
                prop_assert_eq!(all(&kept), meant(&messages, kept.end() as usize));
            }
        }
    }
}

#[test]
fn a_part_may_begin_anywhere() {
    let mut kept = Kept::nothing_of(100, 300);
    for offset in [100, 101, 163, 164, 165, 299] {
        kept.keep(offset);
    }
    assert_eq!(kept.run_from(0), Some(100..102));
    assert_eq!(kept.run_from(102), Some(163..166));
    assert_eq!(kept.run_from(165), Some(165..166));
    assert_eq!(kept.run_from(166), Some(299..300));
    assert_eq!((kept.run_from(300), kept.run_from(u64::MAX)), (None, None));
    assert_eq!(Kept::default().run_from(0), None);
    let empty = Kept::nothing_of(7, 3);
    assert_eq!((empty.end(), empty.run_from(0)), (3, None));
}
