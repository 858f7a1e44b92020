//! `kill -9` under load: what was acknowledged is there afterwards.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests start processes and read files")]

mod common;

use common::{Server, Sink, eventually, try_http};
use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

#[test]
fn acknowledged_events_survive_kill_9_under_load() {
    let sink = Sink::start();
    let config = format!(
        "targets: {{sink: {{http: {{url: \"http://{}/\"}}}}}}\nrules:\n  - {{name: r, from: {{bus: default}}, to: sink}}\n",
        sink.address
    );
    let mut server = Server::start(&config);
    let acknowledged = Arc::new(Mutex::new(BTreeSet::new()));
    for round in 0..5 {
        let stop = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let (stop, acknowledged, ingress) = (stop.clone(), acknowledged.clone(), server.ingress);
                thread::spawn(move || {
                    for number in 0.. {
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                        let id = format!("{round}-{writer}-{number}");
                        let headers = [
                            ("ce-specversion", "1.0"),
                            ("ce-id", &id),
                            ("ce-source", "/s"),
                            ("ce-type", "t"),
                        ];
                        if try_http(ingress, "POST", "/", &headers, b"x")
                            .is_some_and(|answer| answer.status == 202)
                        {
                            acknowledged.lock().unwrap().insert(id);
                        }
                    }
                })
            })
            .collect();
        let enough = (round + 1) * 100;
        eventually("a load", || acknowledged.lock().unwrap().len() >= enough);
        server.kill();
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            writer.join().unwrap();
        }
        server.restart();
    }
    let acknowledged = acknowledged.lock().unwrap().clone();
    eventually("every acknowledged event at the sink", || {
        thread::sleep(Duration::from_millis(100));
        let ids: BTreeSet<_> = sink.ids().into_iter().collect();
        acknowledged.is_subset(&ids)
    });
}

#[test]
fn a_torn_tail_is_cut_and_what_was_acknowledged_stays() {
    let sink = Sink::start();
    sink.answer_always(Some("503"));
    let config = format!(
        "targets: {{sink: {{http: {{url: \"http://{}/\"}}}}}}\nrules:\n  - {{name: r, from: {{bus: default}}, to: sink, delivery: {{retry: {{backoff: {{initial: 20ms, max: 50ms}}, maxAttempts: 10000}}}}}}\n",
        sink.address
    );
    let mut server = Server::start(&config);
    for number in 0..20 {
        assert_eq!(server.post_event("/", &number.to_string(), "t").status, 202);
    }
    server.kill();
    // Garbage where the next frame would begin, as a torn write leaves it.
    let folder = server.dir.path().join("data/log");
    let mut segments: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    segments.retain(|path| path.extension().is_some_and(|extension| extension == "seg"));
    segments.sort();
    let path = segments.last().unwrap();
    let bytes = std::fs::read(path).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let file = std::fs::File::options().write(true).open(path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[0xAB; 777], end as u64 + 1).unwrap();
    sink.answer_always(None);
    server.restart();
    assert_eq!(server.post_event("/", "after", "t").status, 202);
    eventually("all events at the sink", || {
        let ids: BTreeSet<_> = sink.ids().into_iter().collect();
        (0..20).all(|number| ids.contains(&number.to_string())) && ids.contains("after")
    });
}
