//! A full disk refuses clearly, keeps what it has, and is no reason to restart.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests start processes and read files")]

mod common;

use common::{Server, eventually};
use std::{path::Path, process::Command};

/// A file system in memory, unmounted when dropped.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    /// `None` where only root may mount, which is said.
    fn mount(at: &'a Path, size: &str) -> Option<Self> {
        let mounted =
            run("mount", &["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs", at.to_str().unwrap()]);
        if !mounted {
            eprintln!("skipped: a small file system, run as root");
            assert!(std::env::var_os("CI").is_none(), "CI runs as root");
            return None;
        }
        Some(Self(at))
    }

    fn resize(&self, size: &str) {
        assert!(run("mount", &["-o", &format!("remount,size={size}"), self.0.to_str().unwrap()]));
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        run("umount", &["-l", self.0.to_str().unwrap()]);
    }
}

fn run(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}

#[test]
fn a_full_disk_refuses_and_goes_on_when_there_is_room() {
    let mount = tempfile::tempdir().unwrap();
    // Room for two segments of 128 MiB and a little, not for a third.
    let Some(disk) = SmallDisk::mount(mount.path(), "300m") else { return };
    // Nothing goes to make room.
    let mut server =
        Server::start_in(mount.path(), "  retention: {disk: {clean: 100%, forced: 100%, refuse: 100%}}\n");
    let body = vec![b'x'; 4_000_000];
    let headers = [
        ("ce-specversion", "1.0"),
        ("ce-id", "1"),
        ("ce-source", "/s"),
        ("ce-type", "t"),
        ("content-type", "a/b"),
    ];
    let mut stored = 0;
    let refused = loop {
        let answer = server.post("/", &headers, &body);
        if answer.status != 202 {
            break answer;
        }
        stored += 1;
        assert!(stored < 100, "300 MiB hold fewer events");
    };
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(refused.header("retry-after").is_some() && refused.text().contains("full"), "{}", refused.text());
    // Small events are refused too, since the last segment may have no room for them; the server stays healthy.
    assert_eq!(common::http(server.admin, "GET", "/healthz", &[], b"").status, 200);

    disk.resize("900m");
    eventually("room again", || server.post("/", &headers, &body).status == 202);
    server.kill();
    server.restart();
    assert_eq!(server.post("/", &headers, &body).status, 202);
}
