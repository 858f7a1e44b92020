//! Topics of special kinds with every unmodified client that can use them (Java 5.5.0 and 4.9.8, Go): priority topics, light
//! queues, lite topics, compaction topics, and topics that may not be written to.

use crate::common::{
    Rocketmq, eventually,
    remoting::Connection,
    run::{Run, ask, create_topic, with_each},
};
use halley_model::RecordView;
use halley_wire::{
    BrokerCode, Serialize,
    request::{RequestMode, SetMessageRequestMode},
};
use serde_json::Value;

fn configure(run: &Run<'_>, settings: &str) {
    ask(run.server.broker, BrokerCode::UpdateBrokerConfig, &[], settings.as_bytes());
}

/// What is told of each line.
fn numbers(lines: &[Value], name: &str) -> Vec<i64> {
    lines.iter().map(|line| line[name].as_i64().unwrap_or_else(|| panic!("no {name} in {line}"))).collect()
}

fn texts(lines: &[Value], name: &str) -> Vec<String> {
    lines.iter().filter_map(|line| line[name].as_str().map(str::to_owned)).collect()
}

#[test]
fn the_most_urgent_message_comes_first() {
    with_each(|run| {
        create_topic(run.server.broker, "P", "4", "6", "+message.type=PRIORITY");
        let sent = run.run("produce", &["P", "4", "--priority", "{i}"]);
        assert_eq!(numbers(&sent, "queueId"), [0, 1, 2, 3], "{:?}", run.client);
        for message in run.consume("P", "pulls", 4, &[]) {
            let priority = &message["properties"]["_SYS_MSG_PRIORITY_"];
            assert_eq!(*priority, message["queueId"].to_string(), "a priority is a queue: {message}");
        }
        // Who pops is told which first; only the Java client of 5.x does.
        let mode = SetMessageRequestMode {
            topic: "P".into(),
            consumer_group: "pops".into(),
            mode: RequestMode::Pop,
            pop_share_queue_num: 0,
        };
        ask(run.server.broker, BrokerCode::SetMessageRequestMode, &[], &mode.encode());
        let popped = run.with(Rocketmq::Java5).consume("P", "pops", 4, &["--pop", "--threads", "1"]);
        assert_eq!(numbers(&popped, "queueId"), [3, 2, 1, 0], "{:?}: {popped:?}", run.client);
    });
}

/// Reads a light queue of a broker that has this topic, from this offset: no client keeps the progress in light queues, as they
/// take the offsets that messages have in their topic for those in the light queue.
fn light(run: &Run<'_>, topic: &str, queue: &str, group: &str, [from, count]: [usize; 2]) -> Vec<String> {
    let from = from.to_string();
    texts(&run.lite(topic, group, count, &["--light", queue, "--skip", &from]), "body")
}

#[test]
fn a_message_is_in_all_its_light_queues() {
    with_each(|run| {
        configure(run, "enableLmq=true\nenableMultiDispatch=true");
        let send = |count: &str, queues: &str, body: &str| {
            let queues = format!("INNER_MULTI_DISPATCH={queues}");
            let sent = run.run("produce", &["T", count, "--system", &queues, "--body", body]);
            assert!(sent.iter().all(|line| line["status"] == "SEND_OK"), "{sent:?}");
        };
        send("3", "%LMQ%all,%LMQ%some", "first {i}");
        send("2", "%LMQ%all", "second {i}");
        let bodies = texts(&run.consume("T", "whole", 5, &["--orderly"]), "body");
        assert_eq!(bodies.len(), 5);
        let all = light(run, "T", "%LMQ%all", "g", [0, 5]);
        let some = light(run, "T", "%LMQ%some", "g", [0, 3]);
        assert_eq!(all[..3], some, "{:?}: in the order in which they were sent", run.client);
        assert_eq!(all.len(), 5);
        send("2", "%LMQ%some,%LMQ%all", "third {i}");
        let rest = light(run, "T", "%LMQ%some", "g", [3, 2]);
        assert_eq!(rest, light(run, "T", "%LMQ%all", "g", [5, 2]), "{:?}", run.client);
        assert!(rest.iter().all(|body| !all.contains(body)), "{:?}: {rest:?}", run.client);
    });
}

#[test]
fn lite_topics_are_written_by_all_and_popped_by_java_5() {
    with_each(|run| {
        configure(run, "enableLmq=true\nenableMultiDispatch=true");
        create_topic(run.server.broker, "P", "4", "6", "+message.type=LITE");
        let group = r#"{"groupName":"G","consumeEnable":true,"attributes":{"+lite.bind.topic":"P"}}"#;
        ask(run.server.broker, BrokerCode::UpdateAndCreateSubscriptionGroup, &[], group.as_bytes());
        for (lite, count) in [("a", "3"), ("b", "2")] {
            let of = format!("__LITE_TOPIC={lite}");
            run.run("produce", &["P", count, "--system", &of, "--body", &format!("{lite}{{i}}")]);
        }
        // To whom does not know lite topics they are light queues.
        let pulled = light(run, "P", "%LMQ%$P$a", "reader", [0, 3]);
        assert_eq!(pulled.len(), 3, "{:?}", run.client);
        let pops = ["P", "G", "--lite", "a", "--lite", "b", "--expect", "5", "--forget", "1"];
        let popped = run.with(Rocketmq::Java5).run("lite-topics", &pops);
        let of = |lite: &str| {
            let own = popped.iter().filter(|line| line["properties"]["__LITE_TOPIC"] == lite);
            own.map(|line| (line["queueOffset"].as_i64().unwrap(), line["reconsumeTimes"].as_i64().unwrap()))
                .collect::<Vec<_>>()
        };
        // The first message of one of them comes again, and what is behind it waits for that.
        let calm = |count: i64| (0..count).map(|offset| (offset, 0)).collect::<Vec<_>>();
        let again = |count: i64| {
            [(0, 0), (0, 1)].into_iter().chain((1..count).map(|offset| (offset, 0))).collect::<Vec<_>>()
        };
        let (a, b) = (of("a"), of("b"));
        assert!(
            (a == calm(3) && b == again(2)) || (a == again(3) && b == calm(2)),
            "{:?}: {a:?}, {b:?}",
            run.client
        );
        let first = texts(&popped, "body");
        assert_eq!(first.len(), 6, "{first:?}");
    });
}

/// The offsets of a queue that a pull from its beginning finds.
fn offsets(run: &Run<'_>, topic: &str) -> Vec<i64> {
    let mut connection = Connection::open(run.server.broker);
    let (mut next, mut found) = ("0".to_owned(), Vec::new());
    loop {
        let fields = [
            ("consumerGroup", "g"),
            ("topic", topic),
            ("queueId", "0"),
            ("queueOffset", &next),
            ("maxMsgNums", "32"),
            ("sysFlag", "4"),
            ("commitOffset", "0"),
            ("suspendTimeoutMillis", "0"),
            ("subscription", "*"),
            ("subVersion", "0"),
        ];
        let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let reply = connection.ask(Serialize::Json, BrokerCode::PullMessage.number(), &fields, b"");
        let reply = reply.unwrap().unwrap();
        if reply.code != 0 {
            return found;
        }
        let mut rest = &reply.body[..];
        while !rest.is_empty() {
            let record = RecordView::parse(rest).unwrap();
            found.push(record.queue_offset() as i64);
            rest = &rest[record.total_len()..];
        }
        next = reply.ext["nextBeginOffset"].clone();
    }
}

#[test]
fn of_a_key_the_newest_message_is_left() {
    with_each(|run| {
        // Files of nine messages; all but the last are compacted.
        configure(
            run,
            "compactionScheduleInternal=500\ncompactionMappedFileSize=46000\ncompactionCqMappedFileSize=460",
        );
        create_topic(run.server.broker, "C", "1", "6", "+cleanup.policy=COMPACTION");
        for round in ["old", "new"] {
            let sent = run.run("produce", &["C", "18", "--key", "k{i}", "--body", round]);
            assert!(sent.iter().all(|line| line["status"] == "SEND_OK"), "{sent:?}");
        }
        // Fills the last file with newest messages.
        run.run("produce", &["C", "9", "--key", "other{i}", "--body", "new"]);
        eventually("a compacted queue", || offsets(run, "C")[0] >= 18);
        let left = offsets(run, "C");
        assert_eq!(left.len(), 27, "{left:?}");
        // The hole at the beginning and what is behind it, to each consumer that the client has.
        let pushed = run.consume("C", "pushed", left.len(), &["--orderly"]);
        assert_eq!(numbers(&pushed, "queueOffset"), left, "{:?}", run.client);
        assert!(texts(&pushed, "body").windows(2).all(|pair| pair[0] == pair[1]), "{pushed:?}");
        if run.client != Rocketmq::Go {
            let polled = run.lite("C", "polled", left.len(), &[]);
            assert_eq!(numbers(&polled, "queueOffset"), left, "{:?}", run.client);
        }
        // A message without a key has no place here.
        let refused = run.try_run("produce", &["C", "1", "--retries", "0"]).unwrap_err();
        assert!(refused.contains("13"), "{:?}: MESSAGE_ILLEGAL: {refused}", run.client);
    });
}

#[test]
fn a_topic_that_may_only_be_read_is_not_written_to() {
    with_each(|run| {
        create_topic(run.server.broker, "T", "2", "6", "");
        run.run("produce", &["T", "4"]);
        create_topic(run.server.broker, "T", "2", "4", "");
        run.try_run("produce", &["T", "1", "--retries", "0"]).unwrap_err();
        assert_eq!(run.consume("T", "g", 4, &[]).len(), 4);
        create_topic(run.server.broker, "T", "2", "6", "");
        run.run("produce", &["T", "1"]);
        assert_eq!(run.consume("T", "g", 1, &[]).len(), 1);
    });
}
