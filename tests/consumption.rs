//! How unmodified consumers (Java 5.5.0 and 4.9.8, Go) consume: from where, what, in which order, together and alone.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests start processes")]

mod common;

use common::{Rocketmq, Server, clients, consumer::Consumer, remoting::Connection};
use halley_wire::Serialize;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

const JAVA: [Rocketmq; 2] = [Rocketmq::Java5, Rocketmq::Java4];

fn ask(server: &Server, code: i32, fields: &[(&str, &str)]) {
    let fields: Vec<_> =
        fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let reply = Connection::open(server.broker).ask(Serialize::Json, code, &fields, b"").unwrap().unwrap();
    assert_eq!(reply.code, 0, "{reply:?}");
}

fn create_topic(server: &Server, topic: &str, queues: &str) {
    let fields = [("topic", topic), ("readQueueNums", queues), ("writeQueueNums", queues), ("perm", "6")];
    let others = [
        ("defaultTopic", "TBW102"),
        ("topicFilterType", "SINGLE_TAG"),
        ("topicSysFlag", "0"),
        ("order", "false"),
    ];
    ask(server, 17, &[&fields[..], &others].concat());
}

fn produce(clients: &Path, server: &Server, topic: &str, count: &str, more: &[&str]) {
    let namesrv = server.namesrv.to_string();
    let arguments = [&["produce", &namesrv, topic, count], more].concat();
    Rocketmq::Go.run(clients, &arguments).unwrap();
}

fn tags(messages: &[Value]) -> BTreeSet<&str> {
    messages.iter().filter_map(|message| message["properties"]["TAGS"].as_str()).collect()
}

fn ids(messages: &[Value]) -> BTreeSet<&str> {
    messages.iter().filter_map(|message| message["msgId"].as_str()).collect()
}

#[test]
fn lite_pull_consumers_go_on_where_they_committed() {
    let Some(clients) = clients() else { return };
    let server = Server::start("");
    create_topic(&server, "T", "4");
    for client in JAVA {
        let group = format!("g{client:?}");
        let namesrv = server.namesrv.to_string();
        let poll = |expect: &str, more: &[&str]| {
            client
                .run(&clients, &[&["lite", &namesrv, "T", &group, "--expect", expect], more].concat())
                .unwrap()
        };
        produce(&clients, &server, "T", "6", &["--tag", "old"]);
        let had = poll("6", &[]);
        assert!(ids(&had).len() >= 6, "{had:?}");
        produce(&clients, &server, "T", "3", &["--tag", "new"]);
        let rest = poll("3", &["--tag", "new || other"]);
        assert_eq!((rest.len(), tags(&rest)), (3, BTreeSet::from(["new"])), "{rest:?}");
    }
}

#[test]
fn consumers_begin_at_the_start_at_the_end_or_at_a_time() {
    let Some(clients) = clients() else { return };
    let server = Server::start("");
    // While a queue has its very first message and that is in memory, RocketMQ tells every new group to begin with it
    // (`ConsumerManageProcessor.queryConsumerOffset`, 5.5). A topic that was deleted before goes on counting.
    create_topic(&server, "T", "2");
    produce(&clients, &server, "T", "4", &[]);
    ask(&server, 215, &[("topic", "T")]);
    create_topic(&server, "T", "2");
    produce(&clients, &server, "T", "4", &["--tag", "old"]);
    // Clients tell the time to the second.
    thread::sleep(Duration::from_millis(2_100));
    let between = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() - Duration::from_millis(1_000);
    let between = between.as_millis().to_string();
    produce(&clients, &server, "T", "4", &["--tag", "new"]);
    thread::scope(|scope| {
        for client in Rocketmq::ALL {
            let (clients, server, between) = (&clients, &server, &between);
            scope.spawn(move || {
                let consume = |group: &str, from: &str, expect: &str| {
                    let group = format!("{group}{client:?}");
                    let arguments = ["T", &group, "--from", from, "--expect", expect];
                    Consumer::start(client, clients, server, &arguments).rest()
                };
                let all = consume("first", "first", "8");
                assert_eq!((ids(&all).len(), tags(&all)), (8, BTreeSet::from(["new", "old"])), "{all:?}");
                let new = consume("time", between, "4");
                assert_eq!(
                    (ids(&new).len(), tags(&new)),
                    (4, BTreeSet::from(["new"])),
                    "{client:?}: {new:?}"
                );
            });
        }
    });
}

#[test]
fn a_running_consumer_is_set_back() {
    let Some(clients) = clients() else { return };
    let server = Server::start("");
    create_topic(&server, "T", "2");
    produce(&clients, &server, "T", "5", &[]);
    thread::scope(|scope| {
        for client in Rocketmq::ALL {
            let (clients, server) = (&clients, &server);
            scope.spawn(move || {
                let group = format!("g{client:?}");
                let mut consumer = Consumer::start(client, clients, server, &["T", &group]);
                let first = consumer.messages(5);
                let fields = [("topic", "T"), ("group", &*group), ("timestamp", "0"), ("isForce", "true")];
                ask(server, 222, &fields);
                let again = consumer.messages(5);
                assert_eq!(ids(&first), ids(&again), "{client:?}");
            });
        }
    });
}

#[test]
fn a_subscription_is_changed_while_it_runs() {
    let Some(clients) = clients() else { return };
    let server = Server::start("");
    create_topic(&server, "T", "1");
    for client in JAVA {
        let group = format!("g{client:?}");
        let mut consumer =
            Consumer::start(client, &clients, &server, &["T", &group, "--tag", "a", "--from", "last"]);
        consumer.wait("READY");
        consumer.wait("ASSIGNED 1");
        produce(&clients, &server, "T", "2", &["--tag", "a"]);
        assert_eq!(tags(&consumer.messages(2)), BTreeSet::from(["a"]));
        consumer.tell("subscribe b || c");
        // The change takes effect with a later pull, so that messages go on coming until one is seen.
        let mut seen = None;
        for _ in 0..100 {
            produce(&clients, &server, "T", "1", &["--tag", "c"]);
            produce(&clients, &server, "T", "1", &["--tag", "a"]);
            seen = consumer.message_within(Duration::from_millis(500));
            if seen.as_ref().is_some_and(|message| message["properties"]["TAGS"] == "c") {
                break;
            }
        }
        assert!(seen.is_some_and(|message| message["properties"]["TAGS"] == "c"), "{client:?}");
        // Once it has taken effect nothing of the old expression comes any more.
        produce(&clients, &server, "T", "1", &["--tag", "a"]);
        produce(&clients, &server, "T", "1", &["--tag", "b"]);
        let next = std::iter::from_fn(|| Some(consumer.message()))
            .find(|message| message["properties"]["TAGS"] != "c")
            .unwrap();
        assert_eq!(next["properties"]["TAGS"], "b", "{client:?}");
    }
}

#[test]
fn ordered_consumers_keep_the_order_when_one_of_them_is_killed() {
    let Some(clients) = clients() else { return };
    let server = Server::start("");
    create_topic(&server, "T", "4");
    thread::scope(|scope| {
        for client in Rocketmq::ALL {
            let (clients, server) = (&clients, &server);
            scope.spawn(move || {
                let group = format!("g{client:?}");
                let start = || {
                    Consumer::start(client, clients, server, &["T", &group, "--orderly", "--from", "first"])
                };
                let (mut stays, mut goes) = (start(), start());
                stays.wait("READY");
                goes.wait("READY");
                let namesrv = server.namesrv.to_string();
                let mut sent = 0;
                let mut send = |count: usize| {
                    let arguments = ["produce", &namesrv, "T", &count.to_string(), "--tag", &group];
                    client.run(clients, &arguments).unwrap();
                    sent += count;
                    sent
                };
                // Until both have queues, and the one that is to be killed is in the middle of something.
                let mut seen = Vec::new();
                while seen.is_empty() {
                    send(8);
                    seen.extend(goes.message_within(Duration::from_secs(1)));
                }
                goes.kill();
                seen.extend(goes.printed());
                let of_killed = seen.len();
                let sent = send(40);
                let own = |seen: &[Value]| {
                    let own = seen.iter().filter(|message| message["properties"]["TAGS"] == *group);
                    own.filter_map(|message| message["msgId"].as_str().map(str::to_owned))
                        .collect::<BTreeSet<_>>()
                };
                // The killed one's locks last for another minute, after which clients ask again every 20 seconds.
                let long = Duration::from_secs(120);
                while own(&seen).len() < sent {
                    seen.push(stays.message_within(long).expect("a message"));
                }
                // What the killed one saw and did not commit comes again; of what one consumer sees, each queue is in order.
                let mut last = BTreeMap::new();
                for message in &seen[of_killed..] {
                    let queue = message["queueId"].as_i64();
                    let offset = message["queueOffset"].as_i64();
                    let before = last.insert(queue, offset);
                    assert!(
                        before.is_none_or(|before| before < offset),
                        "{client:?}: {message} after {before:?}"
                    );
                }
            });
        }
    });
}

#[test]
fn broadcasting_consumers_each_get_everything() {
    let Some(clients) = clients() else { return };
    let server = Server::start("");
    create_topic(&server, "T", "3");
    for client in Rocketmq::ALL {
        let group = format!("g{client:?}");
        let start =
            || Consumer::start(client, &clients, &server, &["T", &group, "--broadcast", "--from", "last"]);
        let mut consumers = [start(), start()];
        for consumer in &mut consumers {
            consumer.wait("READY");
        }
        // A broadcasting consumer begins at the end of each queue when it first looks at it.
        thread::sleep(Duration::from_secs(2));
        produce(&clients, &server, "T", "9", &["--tag", &group]);
        let of_each: Vec<_> = consumers
            .iter_mut()
            .map(|consumer| {
                ids(&consumer.messages(9)).into_iter().map(str::to_owned).collect::<BTreeSet<_>>()
            })
            .collect();
        assert_eq!(of_each[0], of_each[1], "{client:?}");
        assert_eq!(of_each[0].len(), 9, "{client:?}");
    }
}
