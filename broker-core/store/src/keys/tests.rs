//! Whatever is stored, however files are lost or damaged: a search gives what reading the whole log would.

use super::*;
use crate::{
    Durability, Opened, Options,
    disk::{Crash, DiskFile, SimDisk},
    open,
};
use halley_model::{Millis, RecordBody, RecordView};
use std::{net::SocketAddr, ops::ControlFlow};

const NOW: Millis = 1_700_000_000_000;

fn reopen(disk: &SimDisk) -> Opened<SimDisk> {
    let host: SocketAddr = "127.0.0.1:10911".parse().unwrap();
    let options = Options {
        segment_bytes: 4096,
        staged_bytes_max: 64 << 10,
        tail_bytes: 2048,
        ..Options::new(Durability::Os, host)
    };
    open(Arc::new(disk.clone()), options, NOW).unwrap()
}

fn store(
    opened: &mut Opened<SimDisk>,
    now: Millis,
    topic: &str,
    system_flag: i32,
    properties: &str,
) -> LogOffset {
    let host = "127.0.0.1:5000".parse().unwrap();
    let properties = properties.replace('=', "\x01").replace(';', "\x02");
    let record = RecordBody {
        topic,
        queue: 0,
        flag: 0,
        system_flag,
        born: now,
        born_host: host,
        reconsume_times: 0,
        prepared_offset: 0,
        body: b"body",
        properties: properties.as_bytes(),
        dispatched: false,
    };
    let placed = opened.log.stage(now).unwrap().append(&record).unwrap();
    opened.io.run_once(now).unwrap();
    placed.log_offset
}

/// 150 records, one each millisecond, in two topics; about twenty segments.
fn fill(opened: &mut Opened<SimDisk>, catch_up_each: usize) {
    for number in 0..150usize {
        let topic = if number % 3 == 0 { "a" } else { "b" };
        let properties =
            format!("UNIQ_KEY=u{number};KEYS=k{} k{} every;TAGS=t{};", number % 7, number % 50, number % 2);
        store(opened, NOW + number as Millis, topic, 0, &properties);
        if number % catch_up_each == 0 {
            opened.keys.catch_up().unwrap();
        }
        opened.flusher.flush().unwrap();
    }
}

fn query(topic: &str, kind: KeyKind, key: &str) -> KeyQuery {
    let (topic, key) = (topic.to_owned(), key.to_owned());
    KeyQuery { topic, key, kind, begin: 0, end: Millis::MAX, records_max: 64, before: None }
}

fn offsets(matches: &KeyMatches) -> Vec<LogOffset> {
    matches.records.iter().map(|bytes| RecordView::parse(bytes).unwrap().log_offset()).collect()
}

/// By reading the whole log.
fn expected(reader: &LogReader<SimDisk>, query: &KeyQuery) -> Vec<LogOffset> {
    let mut all = Vec::new();
    let scanned = reader.scan(0, |record| {
        let wanted = record.stored() >= query.begin
            && record.stored() <= query.end
            && query.before.is_none_or(|before| record.log_offset() < before)
            && terms::is_found_by(record, &query.topic, query.kind, query.key.as_bytes());
        if wanted {
            all.push(record.log_offset());
        }
        ControlFlow::Continue(())
    });
    scanned.unwrap();
    all.split_off(all.len().saturating_sub(query.records_max))
}

#[track_caller]
fn check(opened: &Opened<SimDisk>) {
    let last = expected(&opened.reader, &query("a", KeyKind::Key, "every")).last().copied().unwrap();
    let mut searches = vec![query("a", KeyKind::Key, ""), query("c", KeyKind::Key, "every")];
    for topic in ["a", "b"] {
        for key in ["u0", "u97", "u149", "k44", "every", "t1"] {
            for kind in [KeyKind::Key, KeyKind::Tag] {
                let all = query(topic, kind, key);
                searches.push(KeyQuery { records_max: 3, ..all.clone() });
                searches.push(KeyQuery { begin: NOW + 90, end: NOW + 99, ..all.clone() });
                searches.push(KeyQuery { end: NOW + 17, records_max: 2, ..all.clone() });
                searches.push(KeyQuery { begin: NOW + 140, ..all.clone() });
                searches.push(KeyQuery { before: Some(last / 2), records_max: 5, ..all.clone() });
                searches.push(all);
            }
        }
    }
    for search in searches {
        let found = opened.keys.find(&search).unwrap();
        assert_eq!(offsets(&found), expected(&opened.reader, &search), "{search:?}");
        assert_eq!(found.unsearched, None);
    }
}

/// Looks at all older segments; how many there were.
fn tend(opened: &Opened<SimDisk>) -> usize {
    (0..).take_while(|_| opened.keys.tend_one().unwrap()).count()
}

fn files(disk: &SimDisk) -> Vec<String> {
    disk.paths().into_iter().filter(|path| path.ends_with(".keys")).collect()
}

#[test]
fn a_search_finds_what_the_log_holds() {
    for (catch_up_each, entries_max) in [(1, ENTRIES_MAX), (7, ENTRIES_MAX), (1000, ENTRIES_MAX), (3, 12)] {
        let disk = SimDisk::new(1);
        let mut opened = reopen(&disk);
        opened.keys.entries_max = entries_max;
        fill(&mut opened, catch_up_each);
        check(&opened);
        assert_eq!(files(&disk).len() + 1, opened.reader.segments(), "each sealed segment has its file");
        let found = opened.keys.find(&query("b", KeyKind::Key, "u149")).unwrap();
        assert_eq!(found.last_indexed, Some((offsets(&found)[0], NOW + 149)));
        drop(opened);
        disk.crash(Crash::Kill);
        let opened = reopen(&disk);
        check(&opened);
        assert_eq!(tend(&opened), opened.reader.segments() - 1);
        check(&opened);
    }
}

#[test]
fn what_happens_to_files_is_no_matter() {
    let disk = SimDisk::new(1);
    let mut opened = reopen(&disk);
    fill(&mut opened, 5);
    drop(opened);
    disk.crash(Crash::Kill);
    let paths = files(&disk);
    let whole: Vec<_> = paths.iter().map(|path| disk.contents(path).unwrap()).collect();
    for (number, path) in paths.iter().enumerate() {
        let len = whole[number].len() as u64;
        match number % 4 {
            0 => disk.remove(path).unwrap(),
            1 => disk.open(path).unwrap().truncate(len / 2).unwrap(),
            // Another segment's file, then single bytes.
            2 => disk.open(path).unwrap().write_at(0, &[&whole[0]]).unwrap(),
            _ => disk.open(path).unwrap().write_at(number as u64 * 97 % len, &[b"\xA5"]).unwrap(),
        }
    }
    let opened = reopen(&disk);
    check(&opened);
    tend(&opened);
    let again: Vec<_> = paths.iter().map(|path| disk.contents(path).unwrap()).collect();
    for number in 0..whole.len() {
        // Of what lies behind the header a search notices the damage, and a damaged byte may not even have changed.
        assert!(number % 4 == 3 || again[number] == whole[number], "a damaged file is made anew");
    }
    check(&opened);
}

#[test]
fn a_full_disk_costs_time_only() {
    let disk = SimDisk::new(1);
    let mut opened = reopen(&disk);
    fill(&mut opened, 1000);
    disk.set_capacity(Some(0));
    check(&opened);
    assert_eq!(files(&disk).len(), 0);
    disk.set_capacity(None);
    tend(&opened);
    assert_eq!(files(&disk).len() + 1, opened.reader.segments());
    check(&opened);
}

#[test]
fn messages_that_were_rolled_back_have_no_keys() {
    let disk = SimDisk::new(1);
    let mut opened = reopen(&disk);
    let prepared = store(&mut opened, NOW, "a", 4, "UNIQ_KEY=u;");
    store(&mut opened, NOW, "a", 12, "UNIQ_KEY=u;");
    let committed = store(&mut opened, NOW, "a", 8, "KEYS=u u;");
    let found = opened.keys.find(&query("a", KeyKind::Key, "u")).unwrap();
    assert_eq!(offsets(&found), [prepared, committed], "each once");
}

#[test]
fn a_forged_record_is_not_one() {
    let disk = SimDisk::new(1);
    let mut opened = reopen(&disk);
    let real = store(&mut opened, NOW, "a", 0, "KEYS=k;");
    let bytes = opened.reader.record_at(real).unwrap();
    let record = RecordView::parse(&bytes).unwrap();
    assert!(opened.reader.is_indexed(&record).unwrap());
    let mut forged = bytes.to_vec();
    // The next place, as a body might claim.
    forged[28..36].copy_from_slice(&(real + 1).to_be_bytes());
    assert!(!opened.reader.is_indexed(&RecordView::parse(&forged).unwrap()).unwrap());
}
