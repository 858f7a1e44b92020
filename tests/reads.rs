//! What is no longer in memory: read by many at once, and checked in the background; decay is found, told, and costs one message.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests start processes and read files")]

mod common;

use common::{
    Server,
    client::{Client, Message, SUCCESS, bodies},
    eventually,
};
use std::{
    fs,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

/// The smallest files there may be, each checked again a second after the last time.
const CONFIG: &str = "  durability: os\n  segment: 16MiB\n  scrub: {rate: 1GiB, every: 1s}\n  \
                      namesrv: {listen: \"NAMESRV\"}\n  broker: {listen: \"BROKER\"}\n  ingress: {listen: \"INGRESS\"}";

const RETRY_IMMEDIATELY: i32 = 20;
const QUEUES: u64 = 4;
const PER_QUEUE: u64 = 100;

/// 70,000 bytes that no other message has.
fn body(queue: u64, number: u64) -> Vec<u8> {
    let mut body = format!("message {number} of queue {queue}.").into_bytes();
    body.resize(70_000, b'x');
    body
}

fn send(client: &mut Client, queue: u64, body: &[u8]) {
    client.send(Message { queue, queues: QUEUES, ..Message::new("T", body) });
}

/// The bodies found, and where to go on.
fn pull(client: &mut Client, queue: u64, offset: u64) -> (i32, Vec<Vec<u8>>, u64) {
    let reply = client.pull("T", queue, offset);
    (reply.code, bodies(&reply), reply.ext["nextBeginOffset"].parse().unwrap())
}

/// The oldest file of a folder that ends so.
fn oldest(data: &Path, folder: &str, kind: &str) -> PathBuf {
    let files = fs::read_dir(data.join(folder)).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|found| found == kind)).min().unwrap()
}

fn flip(path: &Path, at: usize) {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at as u64).unwrap();
    file.write_all_at(&[byte[0] ^ 4], at as u64).unwrap();
}

#[test]
fn cold_messages_are_read_by_many_and_decay_costs_one_of_them() {
    let mut server = Server::start_as(CONFIG);
    let mut client = Client::of(&server);
    for number in 0..PER_QUEUE {
        for queue in 0..QUEUES {
            send(&mut client, queue, &body(queue, number));
        }
    }
    assert!(server.terminate().success());
    // Nothing is in memory now.
    server.restart();
    thread::scope(|scope| {
        for reader in 0..8 {
            let server = &server;
            scope.spawn(move || {
                let (mut client, queue) = (Client::of(server), reader % QUEUES);
                let mut next = 0;
                while next < PER_QUEUE {
                    let (code, bodies, on) = pull(&mut client, queue, next);
                    assert!(code == SUCCESS && !bodies.is_empty() && on == next + bodies.len() as u64);
                    let expected = (next..on).map(|number| body(queue, number));
                    assert!(bodies.into_iter().eq(expected), "queue {queue} from {next} to {on}");
                    next = on;
                }
            });
        }
    });
    assert!(server.metric("halley_cold_pulls_total") > 100.0);

    // A byte of a message decays in an ended file, and one of its index.
    let data = server.dir.path().join("data");
    let (segment, index) = (oldest(&data, "log", "seg"), oldest(&data, "index", "idx"));
    let found = fs::read(&segment).unwrap();
    let at = found.windows(21).position(|window| window == b"message 5 of queue 2.").unwrap();
    let whole = fs::read(&index).unwrap();
    flip(&index, whole.len() - 30);
    eventually("the index to be made again", || {
        server.metric("halley_scrub_mended_total") >= 1.0 && fs::read(&index).unwrap() == whole
    });
    assert_eq!(server.metric("halley_scrub_damage_total"), 0.0);
    flip(&segment, at + 1_000);
    eventually("the damage to be found", || server.metric("halley_scrub_damage_total") >= 1.0);
    eventually("the message to be named", || server.log().contains("a message cannot be read any more"));
    let log = server.log();
    let named = log.lines().find(|line| line.contains("a message cannot be read any more")).unwrap();
    assert!(named.contains("topic=\"T\" queue=2 offset=5") && log.contains("`halley inspect`"), "{named}");

    // After another start nothing of it is in memory, and only that message is passed over.
    assert!(server.terminate().success());
    server.restart();
    let mut client = Client::of(&server);
    let (mut next, mut missing) = (0, Vec::new());
    while next < PER_QUEUE {
        let (code, bodies, on) = pull(&mut client, 2, next);
        match code {
            SUCCESS => assert!(bodies.into_iter().eq((next..on).map(|number| body(2, number)))),
            RETRY_IMMEDIATELY => missing.extend(next..on),
            other => panic!("{other} at {next}"),
        }
        next = on;
    }
    assert_eq!(missing, [5]);
    assert!(server.metric("halley_damaged_reads_total") >= 1.0);
    eventually("it to be found again", || server.metric("halley_scrub_damage_total") >= 1.0);
    thread::sleep(Duration::from_secs(3));
    assert_eq!(server.metric("halley_scrub_damage_total"), 1.0, "it is told once");
}
