//! How unmodified consumers (Java 5.5.0 and 4.9.8, Go) consume: from where, what, in which order, together and alone.

use crate::common::{
    Rocketmq, Server, clients,
    consumer::Consumer,
    run::{self, with_each},
};
use halley_wire::{
    BrokerCode,
    request::{RequestMode, SetMessageRequestMode},
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

const JAVA: [Rocketmq; 2] = [Rocketmq::Java5, Rocketmq::Java4];

fn create_topic(server: &Server, topic: &str, queues: &str) {
    run::create_topic(server.broker, topic, queues, "6", "");
}

fn produce(clients: &Path, server: &Server, topic: &str, count: &str, more: &[&str]) {
    let namesrv = server.namesrv.to_string();
    let arguments = [&["produce", &namesrv, topic, count], more].concat();
    Rocketmq::Go.run(clients, &arguments).unwrap();
}

fn id(message: &Value) -> String {
    message["msgId"].as_str().unwrap_or_else(|| panic!("{message}")).to_owned()
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
    for client in JAVA {
        let (topic, group) = (format!("T{client:?}"), format!("g{client:?}"));
        create_topic(&server, &topic, "4");
        let namesrv = server.namesrv.to_string();
        let poll = |expect: &str, more: &[&str]| {
            client
                .run(&clients, &[&["lite", &namesrv, &topic, &group, "--expect", expect], more].concat())
                .unwrap()
        };
        produce(&clients, &server, &topic, "6", &["--tag", "old"]);
        let had = poll("6", &[]);
        assert!(ids(&had).len() >= 6, "{had:?}");
        produce(&clients, &server, &topic, "3", &["--tag", "new"]);
        let rest = poll("3", &["--tag", "new || other"]);
        assert_eq!((ids(&rest).len(), tags(&rest)), (3, BTreeSet::from(["new"])), "{rest:?}");
        // What it asks about queues.
        let told =
            client.run(&clients, &["offsets", &namesrv, &topic, "--group", &group, "--at", "1"]).unwrap();
        assert_eq!(told.len(), 4);
        let sum = |name: &str| told.iter().map(|queue| queue[name].as_i64().unwrap()).sum::<i64>();
        assert_eq!((sum("min"), sum("at")), (0, 0), "{told:?}");
        assert!(sum("committed") >= 9 && sum("committed") <= sum("max"), "{told:?}");
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
    run::ask(server.broker, BrokerCode::DeleteTopicInBroker, &[("topic", "T")], b"");
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
                run::ask(server.broker, BrokerCode::InvokeBrokerToResetOffset, &fields, b"");
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
                // What was not committed when a queue changed hands comes again; but nothing comes before all that lies before
                // it in its queue came.
                let mut came = BTreeMap::<_, BTreeSet<i64>>::new();
                for (at, message) in seen.iter().enumerate() {
                    let number = |name: &str| message[name].as_i64().unwrap();
                    let (queue, offset) = (number("queueId"), number("queueOffset"));
                    let queue = came.entry(queue).or_default();
                    let early = at >= of_killed && !(0..offset).all(|before| queue.contains(&before));
                    assert!(!early, "{client:?}: {message} after {queue:?}");
                    queue.insert(offset);
                }
            });
        }
    });
}

#[test]
fn a_spare_consumer_takes_over_from_a_killed_one() {
    with_each(|run| {
        create_topic(run.server, "T", "2");
        let mut consumers =
            [(); 3].map(|()| Consumer::start(run.client, run.clients, run.server, &["T", "g"]));
        for consumer in &mut consumers {
            consumer.wait("READY");
        }
        let mut sent = BTreeSet::new();
        let mut send = || sent.extend(run.run("produce", &["T", "4"]).iter().map(id));
        let mut seen = [(); 3].map(|()| BTreeSet::new());
        let mut look = |consumers: &mut [Consumer; 3], seen: &mut [BTreeSet<String>; 3]| {
            send();
            for (consumer, seen) in consumers.iter_mut().zip(seen) {
                while let Some(message) = consumer.message_within(Duration::from_millis(200)) {
                    seen.insert(id(&message));
                }
            }
        };
        // More consumers than queues: in the end two have one each.
        let mut before = seen.clone();
        while seen.iter().zip(&before).filter(|(now, before)| now.len() > before.len()).count() != 2 {
            before = seen.clone();
            look(&mut consumers, &mut seen);
        }
        let busy = (0..3).find(|at| seen[*at].len() > before[*at].len()).unwrap();
        consumers[busy].kill();
        // The other two get all that comes, also what the killed one had not committed.
        before = seen.clone();
        while (0..3).any(|at| at != busy && seen[at].len() == before[at].len()) {
            look(&mut consumers, &mut seen);
        }
        for (at, consumer) in consumers.into_iter().enumerate() {
            let rest = if at == busy { Vec::new() } else { consumer.end() };
            seen[at].extend(rest.iter().map(id));
        }
        let missing = sent.iter().filter(|id| seen.iter().all(|seen| !seen.contains(*id))).count();
        let rest = if missing == 0 { Vec::new() } else { run.consume("T", "g", missing, &[]) };
        let all: BTreeSet<_> = seen.into_iter().flatten().chain(rest.iter().map(id)).collect();
        assert_eq!(all, sent, "{:?}", run.client);
    });
}

#[test]
fn an_ordered_queue_waits_for_a_message_that_failed() {
    with_each(|run| {
        create_topic(run.server, "T", "1");
        let sent: Vec<_> = run.run("produce", &["T", "4"]).iter().map(id).collect();
        let seen = run.consume("T", "g", 4, &["--orderly", "--fail", "2"]);
        assert_eq!(seen.iter().map(id).collect::<Vec<_>>(), sent, "{:?}", run.client);
    });
}

#[test]
fn what_failed_is_filtered_when_it_comes_again() {
    with_each(|run| {
        run.run("produce", &["T", "6", "--prop", "n={i}", "--tag", "a"]);
        run.run("produce", &["T", "3", "--prop", "n=9", "--tag", "b"]);
        let found = |seen: &[Value]| {
            let name = |message: &Value| message["properties"]["n"].as_str().unwrap().to_owned();
            seen.iter().map(name).collect::<BTreeSet<_>>()
        };
        let sql = "n >= 3 AND TAGS = 'a'";
        for (group, filter) in [("sql", ["--sql", sql]), ("tag", ["--tag", "c || b"])] {
            let again =
                run.consume("T", group, 3, &[&filter[..], &["--fail", "2", "--retry-level", "1"]].concat());
            let times = again.iter().filter_map(|message| message["reconsumeTimes"].as_i64());
            assert_eq!(times.sum::<i64>(), 2, "{:?}: {again:?}", run.client);
            let expected: &[&str] = if group == "sql" { &["3", "4", "5"] } else { &["9"] };
            assert_eq!(found(&again), expected.iter().map(|n| (*n).to_owned()).collect(), "{:?}", run.client);
        }
        if run.client == Rocketmq::Java5 {
            let mode = SetMessageRequestMode {
                topic: "T".into(),
                consumer_group: "pop".into(),
                mode: RequestMode::Pop,
                pop_share_queue_num: 0,
            };
            run::ask(run.server.broker, BrokerCode::SetMessageRequestMode, &[], &mode.encode());
            let popped = run.consume("T", "pop", 3, &["--pop", "--sql", sql, "--fail", "1"]);
            assert_eq!(found(&popped), ["3", "4", "5"].map(str::to_owned).into(), "{popped:?}");
            assert!(popped.iter().any(|message| message["reconsumeTimes"] == 1), "{popped:?}");
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
        // A broadcasting consumer begins at the end of each queue when it first looks at it: until both have seen something of
        // every queue.
        let mut queues = [BTreeSet::new(), BTreeSet::new()];
        while queues.iter().any(|queues| queues.len() < 3) {
            produce(&clients, &server, "T", "3", &["--tag", "early"]);
            for (consumer, queues) in consumers.iter_mut().zip(&mut queues) {
                while let Some(message) = consumer.message_within(Duration::from_millis(200)) {
                    queues.insert(message["queueId"].as_i64());
                }
            }
        }
        produce(&clients, &server, "T", "9", &["--tag", &group]);
        let of_each = consumers.each_mut().map(|consumer| {
            let own = std::iter::from_fn(|| Some(consumer.message()))
                .filter(|message| message["properties"]["TAGS"] == *group);
            own.take(9).map(|message| id(&message)).collect::<BTreeSet<_>>()
        });
        assert_eq!(of_each[0], of_each[1], "{client:?}");
        assert_eq!(of_each[0].len(), 9, "{client:?}");
    }
}
