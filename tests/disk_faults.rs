//! A disk that fails, and one that is too slow, below the whole process (`strace` injects the faults).

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests start processes and read files")]

mod common;

use common::{
    Server, Sink, eventually,
    fault::{Fault, SYNCS, WRITES},
};
use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

/// After a failed write or sync nothing is acknowledged, the process says why and ends, and what was acknowledged before is
/// there when it comes back.
fn a_failing_disk_ends_it(durability: &str, calls: &str) {
    let sink = Sink::start();
    let config = format!(
        "targets: {{sink: {{http: {{url: \"http://{}/\"}}}}}}\nbuses: {{b: {{queues: 1}}}}\nrules: [{{name: r, from: {{bus: b}}, to: sink}}]\n",
        sink.address
    );
    let mut server = Server::start_durable(durability, &config);
    for id in ["1", "2", "3"] {
        assert_eq!(server.post_event("/b", id, "t").status, 202);
    }
    let Some(fault) = Fault::inject(server.pid(), calls, "error=EIO") else { return };
    // The process may be gone before it has answered.
    if let Some(answer) = server.try_post_event("/b", "lost", "t") {
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert!(answer.header("retry-after").is_some());
    }
    assert!(!server.wait().success(), "a store that failed is not an orderly end");
    drop(fault);
    assert!(server.log().contains("the store stopped"), "{}", server.log());
    server.restart();
    assert_eq!(server.post_event("/b", "4", "t").status, 202);
    eventually("everything acknowledged to arrive", || {
        let ids = sink.ids();
        ["1", "2", "3", "4"].iter().all(|id| ids.iter().any(|seen| seen == id))
    });
}

#[test]
fn a_failed_write_ends_it() {
    a_failing_disk_ends_it("os", WRITES);
}

#[test]
fn a_failed_sync_ends_it() {
    a_failing_disk_ends_it("sync", SYNCS);
}

#[test]
fn a_slow_disk_is_told_to_clients_and_nothing_else_suffers() {
    let server = Server::start("");
    let Some(fault) = Fault::inject(server.pid(), WRITES, "delay_enter=300ms") else { return };
    let body = vec![b'x'; 4_000_000];
    let headers = [
        ("ce-specversion", "1.0"),
        ("ce-id", "1"),
        ("ce-source", "/s"),
        ("ce-type", "t"),
        ("content-type", "a/b"),
    ];
    let (accepted, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                let answer = server.post("/", &headers, &body);
                match answer.status {
                    202 => accepted.fetch_add(1, Ordering::Relaxed),
                    429 => {
                        assert!(answer.header("retry-after").is_some());
                        refused.fetch_add(1, Ordering::Relaxed)
                    }
                    other => panic!("{other}: {}", answer.text()),
                };
            });
        }
    });
    let (accepted, refused) = (accepted.into_inner(), refused.into_inner());
    assert!(accepted > 0 && refused > 0, "{accepted} accepted, {refused} refused");
    drop(fault);
    assert_eq!(server.post_event("/", "2", "t").status, 202);
    let stored = server.metric("halley_log_records_total") as usize;
    assert!(stored > accepted, "{stored} records of {accepted} accepted events");
}

/// How often the thread that writes the log syncs while `work` is done; `None` without `strace`.
fn syncs_of_the_log(server: &Server, work: impl FnOnce()) -> Option<usize> {
    let tasks = format!("/proc/{}/task", server.pid());
    let log = std::fs::read_dir(&tasks).unwrap().map(|task| task.unwrap().file_name()).find(|task| {
        let name = std::fs::read_to_string(format!("{tasks}/{}/comm", task.display()));
        name.is_ok_and(|name| name.trim() == "log")
    });
    let log = log.expect("the log has a thread").into_string().unwrap();
    let calls = server.dir.path().join("calls");
    let trace = Fault::watch(server.pid(), "fdatasync", &calls)?;
    work();
    drop(trace);
    let calls = std::fs::read_to_string(calls).unwrap();
    Some(calls.lines().filter(|line| line.split(' ').next() == Some(&log)).count())
}

#[test]
fn what_need_not_be_synced_is_not_waited_for() {
    let config = "buses: {fast: {durability: os}, safe: {durability: sync}, usual: {}}\n";
    for (durability, usual) in [("sync", 3), ("os", 0)] {
        let server = Server::start_durable(durability, config);
        let post = |bus: &str| {
            for id in ["1", "2", "3"] {
                assert_eq!(server.post_event(bus, id, "t").status, 202);
            }
        };
        let Some(of_fast) = syncs_of_the_log(&server, || post("/fast")) else { return };
        assert_eq!(of_fast, 0, "{durability}");
        assert_eq!(syncs_of_the_log(&server, || post("/safe")), Some(3), "{durability}");
        assert_eq!(syncs_of_the_log(&server, || post("/usual")), Some(usual), "{durability}");
    }
}
