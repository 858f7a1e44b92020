//! The real `mqadmin` of RocketMQ 5.5.0 against a real server: topics, groups, offsets, clients, statistics, settings.

use crate::common::{
    Rocketmq, Server, clients, eventually,
    mqadmin::{mqadmin, mqadmin_at, tools},
    oracle::Oracle,
};
use std::{
    fs,
    path::Path,
    process::{Child, Stdio},
    thread,
};

/// Checks that each command's output has a text, or lacks it where it begins with `!`.
fn check(jars: &Path, server: &Server, commands: &[(&str, &[&str])]) {
    let lines: Vec<_> = commands.iter().map(|(line, _)| *line).collect();
    for ((line, texts), answer) in commands.iter().zip(mqadmin(jars, server, &lines)) {
        for text in *texts {
            let (wanted, text) = text.strip_prefix('!').map_or((true, *text), |text| (false, text));
            assert_eq!(answer.contains(text), wanted, "{line}: {text:?} in {answer}");
        }
    }
}

fn produce(clients: &Path, server: &Server, topic: &str, count: &str) {
    let namesrv = server.namesrv.to_string();
    let sent = Rocketmq::Java5.run(clients, &["produce", &namesrv, topic, count]);
    sent.unwrap_or_else(|output| panic!("produce {topic}: {output}"));
}

/// A consumer that goes on until its input ends.
fn consumer(clients: &Path, server: &Server, topic: &str, group: &str) -> Child {
    let namesrv = server.namesrv.to_string();
    let mut command = Rocketmq::Java5.command(clients, &["consume", &namesrv, topic, group]);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap()
}

#[test]
fn topics_live_and_die() {
    let (Some(clients), Some(jars)) = (clients(), tools()) else { return };
    let mut server = Server::start("");
    let create = "updateTopic -n NS -b BROKER -t T1 -r 2 -w 2 -a +message.type=NORMAL";
    check(
        &jars,
        &server,
        &[
            (create, &["create topic to 127.0.0.1", "success", "attributes={+message.type=NORMAL}"]),
            ("updateTopic -n NS -b BROKER -t T1 -r 2 -w 2 -a +message.type=FOO", &["value is not in set: ["]),
            ("updateTopic -n NS -b BROKER -t TBW102 -r 2 -w 2", &["conflict with system topic"]),
            ("updateTopic -n NS -c DefaultCluster -t T2 -r 3 -w 3", &["success"]),
            ("updateTopicPerm -n NS -b BROKER -t T2 -p 4", &["update topic perm from 6 to 4"]),
            ("topicList -n NS", &["T1", "T2", "DefaultCluster", "broker-a"]),
            ("topicRoute -n NS -t T2", &["\"perm\":4", "\"readQueueNums\":3"]),
            ("topicClusterList -n NS -t T1", &["DefaultCluster"]),
            ("topicStatus -n NS -t T1", &["broker-a", "0                     0"]),
        ],
    );
    produce(&clients, &server, "T1", "10");
    let status = &mqadmin(&jars, &server, &["topicStatus -n NS -t T1"])[0];
    let ends = status.lines().filter(|line| line.starts_with("broker-a"));
    let ends: u64 = ends.map(|line| line.split_whitespace().nth(3).unwrap().parse::<u64>().unwrap()).sum();
    assert_eq!(ends, 10, "{status}");
    check(
        &jars,
        &server,
        &[
            (
                "deleteTopic -n NS -c DefaultCluster -t T1",
                &["delete topic [T1] from cluster [DefaultCluster] success"],
            ),
            ("topicList -n NS", &["!T1\n", "T2"]),
            ("topicStatus -n NS -t T1", &["17"]),
            (create, &["success"]),
        ],
    );
    // Offsets go on: no message of the old topic is seen, and no offset is given twice, also by a server that was killed.
    let begins = |server: &Server| {
        let status = mqadmin(&jars, server, &["topicStatus -n NS -t T1"]).remove(0);
        let lines = status.lines().filter(|line| line.starts_with("broker-a"));
        let bounds = lines.map(|line| {
            let numbers: Vec<u64> =
                line.split_whitespace().skip(1).take(3).map(|number| number.parse().unwrap()).collect();
            (numbers[1], numbers[2])
        });
        bounds.collect::<Vec<_>>()
    };
    let before = begins(&server);
    assert_eq!(before.len(), 2, "{before:?}");
    assert!(before.iter().all(|(min, max)| min == max), "{before:?}");
    assert_eq!(before.iter().map(|(_, max)| max).sum::<u64>(), 10);
    server.kill();
    server.restart();
    assert_eq!(begins(&server), before);
    produce(&clients, &server, "T1", "4");
    let namesrv = server.namesrv.to_string();
    let read = Rocketmq::Java5.run(&clients, &["consume", &namesrv, "T1", "fresh", "--expect", "4"]).unwrap();
    assert_eq!(read.iter().filter(|line| line.get("body").is_some()).count(), 4, "{read:?}");
}

#[test]
fn groups_and_their_progress() {
    let (Some(clients), Some(jars)) = (clients(), tools()) else { return };
    let server = Server::start("");
    produce(&clients, &server, "T1", "12");
    let namesrv = server.namesrv.to_string();
    Rocketmq::Java5.run(&clients, &["consume", &namesrv, "T1", "G1", "--expect", "12"]).unwrap();
    check(
        &jars,
        &server,
        &[
            (
                "updateSubGroup -n NS -b BROKER -g G2 -s false --attributes +priority.factor=10",
                &["create subscription group to"],
            ),
            ("updateSubGroup -n NS -b BROKER -g G2 -s false --attributes +foo=1", &["unsupported key: foo"]),
            ("updateSubGroup -n NS -b BROKER -g a/b", &["contains illegal characters"]),
            ("getConsumerConfig -n NS -g G2", &["consumeEnable", "false", "priority.factor=10"]),
            ("consumerProgress -n NS -g G1", &["T1", "Consume Diff Total: 0"]),
            ("consumerProgress -n NS", &["G1"]),
            ("brokerConsumeStats -n NS -b BROKER", &["T1", "G1", "Diff Total: 0"]),
            // The tool asks for the way to the group's retry topic.
            ("updateSubGroup -n NS -b BROKER -g G3", &["success"]),
            ("updateTopic -n NS -b BROKER -t %RETRY%G3 -r 1 -w 1", &["success"]),
            ("cloneGroupOffset -n NS -s G1 -d G3 -t T1 -o true", &["clone group offset success"]),
            ("consumerProgress -n NS -g G3", &["Consume Diff Total: 0"]),
            ("consumerConnection -n NS -g G1", &["not online"]),
            ("resetOffsetByTime -n NS -g G3 -t T1 -s 0 -f true", &["T1", "!Exception"]),
            ("consumerProgress -n NS -g G3", &["Consume Diff Total: 12"]),
            ("skipAccumulatedMessage -n NS -g G3 -t T1", &["!Exception"]),
            ("consumerProgress -n NS -g G3", &["Consume Diff Total: 0"]),
            ("deleteSubGroup -n NS -b BROKER -g G3 -r true", &["delete subscription group [G3] from broker"]),
            ("consumerProgress -n NS -g G3", &["!T1"]),
            ("statsAll -n NS -t T1", &["T1"]),
        ],
    );
    let refused = Rocketmq::Java5
        .run(&clients, &["consume", &namesrv, "T1", "G2", "--expect", "1", "--timeout-s", "3"]);
    assert!(refused.is_err(), "the group may not consume: {refused:?}");
}

#[test]
fn clients_are_seen_and_asked() {
    let (Some(clients), Some(jars)) = (clients(), tools()) else { return };
    let server = Server::start("");
    produce(&clients, &server, "T1", "6");
    let mut running = consumer(&clients, &server, "T1", "G1");
    let online = || mqadmin(&jars, &server, &["consumerConnection -n NS -g G1"]).remove(0);
    let mut answer = String::new();
    eventually("a consumer online", || {
        answer = online();
        answer.contains("CLUSTERING")
    });
    assert!(answer.contains("V5_5_0") && answer.contains("JAVA") && answer.contains("CONSUME_"), "{answer}");
    // The first column of a connection's line is its id.
    let line = answer.lines().find(|line| line.contains("V5_5_0")).unwrap_or_else(|| panic!("{answer}"));
    let client = line.split_whitespace().next().unwrap().to_owned();
    eventually("its progress", || {
        mqadmin(&jars, &server, &["consumerProgress -n NS -g G1"])[0].contains("T1")
    });
    let status = format!("consumerStatus -n NS -g G1 -i {client}");
    check(
        &jars,
        &server,
        &[
            (&status, &["#Consumer Properties#", "#Consumer Offset#", "T1"]),
            ("consumerStatus -n NS -g G1 -i nobody", &["not online"]),
            ("producerConnection -n NS -g nobody -t T1", &["not exist"]),
            ("consumerProgress -n NS -g G1", &["T1"]),
            ("resetOffsetByTime -n NS -g G1 -t T1 -s 0", &["broker-a", "!Exception"]),
            // The other way: the broker has its clients do it.
            ("updateBrokerConfig -n NS -b BROKER -k useServerSideResetOffset -v false", &["success"]),
            ("resetOffsetByTime -n NS -g G1 -t T1 -s 0", &["broker-a", "!Exception"]),
        ],
    );
    drop(running.stdin.take());
    running.wait().unwrap();
}

#[test]
fn settings_and_figures() {
    let (Some(clients), Some(jars)) = (clients(), tools()) else { return };
    let mut server = Server::start("");
    produce(&clients, &server, "T1", "20");
    check(
        &jars,
        &server,
        &[
            (
                "brokerStatus -n NS -b BROKER",
                &[
                    "msgPutTotalTodayNow",
                    "putTps",
                    "bootTimestamp",
                    "commitLogMaxOffset",
                    "V5_5_0",
                    "runtime",
                ],
            ),
            ("clusterList -n NS", &["DefaultCluster", "broker-a", "V5_5_0"]),
            (
                "getBrokerConfig -n NS -b BROKER",
                &["brokerName", "autoCreateTopicEnable", "useServerSideResetOffset"],
            ),
            ("updateBrokerConfig -n NS -b BROKER -k autoCreateTopicEnable -v false", &["success"]),
            ("updateBrokerConfig -n NS -b BROKER -k brokerConfigPath -v x", &["black list"]),
            ("updateBrokerConfig -n NS -b BROKER -k maxMessageSize -v 1", &["cannot be changed"]),
            ("updateBrokerConfig -n NS -b BROKER -k fooBar -v 1", &["no setting fooBar"]),
            ("cleanUnusedTopic -n NS -b BROKER", &["success"]),
            ("cleanExpiredCQ -n NS -b BROKER", &["success"]),
            ("deleteExpiredCommitLog -n NS -b BROKER", &["success"]),
            ("sendMsgStatus -n NS -b broker-a -c 2 -s 64", &["rt=", "SEND_OK"]),
        ],
    );
    let figures = mqadmin(&jars, &server, &["brokerStatus -n NS -b BROKER"]).remove(0);
    let number = |name: &str| {
        let line = figures.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{figures}"));
        line.rsplit(':').next().unwrap().trim().parse::<u64>().unwrap()
    };
    assert!(number("msgPutTotalTodayNow") >= 20 && number("putMessageTimesTotal") >= 20, "{figures}");
    // A change outlives the process.
    server.kill();
    server.restart();
    check(&jars, &server, &[("getBrokerConfig -n NS -b BROKER", &["autoCreateTopicEnable", "false"])]);
    let namesrv = server.namesrv.to_string();
    let refused = Rocketmq::Java5.run(&clients, &["produce", &namesrv, "NEW", "1"]).unwrap_err();
    assert!(refused.contains("NEW") || refused.contains("17"), "{refused}");
}

/// Commands of what Halley has nothing of: cold data of the page cache, RocksDB, epochs of a controller.
const NOT_SERVED: [&str; 7] = [
    "getBrokerEpoch",
    "getColdDataFlowCtrInfo",
    "updateColdDataFlowCtrGroupConfig",
    "removeColdDataFlowCtrGroupConfig",
    "setCommitLogReadAheadMode",
    "checkRocksdbCqWriteProgress",
    "switchTimerEngine",
];

#[test]
fn commands_succeed_where_they_do_with_rocketmq() {
    let Some(jars) = tools() else { return };
    let Some(oracle) = Oracle::start("") else { return };
    let server = Server::start("");
    let commands =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rocketmq/admin/commands.txt"))
            .unwrap();
    let run = |namesrv, broker| {
        let folder = tempfile::tempdir().unwrap();
        let topics = r#"[{"topicName":"TL1","readQueueNums":2,"writeQueueNums":2,"perm":6}]"#;
        fs::write(folder.path().join("topics.json"), topics).unwrap();
        fs::write(folder.path().join("groups.json"), r#"[{"groupName":"GL1","retryMaxTimes":3}]"#).unwrap();
        let commands = commands.replace("DIR", &folder.path().display().to_string());
        let lines: Vec<_> = commands.lines().filter(|line| !line.starts_with('#')).collect();
        mqadmin_at(&jars, namesrv, broker, &lines)
    };
    let (ours, theirs) = thread::scope(|scope| {
        let theirs = scope.spawn(|| run(oracle.namesrv, oracle.broker));
        (run(server.namesrv, server.broker), theirs.join().unwrap())
    });
    let failed = |answer: &str| answer.contains("Exception");
    let commands = commands.lines().filter(|line| !line.starts_with('#'));
    for (command, (ours, theirs)) in commands.zip(ours.iter().zip(&theirs)) {
        let name = command.split(' ').next().unwrap();
        if NOT_SERVED.contains(&name) {
            assert!(ours.contains("CODE: 3 "), "{command}: {ours}");
        } else {
            assert!(!failed(ours) || failed(theirs), "{command}\nHalley: {ours}\nRocketMQ: {theirs}");
        }
    }
}
