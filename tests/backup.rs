//! `halley backup` of a server that is busy, and `halley restore` of what it made: into a directory, and into a real bucket.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests start processes and read files")]

mod common;

use common::{
    Server,
    client::{Client, Message, SUCCESS, bodies},
    eventually,
};
use serde_json::Value;
use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Messages whose bodies are their queue offsets, in topics with one queue.
struct Numbers(Client);

impl Numbers {
    fn of(server: &Server) -> Self {
        Self(Client::of(server))
    }

    fn send(&mut self, topic: &str, number: u64) {
        let reply = self.0.try_send(Message::new(topic, number.to_string().as_bytes())).unwrap();
        assert_eq!((reply.code, reply.ext["queueOffset"].parse()), (SUCCESS, Ok(number)), "{reply:?}");
    }

    fn end(&mut self, topic: &str) -> u64 {
        self.0.bounds(topic).1
    }

    fn pull(&mut self, topic: &str, offset: u64) -> Vec<u64> {
        let reply = self.0.pull(topic, 0, offset);
        assert_eq!(reply.code, SUCCESS, "{topic} from {offset}: {reply:?}");
        bodies(&reply).iter().map(|body| String::from_utf8_lossy(body).trim_end().parse().unwrap()).collect()
    }

    /// All messages of a topic, from the first one on.
    fn all(&mut self, topic: &str) -> Vec<u64> {
        let end = self.end(topic);
        let mut numbers = Vec::new();
        while (numbers.len() as u64) < end {
            numbers.extend(self.pull(topic, numbers.len() as u64));
        }
        numbers
    }

    fn commit(&mut self, topic: &str, offset: u64) {
        let offset = offset.to_string();
        let fields =
            [("consumerGroup", "readers"), ("topic", topic), ("queueId", "0"), ("commitOffset", &offset)];
        assert_eq!(self.0.ask(15, &fields, b"").code, SUCCESS);
    }

    fn committed(&mut self, topic: &str) -> Option<u64> {
        let reply = self.0.ask(14, &[("consumerGroup", "readers"), ("topic", topic), ("queueId", "0")], b"");
        (reply.code == SUCCESS).then(|| reply.ext["offset"].parse().unwrap())
    }
}

/// Someone who sends until the server is gone.
struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    thread: thread::JoinHandle<()>,
}

impl Load {
    fn start(server: &Server) -> Self {
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, told) = (Arc::clone(&stop), Arc::clone(&acknowledged));
        let mut client = Client::of(server);
        let thread = thread::spawn(move || {
            let mut number = 0;
            while !stopped.load(Ordering::Relaxed) {
                // Long, so that files of the log end meanwhile.
                let body = format!("{number:<20000}");
                match client.try_send(Message::new("load", body.as_bytes())) {
                    Some(reply) if reply.code == SUCCESS => number += 1,
                    // The next file is not reserved yet.
                    Some(reply) => assert_eq!(reply.code, 2, "{reply:?}"),
                    None => break,
                }
                told.store(number, Ordering::Release);
            }
        });
        Self { stop, acknowledged, thread }
    }

    fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Acquire)
    }

    fn wait(&self, count: u64) {
        eventually("a load", || self.acknowledged() >= count);
    }

    fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        self.acknowledged.load(Ordering::Acquire)
    }
}

/// Small files of the log, so that some end in the test.
const SMALL: &str = "  durability: os\n  segment: 16MiB\n  namesrv: {listen: \"NAMESRV\"}\n  broker: {listen: \"BROKER\"}\n  \
                     ingress: {listen: \"INGRESS\"}";

fn halley(place: &Place, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_halley"))
        .args(arguments)
        .envs(place.environment.iter().cloned())
        .output()
        .unwrap()
}

/// Where backups are kept.
struct Place {
    address: String,
    environment: Vec<(String, String)>,
}

impl Place {
    fn directory(path: &Path) -> Self {
        Self { address: path.display().to_string(), environment: Vec::new() }
    }

    fn backup(&self, data: &Path) -> Value {
        let output =
            halley(self, &["backup", "--data", data.to_str().unwrap(), "--to", &self.address, "--json"]);
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn restore(&self, to: &Path, more: &[&str]) -> Value {
        let arguments = ["restore", "--from", &self.address, "--to", to.to_str().unwrap(), "--json"];
        let output = halley(self, &[&arguments[..], more].concat());
        assert!(output.status.success(), "{output:?}");
        let inspected = halley(self, &["inspect", to.to_str().unwrap(), "--json"]);
        let found: Value = serde_json::from_slice(&inspected.stdout).unwrap();
        assert_eq!(found["findings"], Value::Array(vec![]), "{found}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn refuses(&self, arguments: &[&str]) -> String {
        let output = halley(self, arguments);
        assert!(!output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    }
}

fn now() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()
}

/// Backs up a server under load, kills it, and goes on with what is restored.
fn check(place: &Place) {
    let mut server = Server::start_as(SMALL);
    let data = server.dir.path().join("data");
    let mut client = Numbers::of(&server);
    (0..50).for_each(|number| client.send("orders", number));
    // The first pull makes the group.
    assert_eq!(client.pull("orders", 0).len(), 32);
    client.commit("orders", 30);
    let load = Load::start(&server);
    load.wait(1_000);
    let before = load.acknowledged();
    let first = place.backup(&data);
    assert!(first["segments"].as_u64() >= Some(2) && first["segments"] == first["segmentsCopied"], "{first}");
    load.wait(before + 500);
    let before = load.acknowledged();
    let second = place.backup(&data);
    assert!(
        second["bytesCopied"].as_u64() < first["bytesCopied"].as_u64().map(|bytes| bytes * 2),
        "{second}"
    );
    assert!(second["segmentsCopied"].as_u64() < second["segments"].as_u64(), "{second}");
    // Commits are logged within about a second: once a backup has it, it stays.
    let scratch = tempfile::tempdir().unwrap();
    let mut tries = 0;
    eventually("the committed offset in a backup", || {
        tries += 1;
        let to = scratch.path().join(tries.to_string());
        place.backup(&data);
        place.restore(&to, &[]);
        let restored = Server::start_in(&to, "");
        let mut client = Numbers::of(&restored);
        assert!(client.end("load") >= before, "what was acknowledged before a backup is in it");
        let has = client.committed("orders") == Some(30);
        if !has {
            thread::sleep(Duration::from_millis(500));
        }
        has
    });
    server.kill();
    let acknowledged = load.end();

    let to = scratch.path().join("data");
    let restored = place.restore(&to, &[]);
    assert_eq!(restored["begin"], 0);
    let server = Server::start_in(&to, "");
    let mut client = Numbers::of(&server);
    let kept = client.all("load");
    assert!(
        (before..=acknowledged + 1).contains(&(kept.len() as u64)),
        "{before} {} {acknowledged}",
        kept.len()
    );
    assert!(kept.iter().copied().eq(0..kept.len() as u64), "in order, and all of them");
    assert_eq!(client.all("orders"), (0..50).collect::<Vec<_>>());
    assert_eq!(client.committed("orders"), Some(30), "consumers go on where they were");
    client.send("orders", 50);
    // The restored store goes on with the same backups.
    let third = place.backup(&to);
    assert!(third["segmentsCopied"].as_u64() < Some(3), "{third}");
    let again = place.refuses(&["restore", "--from", &place.address, "--to", to.to_str().unwrap()]);
    assert!(again.contains("is not empty"), "{again}");
}

#[test]
fn a_busy_server_is_backed_up_and_another_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    check(&Place::directory(&dir.path().join("backups")));
}

#[test]
fn a_store_as_it_was_at_a_moment() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::directory(&dir.path().join("backups"));
    let mut server = Server::start("");
    let data = server.dir.path().join("data");
    let mut client = Numbers::of(&server);
    (0..10).for_each(|number| client.send("orders", number));
    thread::sleep(Duration::from_millis(3));
    let moment = now();
    thread::sleep(Duration::from_millis(3));
    (10..20).for_each(|number| client.send("orders", number));
    place.backup(&data);
    (20..30).for_each(|number| client.send("orders", number));
    server.terminate();
    place.backup(&data);
    let listed = halley(&place, &["restore", "--from", &place.address, "--list"]);
    assert_eq!(
        String::from_utf8(listed.stdout).unwrap().lines().count(),
        2,
        "the second has all of the first"
    );

    for (name, at, count) in [("then", Some(moment), 10), ("now", None, 30)] {
        let to = dir.path().join(name);
        let at = at.map(|at| at.to_string());
        place.restore(&to, &at.as_ref().map_or_else(Vec::new, |at| vec!["--at", at]));
        let server = Server::start_in(&to, "");
        let mut client = Numbers::of(&server);
        assert_eq!(client.all("orders"), (0..count).collect::<Vec<_>>());
        client.send("orders", count);
    }
    let elsewhere = dir.path().join("elsewhere");
    let restore = ["restore", "--from", &place.address, "--to", elsewhere.to_str().unwrap()];
    let late = place.refuses(&[&restore[..], &["--at", "2999-01-01T00:00:00Z"]].concat());
    assert!(late.contains("the newest backup was taken before that time"), "{late}");
    let other = place.refuses(&["backup", "--data", dir.path().to_str().unwrap(), "--to", &place.address]);
    assert!(other.contains("holds no store"), "{other}");
    for object in fs::read_dir(dir.path().join("backups/log")).unwrap() {
        let path = object.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        bytes[100] ^= 1;
        fs::write(&path, bytes).unwrap();
    }
    let damaged = place.refuses(&restore);
    assert!(damaged.contains(".seg is damaged: its checksum is wrong"), "{damaged}");
    let unfinished = halley(&place, &["inspect", elsewhere.to_str().unwrap()]);
    assert_eq!(unfinished.status.code(), Some(65), "{unfinished:?}");
    assert!(
        String::from_utf8_lossy(&unfinished.stdout).contains("a restore into this directory did not end")
    );
}

/// A MinIO that ends with the test.
struct Minio {
    child: Child,
    _dir: tempfile::TempDir,
    address: SocketAddr,
}

impl Minio {
    /// `None` where `scripts/minio.sh install` was not run. In CI it was.
    fn start() -> Option<Self> {
        let program = common::home()?.join("minio/bin/minio");
        if !program.exists() {
            let message = "skipped: a real bucket, install MinIO with scripts/minio.sh install";
            assert!(std::env::var_os("CI").is_none(), "{message}");
            eprintln!("{message}");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        // A folder is a bucket.
        fs::create_dir(dir.path().join("backups")).unwrap();
        let [address, console] = common::free_ports();
        let child = Command::new(program)
            .args(["server", "--quiet", "--address", &address.to_string()])
            .args(["--console-address", &console.to_string()])
            .arg(dir.path())
            .envs([
                ("MINIO_ROOT_USER", "halley"),
                ("MINIO_ROOT_PASSWORD", "halley-test"),
                ("MINIO_BROWSER", "off"),
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let minio = Self { child, _dir: dir, address };
        eventually("a bucket", || {
            common::try_http(address, "GET", "/minio/health/ready", &[], b"")
                .is_some_and(|answer| answer.status == 200)
        });
        Some(minio)
    }
}

impl Drop for Minio {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn backups_in_a_real_bucket() {
    let Some(minio) = Minio::start() else { return };
    let variables = [
        ("AWS_ACCESS_KEY_ID", "halley".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "halley-test".to_owned()),
        ("AWS_ENDPOINT_URL", format!("http://{}", minio.address)),
    ];
    let environment = variables.map(|(name, value)| (name.to_owned(), value)).to_vec();
    let place = Place { address: "s3://backups/one/store".to_owned(), environment };
    check(&place);
    let wrong = Place { address: "s3://no-such-bucket".to_owned(), environment: place.environment };
    let said = wrong.refuses(&["restore", "--from", &wrong.address, "--list"]);
    assert!(said.contains("NoSuchBucket"), "{said}");
}
