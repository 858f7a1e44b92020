//! The real process on real file systems that fail, with clients that send and read meanwhile: whatever happens, what was
//! acknowledged or delivered stays (`common::history` says what that means).
//!
//! `REAL_DISK_ROUNDS` says how often a process is killed and the power cut on each file system; `.ci/run` asks for more than is
//! the default. Needs root, `strace` and `xfsprogs`; for jumps of the clock `libfaketime`.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests start processes and read files")]

mod common;

use common::{
    Server,
    disk::{Disk, FileSystem},
    eventually,
    fault::{Fault, SYNCS, WRITES, missing},
    history::Violation,
    load::{End, Load, Shape, Shared, contents},
    remoting::Connection,
    run::create_topic,
    subject::{Subject, Trial},
};
use halley_wire::{BrokerCode, ResponseCode, Serialize};
use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

/// How often a process is killed on each file system.
fn kills() -> usize {
    std::env::var("REAL_DISK_ROUNDS").map_or(4, |rounds| rounds.parse().unwrap())
}

/// How often the power is cut on each file system.
fn cuts() -> usize {
    kills().div_ceil(2)
}

/// Bodies of a size that makes the log begin new files now and then.
fn shape() -> Shape {
    Shape { bytes: 4000, ..Shape::small("faults") }
}

/// Some number that differs from round to round, so that faults come at different moments.
fn some(round: usize) -> usize {
    50 + round * 7919 % 400
}

fn killed(file_system: FileSystem) {
    let Some(disk) = Disk::new(file_system) else { return };
    let mut trial = Trial::new(Subject::halley(&disk, "os", ""), shape());
    for round in 0..kills() {
        let load = trial.load(some(round));
        trial.subject.kill();
        load.stop();
        trial.subject.restart();
        trial.verdict(End::Probed).assert_kept((round + 1) * 50);
    }
    eprintln!("{file_system:?}, {} times kill -9: {}", kills(), trial.verdict(End::Probed));
}

#[test]
fn killed_under_load_on_ext4() {
    killed(FileSystem::Ext4);
}

#[test]
fn killed_under_load_on_xfs() {
    killed(FileSystem::Xfs);
}

fn power_cut(file_system: FileSystem) {
    let Some(disk) = Disk::new(file_system) else { return };
    let mut trial = Trial::new(Subject::halley(&disk, "sync", ""), shape());
    for round in 0..cuts() {
        let load = trial.load(some(round));
        trial.subject.cut_power(&disk);
        load.stop();
        trial.subject.restart();
        trial.verdict(End::Probed).assert_kept((round + 1) * 50);
    }
    eprintln!("{file_system:?}, {} power cuts: {}", cuts(), trial.verdict(End::Probed));
}

#[test]
fn the_power_is_cut_under_load_on_ext4() {
    power_cut(FileSystem::Ext4);
}

#[test]
fn the_power_is_cut_under_load_on_xfs() {
    power_cut(FileSystem::Xfs);
}

/// Otherwise the tests above would show nothing: what only the operating system had, the cut takes, and the checker sees it.
#[test]
fn a_power_cut_takes_what_was_not_synced() {
    for file_system in FileSystem::ALL {
        let Some(disk) = Disk::new(file_system) else { return };
        let mut trial = Trial::new(Subject::halley(&disk, "os", ""), shape());
        // The topic is synced by then.
        thread::sleep(Duration::from_millis(1500));
        let load = trial.load(500);
        trial.subject.cut_power(&disk);
        load.stop();
        trial.subject.restart();
        let verdict = trial.verdict(End::Probed);
        assert!(verdict.count(|violation| matches!(violation, Violation::Lost(_))) > 0, "{verdict}");
        assert!(verdict.count(|violation| matches!(violation, Violation::Vanished(..))) > 0, "{verdict}");
    }
}

/// The n-th call of the log's thread fails, and those behind it would not: who tried again would be told that all is well.
fn one_call_fails(durability: &str, calls: &str) {
    let Some(disk) = Disk::new(FileSystem::Ext4) else { return };
    let mut trial = Trial::new(Subject::halley(&disk, durability, ""), shape());
    for n in [1, 2, 5, 23, 60] {
        let Some(fault) = Fault::inject(trial.subject.pid(), calls, &format!("error=EIO:when={n}")) else {
            return;
        };
        let load = Load::start(trial.subject.broker(), &trial.shape, &trial.history);
        let Subject::Halley(server) = &mut trial.subject else { unreachable!("it is Halley") };
        eventually("the end of a store that failed", || server.ended().is_some());
        assert!(!server.wait().success(), "a store that failed is not an orderly end");
        assert!(server.log().contains("the store stopped"), "{}", server.log());
        drop(fault);
        load.stop();
        trial.subject.restart();
        trial.verdict(End::Probed).assert_kept(n);
    }
    eprintln!("{calls} failed: {}", trial.verdict(End::Probed));
}

#[test]
fn the_nth_write_fails() {
    one_call_fails("os", WRITES);
}

#[test]
fn the_nth_sync_fails() {
    one_call_fails("sync", SYNCS);
}

/// The medium fails under the log, as a thin volume without a block left does: a sync fails once, and the next one would succeed.
fn the_medium_fails(file_system: FileSystem) {
    let Some(disk) = Disk::with_every_block(file_system) else { return };
    let mut trial = Trial::new(Subject::halley(&disk, "sync", "  segment: 64MiB\n"), shape());
    assert!(trial.lose_medium(&disk), "a store that failed ends");
    let verdict = trial.verdict(End::Probed);
    verdict.assert_kept(100);
    assert!(verdict.acknowledged < 400, "the medium did not fail: {verdict}");
    eprintln!("{file_system:?}, the medium failed: {verdict}");
}

#[test]
fn the_medium_fails_under_ext4() {
    the_medium_fails(FileSystem::Ext4);
}

#[test]
fn the_medium_fails_under_xfs() {
    the_medium_fails(FileSystem::Xfs);
}

/// The disk is full when a file of the log ends, so that there is room for messages and neither for an index nor for a snapshot;
/// then in the log; then at a start. All that time readers are served, and with room again producers are, without a restart.
fn full(file_system: FileSystem) {
    let Some(disk) = Disk::new(file_system) else { return };
    // Where a file ends early there is a little room again, for a frame: for less than an index of 2,000 messages, or a snapshot
    // with 400 topics.
    let two_at_once = Shape { bytes: 8000, producers: 2, window: 1, ..shape() };
    let mut trial = Trial::new(Subject::halley(&disk, "sync", ""), two_at_once);
    for number in 0..400 {
        create_topic(trial.subject.broker(), &format!("one-of-many-topics-{number}"), "4", "6", "");
    }
    // The file that is written to and the next one have their space.
    disk.fill_but(0);
    let load = trial.load(1);
    eventually("a full log", || trial.refused() > 100);
    let Subject::Halley(server) = &trial.subject else { unreachable!("it is Halley") };
    eventually("a snapshot that finds no room", || server.log().contains("no snapshot was written"));
    let index = |disk: &Disk| {
        let files = fs::read_dir(disk.root().join("data/index")).unwrap();
        files.filter(|file| file.as_ref().unwrap().path().extension().is_some_and(|of| of == "idx")).count()
    };
    assert_eq!(index(&disk), 0, "there was no room for an index");
    load.stop();
    // More than a file of the log holds.
    trial.verdict(End::Known).assert_kept((20 << 20) / 8000);

    trial.subject.kill();
    trial.subject.restart();
    trial.verdict(End::Known).assert_kept(2000);
    let refused = trial.refused();
    let load = Load::start(trial.subject.broker(), &trial.shape, &trial.history);
    eventually("refusals after a start on a full disk", || trial.refused() > refused + 100);

    disk.make_room();
    trial.wait_for(1000);
    load.stop();
    eventually("an index", || index(&disk) > 0);
    trial.subject.kill();
    trial.subject.restart();
    let verdict = trial.verdict(End::Probed);
    verdict.assert_kept(2000);
    eprintln!("{file_system:?}, full: {verdict}");
}

#[test]
fn the_disk_is_full_on_ext4() {
    full(FileSystem::Ext4);
}

#[test]
fn the_disk_is_full_on_xfs() {
    full(FileSystem::Xfs);
}

#[test]
fn a_first_start_on_a_full_disk_says_so() {
    let Some(disk) = Disk::new(FileSystem::Ext4) else { return };
    disk.fill_but(0);
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("halley.yaml");
    let data = disk.root().join("data");
    fs::write(&config, format!("server: {{data: {}, namesrv: {{listen: \"127.0.0.1:0\"}}, broker: {{listen: \"127.0.0.1:0\"}}, ingress: {{listen: \"127.0.0.1:0\"}}, admin: {{listen: \"127.0.0.1:0\"}}}}\n", data.display())).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_halley"));
    let output = command.args(["serve", "--config"]).arg(&config).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("no room on the disk"), "{said}");
    disk.make_room();
    let trial = Trial::new(Subject::halley(&disk, "sync", ""), shape());
    trial.load(100).stop();
    trial.verdict(End::Probed).assert_kept(100);
}

/// The disk stands still: sends wait, none is acknowledged, and everything goes on afterwards.
fn frozen(file_system: FileSystem) {
    let Some(disk) = Disk::new(file_system) else { return };
    let mut trial = Trial::new(Subject::halley(&disk, "sync", ""), shape());
    let load = trial.load(200);
    let frozen = disk.freeze();
    thread::sleep(Duration::from_millis(300));
    let before = trial.acknowledged();
    thread::sleep(Duration::from_secs(2));
    assert_eq!(trial.acknowledged(), before, "nothing can be durable on a disk that stands still");
    drop(frozen);
    trial.wait_for(200);
    load.stop();
    let Subject::Halley(server) = &mut trial.subject else { unreachable!("it is Halley") };
    assert_eq!(server.ended(), None, "{}", server.log());
    let verdict = trial.verdict(End::Probed);
    verdict.assert_kept(400);
    // Whoever waited got an answer.
    assert_eq!((verdict.refused, verdict.unanswered), (0, 0), "{verdict}");
    eprintln!("{file_system:?}, frozen for two seconds: {verdict}");
}

#[test]
fn the_disk_stands_still_on_ext4() {
    frozen(FileSystem::Ext4);
}

#[test]
fn the_disk_stands_still_on_xfs() {
    frozen(FileSystem::Xfs);
}

/// A disk that takes 1 MiB a second, or, where control groups cannot do that, half a second for each sync.
#[test]
fn the_disk_is_slow() {
    let Some(disk) = Disk::new(FileSystem::Ext4) else { return };
    let mut trial = Trial::new(Subject::halley(&disk, "sync", ""), shape());
    let slow = Throttle::new(trial.subject.pid(), &disk.device());
    let delayed = match &slow {
        Some(_) => None,
        None => Fault::inject(trial.subject.pid(), SYNCS, "delay_enter=500ms"),
    };
    if slow.is_none() && delayed.is_none() {
        return;
    }
    let (started, load) = (Instant::now(), trial.load(500));
    load.stop();
    // 2 MB.
    assert!(started.elapsed() > Duration::from_secs(1), "the disk was not slow: {:?}", started.elapsed());
    trial.subject.kill();
    drop((slow, delayed));
    trial.subject.restart();
    let verdict = trial.verdict(End::Probed);
    verdict.assert_kept(500);
    eprintln!("slow: {verdict}");
}

/// A control group whose processes write 1 MiB a second to a device.
struct Throttle(PathBuf);

impl Throttle {
    /// `None` without the first version of control groups' `blkio`.
    fn new(pid: u32, device: &str) -> Option<Self> {
        let group = Path::new("/sys/fs/cgroup/blkio").join(format!("halley-test-{}", std::process::id()));
        fs::create_dir(&group).ok()?;
        let throttle = Self(group);
        let name = device.trim_start_matches("/dev/");
        let number = fs::read_to_string(format!("/sys/block/{name}/dev")).unwrap();
        let limit = format!("{} {}", number.trim(), 1 << 20);
        // The kernel makes the files of a group; elsewhere this is a folder like any other.
        let write_rate = throttle.0.join("blkio.throttle.write_bps_device");
        fs::File::options().write(true).open(write_rate).ok()?.write_all(limit.as_bytes()).ok()?;
        fs::write(throttle.0.join("cgroup.procs"), pid.to_string()).unwrap();
        Some(throttle)
    }
}

impl Drop for Throttle {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// The clock jumps a day ahead and an hour back, under load and over a kill: nothing is lost, no offset given twice, and what
/// waits for its time comes once.
#[test]
fn the_clock_jumps() {
    let Some(clock) = Clock::new() else { return };
    let Some(disk) = Disk::new(FileSystem::Ext4) else { return };
    let few = Shape { producers: 2, window: 4, ..shape() };
    let mut trial = Trial::new(Subject::halley_with(&disk, "sync", "", clock.environment()), few);
    let timers =
        Shape { delay: Some(Duration::from_secs(2)), producers: 2, sends: 100, ..Shape::small("waiting") };
    trial.subject.create(&timers);
    let waiting = Shared::default();

    for jump in ["+1d", "-1h", "+0", "-1h", "+0"] {
        let load = trial.load(100);
        Load::start(trial.subject.broker(), &timers, &waiting).wait();
        clock.set(jump);
        trial.wait_for(100);
        Load::start(trial.subject.broker(), &timers, &waiting).wait();
        load.stop();
        trial.verdict(End::Probed).assert_kept(200);
    }
    clock.set("-1h");
    trial.subject.kill();
    trial.subject.restart();
    trial.load(100).stop();
    clock.set("+0");
    let verdict = trial.verdict(End::Probed);
    verdict.assert_kept(1000);
    eprintln!("the clock jumped: {verdict}");

    assert_eq!(waiting.lock().unwrap().acknowledged(), 1000);
    eventually("all that waited", || {
        let contents = contents(trial.subject.broker(), &timers, &waiting, End::Probed).unwrap();
        let verdict = waiting.lock().unwrap().check(&contents);
        let is_missing = |violation: &Violation| matches!(violation, Violation::Lost(_));
        assert_eq!(verdict.count(is_missing), verdict.violations.len(), "{verdict}");
        verdict.violations.is_empty()
    });
    let Subject::Halley(server) = &trial.subject else { unreachable!("it is Halley") };
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

/// A message that was popped and not acknowledged is hidden for two seconds. The clock is an hour behind when they are over, and
/// right again soon: then it comes back, not an hour later.
#[test]
fn a_popped_message_comes_back_when_the_clock_is_right_again() {
    let Some(clock) = Clock::new() else { return };
    let server = Server::start_at(&clock.0.path().join("data"), "os", "", clock.environment());
    create_topic(server.broker, "popped", "1", "6", "");
    let sent = Shape { queues: 1, producers: 1, sends: 1, ..Shape::small("popped") };
    Load::start(server.broker, &sent, &Shared::default()).wait();
    let mut connection = Connection::open(server.broker);
    let mut pops = || {
        let fields = [
            ("consumerGroup", "group"),
            ("topic", "popped"),
            ("queueId", "-1"),
            ("maxMsgNums", "1"),
            ("invisibleTime", "2000"),
            ("pollTime", "0"),
            ("bornTime", "0"),
            ("initMode", "0"),
            ("order", "false"),
        ];
        let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let reply = connection.ask(Serialize::Json, BrokerCode::PopMessage.number(), &fields, b"");
        reply.unwrap().unwrap().code == ResponseCode::Success.number()
    };
    assert!(pops(), "the message is there");
    clock.set("-1h");
    thread::sleep(Duration::from_millis(3500));
    assert!(!pops(), "its time is not over by this clock");
    clock.set("+0");
    eventually("the message again", pops);
}

/// What a process takes for the time, relative to the real one.
struct Clock(tempfile::TempDir, PathBuf);

impl Clock {
    /// The real time at first. `None`, which is said, without the library that makes a process see another.
    fn new() -> Option<Self> {
        let folders = fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().path());
        let mut libraries = folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1"));
        let Some(library) = libraries.find(|library| library.exists()) else {
            return missing("a clock that jumps, install faketime");
        };
        let clock = Self(tempfile::tempdir().unwrap(), library);
        clock.set("+0");
        Some(clock)
    }

    /// Sets it so far ahead or back.
    fn set(&self, jump: &str) {
        let new = self.0.path().join("new");
        fs::write(&new, jump).unwrap();
        fs::rename(new, self.0.path().join("clock")).unwrap();
    }

    fn environment(&self) -> Vec<(String, String)> {
        let set = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        vec![
            set("LD_PRELOAD", self.1.to_str().unwrap()),
            set("FAKETIME_TIMESTAMP_FILE", self.0.path().join("clock").to_str().unwrap()),
            set("FAKETIME_NO_CACHE", "1"),
            set("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ]
    }
}
