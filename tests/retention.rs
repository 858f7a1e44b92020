//! Old files of the log go while the server runs, and what is still needed of them stays.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests start processes and read files")]

mod common;

use common::{
    Server,
    client::{Client, Message, SUCCESS, bodies},
    eventually,
};
use std::{fs, thread, time::Duration};

/// The smallest files there may be, and messages for hardly longer than it takes to fill some.
const KEPT: &str = "  durability: os\n  segment: 16MiB\n  retention: {age: 2s, disk: {clean: 100%, forced: 100%, refuse: 100%}}\n  \
                    namesrv: {listen: \"NAMESRV\"}\n  broker: {listen: \"BROKER\"}\n  ingress: {listen: \"INGRESS\"}";

const OFFSET_MOVED: i32 = 21;

/// Sends to a topic's one queue; the queue offset.
fn send(client: &mut Client, topic: &str, body: &[u8]) -> u64 {
    client.send(Message::new(topic, body))
}

/// Fills three files.
fn fill(client: &mut Client, round: u8) -> Vec<u64> {
    (0..50).map(|_| send(client, "filling", &vec![round; 1 << 20])).collect()
}

/// Stops the server and starts it with another configuration.
fn restart_with(server: &mut Server, from: &str, to: &str) -> Client {
    server.terminate();
    let path = server.dir.path().join("halley.yaml");
    let config = fs::read_to_string(&path).unwrap();
    fs::write(&path, config.replace(from, to)).unwrap();
    server.restart();
    Client::of(server)
}

fn begin(server: &Server) -> u64 {
    let folder = server.dir.path().join("data/log");
    let names =
        fs::read_dir(folder).unwrap().filter_map(|entry| entry.unwrap().file_name().into_string().ok());
    names.filter_map(|name| name.strip_suffix(".seg")?.parse().ok()).min().unwrap()
}

#[test]
fn old_messages_go_and_what_is_needed_stays() {
    let mut server = Server::start_as(KEPT);
    let mut client = Client::of(&server);
    // The topic of a queue that is empty soon, a message that waits longer than messages are kept, and a commit.
    assert_eq!(send(&mut client, "quiet", b"soon gone"), 0);
    let properties = "DELAY\u{1}4\u{2}UNIQ_KEY\u{1}waits\u{2}";
    client.send(Message { properties, ..Message::new("later", b"delivered after its file is gone") });
    let commit = [("consumerGroup", "readers"), ("topic", "quiet"), ("queueId", "0"), ("commitOffset", "1")];
    // The first pull makes the group.
    assert_eq!(bodies(&client.pull("quiet", 0, 0)), [b"soon gone"]);
    assert_eq!(client.ask(15, &commit, b"").code, SUCCESS);
    fill(&mut client, 0);
    eventually("the first files are gone", || begin(&server) >= 32 << 20);
    assert_eq!(client.bounds("quiet"), (1, 1), "an emptied queue goes on");
    let (first, next) = client.bounds("filling");
    assert!(0 < first && first < next, "{first} {next}");
    let too_small = client.pull("filling", 0, 0);
    assert_eq!((too_small.code, too_small.ext["nextBeginOffset"].parse()), (OFFSET_MOVED, Ok(first)));
    assert_eq!(too_small.ext["minOffset"].parse(), Ok(first));
    let newest = client.pull("filling", 0, next - 1);
    assert_eq!((newest.code, bodies(&newest)), (SUCCESS, vec![vec![0; 1 << 20]]));

    // While it removes more, it is killed, again and again.
    let mut sent = next;
    for round in 1..4u8 {
        sent = fill(&mut client, round).last().unwrap() + 1;
        thread::sleep(Duration::from_millis(700 * u64::from(round)));
        server.kill();
        server.restart();
        client = Client::of(&server);
        let (first, next) = client.bounds("filling");
        assert!(first < next && next == sent, "nothing acknowledged is missing at the end: {next} of {sent}");
        let newest = client.pull("filling", 0, next - 1);
        assert_eq!(bodies(&newest), vec![vec![round; 1 << 20]]);
        assert_eq!(client.bounds("quiet"), (1, 1), "also after a restart");
    }
    assert_eq!(send(&mut client, "filling", b"next"), sent, "no offset is given twice");
    let committed = client.ask(14, &commit[..3], b"");
    assert_eq!((committed.code, committed.ext["offset"].as_str()), (SUCCESS, "1"));
    eventually("the delayed message", || client.bounds("later").1 > 0);
    let late = client.pull("later", 0, 0);
    assert_eq!(bodies(&late), [b"delivered after its file is gone"]);
    thread::sleep(Duration::from_secs(1));
    assert_eq!(client.bounds("later").1, 1, "once");
    assert_eq!(send(&mut client, "quiet", b"goes on"), 1);

    assert!(server.metric("halley_log_begin") > 0.0);
    assert!(server.log().contains("removed the oldest part of the log"));
}

#[test]
fn a_disk_that_is_too_full_refuses_producers_and_nobody_else() {
    let mut server = Server::start_as(&KEPT.replace("age: 2s", "age: forever"));
    let mut client = Client::of(&server);
    send(&mut client, "t", b"before");
    let mut client = restart_with(&mut server, "100%", "10%");
    let message = Message::new("t", b"x");
    eventually("producers are refused", || client.try_send(message).unwrap().code == 14);
    let refused = client.try_send(message).unwrap().remark.unwrap();
    assert!(
        refused.starts_with(
            "service not available now. It may be caused by one of the following reasons: the broker's disk is full [CL:"
        ),
        "{refused}"
    );
    let (first, _) = client.bounds("t");
    assert_eq!(bodies(&client.pull("t", 0, first)), [b"before"]);
    // Without a restart.
    let settings = b"diskSpaceWarningLevelRatio=100\n";
    assert_eq!(client.ask(25, &[], settings).code, SUCCESS);
    eventually("producers are served", || client.try_send(message).unwrap().code == SUCCESS);
    let shown = client.ask(26, &[], b"");
    assert!(String::from_utf8(shown.body).unwrap().contains("diskSpaceWarningLevelRatio=100\n"));
}

#[test]
fn a_topic_keeps_messages_for_a_time_of_its_own() {
    let config = "buses: {short: {queues: 1, retention: 1s}, long: {queues: 1, retention: 1h}}\n";
    let mut server = Server::start(config);
    let mut client = Client::of(&server);
    let old: Vec<_> = (0..3).map(|_| send(&mut client, "BUS_short", b"old")).collect();
    assert_eq!(old, [0, 1, 2]);
    for topic in ["BUS_long", "other", "third"] {
        send(&mut client, topic, b"stays");
    }
    eventually("what is too old is hidden", || client.bounds("BUS_short") == (3, 3));
    assert_eq!(client.pull("BUS_short", 0, 0).code, OFFSET_MOVED);
    // An administrator's word is obeyed at once: Halley's attribute, and RocketMQ's, whose hours are not over.
    let keep = |client: &mut Client, topic, attributes| {
        let fields = [
            ("topic", topic),
            ("defaultTopic", "TBW102"),
            ("readQueueNums", "1"),
            ("writeQueueNums", "1"),
            ("perm", "6"),
            ("topicFilterType", "SINGLE_TAG"),
            ("topicSysFlag", "0"),
            ("order", "false"),
            ("attributes", attributes),
        ];
        assert_eq!(client.ask(17, &fields, b"").code, SUCCESS);
    };
    keep(&mut client, "other", "+retention.ms=1000");
    keep(&mut client, "third", "+reserve.time=1");
    eventually("it is too old now", || client.bounds("other") == (1, 1));
    server.kill();
    server.restart();
    let mut client = Client::of(&server);
    assert_eq!(client.bounds("BUS_short"), (3, 3), "nobody sees it again");
    assert_eq!(client.bounds("other"), (1, 1));
    assert_eq!(client.bounds("BUS_long"), (0, 1));
    assert_eq!(client.bounds("third"), (0, 1));
    assert_eq!(send(&mut client, "BUS_short", b"new"), 3, "no offset is given twice");

    // Of a bus the file decides: it says nothing of the time any more.
    let mut client = restart_with(&mut server, "retention: 1s", "durability: sync");
    send(&mut client, "BUS_short", b"stays");
    let (_, next) = client.bounds("BUS_short");
    send(&mut client, "other", b"goes");
    eventually("the other topic's time is over again", || client.bounds("other") == (2, 2));
    let (first, _) = client.bounds("BUS_short");
    assert!(first < next, "{first} of {next}");
}
