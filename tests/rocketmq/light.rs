//! Priority topics, light message queues, lite topics and POP's second retry topics: a real server, alone and beside a real
//! RocketMQ 5.5.0 that is asked the same.

mod differences;
mod scripts;

use crate::{
    common::{
        Server,
        mqadmin::{mqadmin, tools},
        oracle::Oracle,
        remoting::Connection,
    },
    differential::{
        compare::Difference,
        script::{Pair, Script},
    },
};
use halley_model::{RecordView, light};
use halley_wire::{BrokerCode, Serialize};
use serde_json::json;
use std::collections::BTreeSet;

/// What the oracle is started with, and Halley is told.
const SETTINGS: &str = "enableLmq=true\nenableMultiDispatch=true";

#[test]
fn halley_answers_like_rocketmq() {
    let Some(oracle) = Oracle::start(SETTINGS) else { return };
    let halley = Server::start("");
    configure(&halley, SETTINGS);
    let only = std::env::var("DIFFERENTIAL").ok();
    let mut found = Vec::new();
    let mut asked = Vec::new();
    for Script { name, steps } in scripts::all() {
        if only.as_ref().is_some_and(|only| *only != name) {
            continue;
        }
        let mut pair = Pair::new(&oracle, &halley, Serialize::Json, |difference| {
            differences::row_of(difference).is_some()
        });
        for step in &steps {
            found.extend(pair.step(name, step));
        }
        asked.append(&mut pair.asked);
    }
    if only.is_some() {
        found.iter().for_each(|difference| println!("{difference}"));
    }
    let unexpected = found.iter().filter(|difference| differences::row_of(difference).is_none());
    let mut wrong: Vec<_> = unexpected.map(Difference::to_string).collect();
    if only.is_none() {
        wrong.extend(differences::outdated(&found));
    }
    println!("{} requests, {} differences", asked.len(), found.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let compared: BTreeSet<_> = asked.iter().map(|(_, role, code)| (role, code)).collect();
    for (role, code) in compared {
        crate::common::observed::write(&json!({"compared": {"role": role, "code": code}}));
    }
}

/// The index of light queues is a view of the log: with and without its files, after a kill, they are what they were and go
/// on where they ended.
#[test]
fn light_queues_survive_a_kill() {
    let mut server = Server::start("");
    configure(&server, SETTINGS);
    let mut sent = 0;
    for round in 0..3 {
        let mut client = Connection::open(server.broker);
        for number in 0..20 {
            let queues = if number % 2 == 0 { "%LMQ%even,%LMQ%all" } else { "%LMQ%$t$odd,%LMQ%all" };
            let offset = send(&mut client, "T", queues, &format!("m{}", sent + number));
            assert!(offset.is_some(), "round {round}");
        }
        sent += 20;
        for (queue, expected) in [("%LMQ%even", sent / 2), ("%LMQ%$t$odd", sent / 2), ("%LMQ%all", sent)] {
            assert_eq!(bodies_of(&mut client, queue).len(), expected, "{queue} in round {round}");
        }
        let all: Vec<_> = (0..sent).map(|number| format!("m{number}")).collect();
        assert_eq!(bodies_of(&mut client, "%LMQ%all"), all);
        server.kill();
        if round == 1 {
            for view in ["index", "snapshot"] {
                std::fs::remove_dir_all(server.dir.path().join("data").join(view)).unwrap();
            }
        }
        server.restart();
    }
    let mut client = Connection::open(server.broker);
    assert_eq!(bodies_of(&mut client, "%LMQ%all").len(), sent, "the settings outlive the process too");
}

/// Whoever waits at a light queue is woken by a message of another topic.
#[test]
fn a_waiting_pull_hears_of_a_light_queue() {
    let server = Server::start("");
    configure(&server, SETTINGS);
    let broker = server.broker;
    let waiting = std::thread::spawn(move || {
        let fields = pull_fields("%LMQ%late", 0, "6", "20000");
        Connection::open(broker).ask(Serialize::Json, 11, &fields, b"").unwrap().unwrap()
    });
    crate::common::eventually("a waiting pull", || server.metric("halley_parked_pulls") > 0.0);
    assert!(send(&mut Connection::open(broker), "T", "%LMQ%late", "now").is_some());
    let reply = waiting.join().unwrap();
    assert_eq!((reply.code, reply.ext["nextBeginOffset"].as_str()), (0, "1"));
}

/// Without the settings a name is a property like any other, and no light queue is there.
#[test]
fn light_queues_are_off_by_default() {
    let server = Server::start("");
    let mut client = Connection::open(server.broker);
    send(&mut client, "T", "%LMQ%a", "m").unwrap();
    let fields = pull_fields("%LMQ%a", 0, "4", "0");
    assert_eq!(client.ask(Serialize::Json, 11, &fields, b"").unwrap().unwrap().code, 17);
    configure(&server, SETTINGS);
    assert!(bodies_of(&mut client, "%LMQ%a").is_empty());
}

/// Who waits for messages of lite topics is told by the first that comes, and sees where others take a lite topic over.
#[test]
fn lite_topics_wake_who_waits() {
    let server = lite_server();
    let broker = server.broker;
    let mut client = Connection::open(broker);
    for (id, group) in [("c1", "G"), ("c2", "X")] {
        assert_eq!(subscribe(&mut client, id, group, "a"), 0);
    }
    let wait = move |id: &'static str, group: &'static str| {
        std::thread::spawn(move || {
            let reply =
                Connection::open(broker).ask(Serialize::Json, 200_070, &pop_fields(id, group, "20000"), b"");
            let reply = reply.unwrap().unwrap();
            (reply.code, RecordView::parse(&reply.body).unwrap().body().to_vec())
        })
    };
    let waiting = [wait("c1", "G"), wait("c2", "X")];
    crate::common::eventually("two that wait", || server.metric("halley_parked_pulls") > 1.0);
    send_lite(&mut client, "a", "now");
    for thread in waiting {
        assert_eq!(thread.join().unwrap(), (0, b"now".to_vec()));
    }
    // A message that nobody acknowledged comes again when its time is over, to whoever waits.
    let again = Connection::open(broker).ask(Serialize::Json, 200_070, &pop_fields("c1", "G", "20000"), b"");
    let again = again.unwrap().unwrap();
    assert_eq!((again.code, again.ext["orderCountInfo"].as_str()), (0, "0 qo0%0 1"));
    // Another client of an exclusive group takes the lite topic over, and the first hears of it.
    assert_eq!(subscribe(&mut Connection::open(broker), "c3", "X", "a"), 0);
    let notice = client.next_request().unwrap().unwrap();
    assert_eq!((notice.code, notice.ext["liteTopic"].as_str()), (200_073, "a"));
    assert_eq!((notice.ext["clientId"].as_str(), notice.ext["consumerGroup"].as_str()), ("c2", "X"));
}

/// Lite topics end with their parent, and clients that do not repeat what they want are forgotten.
#[test]
fn lite_topics_end() {
    let server = lite_server();
    let mut client = Connection::open(server.broker);
    subscribe(&mut client, "c1", "G", "a");
    send_lite(&mut client, "a", "m0");
    send_lite(&mut client, "b", "m1");
    let count = |client: &mut Connection| {
        let reply =
            client.ask(Serialize::Json, 200_075, &text_fields(&[("topic", "P")]), b"").unwrap().unwrap();
        serde_json::from_slice::<serde_json::Value>(&reply.body).unwrap()["liteTopicCount"].as_u64()
    };
    assert_eq!(count(&mut client), Some(2));
    // The parent topic ends, and with it all of its own.
    let deleted = client.ask(Serialize::Json, 215, &text_fields(&[("topic", "P")]), b"").unwrap().unwrap();
    assert_eq!(deleted.code, 0);
    create_parent(&mut client);
    assert_eq!(count(&mut client), Some(0));
    let fields = text_fields(&[("topic", "%LMQ%$P$a"), ("queueId", "0"), ("consumerGroup", "G")]);
    let committed = client.ask(Serialize::Json, 14, &fields, b"").unwrap().unwrap();
    assert_eq!(committed.code, 22, "what groups committed is forgotten");
    subscribe(&mut client, "c1", "G", "a");
    send_lite(&mut client, "a", "m2");
    let reply = client.ask(Serialize::Json, 200_070, &pop_fields("c1", "G", "10000"), b"").unwrap().unwrap();
    let record = RecordView::parse(&reply.body).unwrap();
    assert_eq!((record.body(), light::position_in(&record, "%LMQ%$P$a", 0)), (&b"m2"[..], Some(1)));
    configure(&server, "liteEventCheckInterval=100\nliteSubscriptionCheckTimeoutMills=500");
    let known = |client: &mut Connection| {
        let fields =
            text_fields(&[("parentTopic", "P"), ("group", "G"), ("clientId", "c1"), ("maxCount", "9")]);
        let reply = client.ask(Serialize::Json, 200_077, &fields, b"").unwrap().unwrap();
        serde_json::from_slice::<serde_json::Value>(&reply.body).unwrap()["liteTopicCount"].as_i64()
    };
    crate::common::eventually("a client that is forgotten", || known(&mut client) == Some(-1));
}

/// The shortest time after which a lite topic ends is a minute.
#[test]
fn a_lite_topic_ends_by_itself() {
    let server = lite_server();
    configure(&server, "minLiteTTl=0\nliteTtlCheckInterval=1000");
    let mut client = Connection::open(server.broker);
    subscribe(&mut client, "c1", "G", "a");
    send_lite(&mut client, "a", "m");
    let ends = |client: &mut Connection| {
        let fields = text_fields(&[("parentTopic", "P"), ("liteTopic", "a")]);
        let reply = client.ask(Serialize::Json, 200_076, &fields, b"").unwrap().unwrap();
        let body: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
        (body["topicOffset"]["maxOffset"].as_u64(), body["subscriber"].as_array().map(Vec::len))
    };
    assert_eq!(ends(&mut client), (Some(1), Some(1)));
    std::thread::sleep(std::time::Duration::from_secs(60));
    crate::common::eventually("a lite topic that ended", || ends(&mut client) == (Some(0), Some(0)));
}

#[test]
fn mqadmin_shows_lite_topics() {
    let Some(jars) = tools() else { return };
    let server = lite_server();
    let mut client = Connection::open(server.broker);
    subscribe(&mut client, "c1", "G", "a");
    for number in 0..3 {
        send_lite(&mut client, "a", &format!("m{number}"));
    }
    client.ask(Serialize::Json, 200_070, &pop_fields("c1", "G", "10000"), b"").unwrap().unwrap();
    let commands: [(&str, &[&str]); 8] = [
        ("getBrokerLiteInfo -n NS -b BROKER -d", &["Store Type", "default", "P", "G"]),
        ("getParentTopicInfo -n NS -p P", &["P", "G"]),
        ("getLiteTopicInfo -n NS -p P -l a -s", &["MaxOffset", "3", "c1"]),
        ("getLiteClientInfo -n NS -p P -g G -c c1 -s", &["c1", "a"]),
        ("getLiteGroupInfo -n NS -p P -g G", &["Total Lag Count", "3"]),
        ("getLiteGroupInfo -n NS -p P -g G -l a", &["Total Lag Count", "3"]),
        ("triggerLiteDispatch -n NS -p P -g G", &["broker-a"]),
        ("triggerLiteDispatch -n NS -p P -g G -c c1 -b broker-a", &["broker-a"]),
    ];
    let lines = commands.map(|(line, _)| line);
    for ((line, texts), answer) in commands.iter().zip(mqadmin(&jars, &server, &lines)) {
        for text in *texts {
            assert!(answer.contains(text), "{line}: {text:?} in {answer}");
        }
    }
}

/// A server with light queues, a parent topic `P`, and the groups `G` and `X`, of which one is exclusive.
fn lite_server() -> Server {
    let server = Server::start("");
    configure(&server, SETTINGS);
    let mut client = Connection::open(server.broker);
    create_parent(&mut client);
    for (group, more) in [("G", ""), ("X", r#","+lite.sub.model":"Exclusive""#)] {
        let body = format!(
            r#"{{"groupName":"{group}","consumeEnable":true,"attributes":{{"+lite.bind.topic":"P"{more}}}}}"#
        );
        assert_eq!(client.ask(Serialize::Json, 200, &[], body.as_bytes()).unwrap().unwrap().code, 0);
    }
    server
}

fn create_parent(client: &mut Connection) {
    let fields = text_fields(&[
        ("topic", "P"),
        ("defaultTopic", "TBW102"),
        ("readQueueNums", "4"),
        ("writeQueueNums", "4"),
        ("perm", "6"),
        ("topicFilterType", "SINGLE_TAG"),
        ("topicSysFlag", "0"),
        ("order", "false"),
        ("attributes", "+message.type=LITE,+lite.topic.expiration=1"),
    ]);
    assert_eq!(client.ask(Serialize::Json, 17, &fields, b"").unwrap().unwrap().code, 0);
}

fn subscribe(client: &mut Connection, id: &str, group: &str, lite: &str) -> i32 {
    let body = format!(
        r#"{{"subscriptionSet":[{{"action":"PARTIAL_ADD","clientId":"{id}","group":"{group}","topic":"P","liteTopicSet":["{lite}"]}}]}}"#
    );
    client.ask(Serialize::Json, 200_071, &[], body.as_bytes()).unwrap().unwrap().code
}

fn send_lite(client: &mut Connection, lite: &str, body: &str) {
    let properties = format!("__LITE_TOPIC\x01{lite}\x02");
    assert!(send_with(client, "P", &properties, body).is_some());
}

fn pop_fields(client: &str, group: &str, wait_ms: &str) -> Vec<(String, String)> {
    text_fields(&[
        ("clientId", client),
        ("consumerGroup", group),
        ("topic", "P"),
        ("maxMsgNum", "32"),
        ("invisibleTime", "1500"),
        ("pollTime", wait_ms),
        ("bornTime", "0"),
    ])
}

fn text_fields(fields: &[(&str, &str)]) -> Vec<(String, String)> {
    fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Sends a message into light queues; its offset in its own.
fn send(client: &mut Connection, topic: &str, queues: &str, body: &str) -> Option<String> {
    send_with(client, topic, &format!("INNER_MULTI_DISPATCH\x01{queues}\x02"), body)
}

fn send_with(client: &mut Connection, topic: &str, properties: &str, body: &str) -> Option<String> {
    let fields = text_fields(&[
        ("a", "p"),
        ("b", topic),
        ("c", "TBW102"),
        ("d", "4"),
        ("e", "1"),
        ("f", "0"),
        ("g", "1700000000000"),
        ("h", "0"),
        ("i", properties),
        ("j", "0"),
        ("k", "false"),
        ("m", "false"),
    ]);
    let reply = client.ask(Serialize::Json, 310, &fields, body.as_bytes()).unwrap().unwrap();
    reply.ext.get("queueOffset").cloned().filter(|_| reply.code == 0)
}

fn pull_fields(topic: &str, offset: usize, flags: &str, wait_ms: &str) -> Vec<(String, String)> {
    text_fields(&[
        ("consumerGroup", "g"),
        ("topic", topic),
        ("queueId", "0"),
        ("queueOffset", &offset.to_string()),
        ("maxMsgNums", "32"),
        ("sysFlag", flags),
        ("commitOffset", "0"),
        ("suspendTimeoutMillis", wait_ms),
        ("subscription", "*"),
        ("subVersion", "0"),
        ("expressionType", "TAG"),
    ])
}

/// The bodies of all messages of a light queue.
fn bodies_of(client: &mut Connection, queue: &str) -> Vec<String> {
    let mut bodies = Vec::new();
    loop {
        let fields = pull_fields(queue, bodies.len(), "4", "0");
        let reply = client.ask(Serialize::Json, 11, &fields, b"").unwrap().unwrap();
        let mut rest = &reply.body[..];
        if rest.is_empty() {
            return bodies;
        }
        while !rest.is_empty() {
            let record = RecordView::parse(rest).unwrap();
            assert_eq!(light::position_in(&record, queue, 0), Some(bodies.len() as u64));
            bodies.push(String::from_utf8(record.body().to_vec()).unwrap());
            rest = &rest[record.total_len()..];
        }
    }
}

fn configure(server: &Server, settings: &str) {
    let code = BrokerCode::UpdateBrokerConfig.number();
    let reply = Connection::open(server.broker).ask(Serialize::Json, code, &[], settings.as_bytes());
    assert!(reply.unwrap().is_some_and(|reply| reply.code == 0));
}
