//! What tools ask of a broker.

use super::{
    script::{Case, Step, ask, ask_namesrv},
    scripts::{ALL, PULL, SEND, consumer, create, heartbeat, send_one},
};

/// A group's settings, with these members beside its name.
fn group(name: &str, members: &str) -> String {
    format!(r#"{{"groupName":"{name}"{members}}}"#)
}

/// 200, 201, 207, 225, 352 and 353.
pub(crate) fn groups() -> Vec<Step> {
    let put = |name: &str, body: &str| Step::from(ask(200, name, "").body(body));
    let get = |name: &str, fields: &str| ask(352, name, "group={T}g").with(fields);
    let forbid = |name: &str, fields: &str| ask(353, name, "group={T}g; topic={T}").with(fields);
    let delete = |name: &str, fields: &str| ask(207, name, "groupName={T}g; cleanOffset=true").with(fields);
    let full = r#","consumeEnable":false,"consumeFromMinEnable":false,"consumeBroadcastEnable":false,"consumeMessageOrderly":true,"retryQueueNums":2,"retryMaxTimes":3,"brokerId":1,"whichBrokerWhenConsumeSlowly":2,"notifyConsumerIdsChangedEnable":false,"groupSysFlag":1,"consumeTimeoutMinute":7,"attributes":{}"#;
    let mut steps: Vec<Step> = vec![
        create().into(),
        get("made up by asking", "group={T}made").into(),
        put("with what is usual", &group("{T}g", "")),
        get("what is usual", "").into(),
        put("with everything set", &group("{T}f", full)),
        get("everything set", "group={T}f").into(),
        put("again", &group("{T}f", r#","retryMaxTimes":4"#)),
        get("changed", "group={T}f").into(),
        put("no tries", &group("{T}n", r#","retryMaxTimes":-1,"retryQueueNums":0"#)),
        get("no tries", "group={T}n").into(),
        put("wrong type", &group("{T}w", r#","retryMaxTimes":"many""#)),
        put("illegal name", &group("{T} x", "")),
        put("no name", "{}"),
        put("no JSON", "{"),
        ask(200, "no body", "").into(),
        put("unknown attribute", &group("{T}a", r#","attributes":{"+color":"red"}"#)),
        put("priority factor", &group("{T}a", r#","attributes":{"+priority.factor":"50"}"#)),
        put("priority factor out of range", &group("{T}b", r#","attributes":{"+priority.factor":"200"}"#)),
        get("with an attribute", "group={T}a").into(),
        ask(225, "a list", "")
            .body(r#"{"groupConfigList":[{"groupName":"{T}l1"},{"groupName":"{T}l2","retryMaxTimes":5}]}"#)
            .into(),
        get("first of the list", "group={T}l1").into(),
        get("second of the list", "group={T}l2").into(),
        ask(225, "no list", "").body("{}").into(),
        get("an illegal name", "group={T} x").into(),
        forbid("is it forbidden", "").into(),
        forbid("forbid it", "readable=false").into(),
        forbid("it is", "").into(),
        ask(11, "pull what is forbidden", PULL).into(),
        forbid("allow it", "readable=true").into(),
        forbid("unknown topic", "topic={T}unknown; readable=false").into(),
        forbid("unknown group", "group={T}unknown").into(),
        delete("delete", "").into(),
        delete("twice", "").into(),
        delete("without its offsets", "groupName={T}f; cleanOffset=false").into(),
        delete("never there", "groupName={T}never").into(),
    ];
    steps.extend(get("config", "").without_each_field());
    steps.extend(forbid("forbidden", "").without_each_field());
    steps.extend(delete("delete", "").without_each_field());
    steps
}

/// 18, 215 and 351.
pub(crate) fn topics() -> Vec<Step> {
    let get = |name: &str, fields: &str| ask(351, name, "topic={T}; lo=true").with(fields);
    let delete = |name: &str, fields: &str| ask(215, name, "topic={T}").with(fields);
    let list = r#"{"topicConfigList":[{"topicName":"{T}l1","readQueueNums":2,"writeQueueNums":2,"perm":6,"topicFilterType":"SINGLE_TAG","topicSysFlag":0,"order":false},{"topicName":"{T}l2","readQueueNums":1,"writeQueueNums":3,"perm":4,"topicFilterType":"SINGLE_TAG","topicSysFlag":0,"order":true}]}"#;
    let mut steps: Vec<Step> = vec![
        create().into(),
        get("config", "").into(),
        get("unknown", "topic={T}unknown").into(),
        get("a system topic", "topic=TBW102").into(),
        ask(18, "a list", "").body(list).into(),
        get("first of the list", "topic={T}l1").into(),
        get("second of the list", "topic={T}l2").into(),
        ask(18, "no list", "").body("{}").into(),
        ask(18, "no JSON", "").body("{").into(),
        ask(18, "no body", "").into(),
        ask(18, "an illegal name", "").body(&list.replace("{T}l1", "{T} x")).into(),
        delete("delete", "topic={T}l1").into(),
        get("deleted", "topic={T}l1").into(),
        delete("twice", "topic={T}l1").into(),
        delete("a system topic", "topic=TBW102").into(),
        delete("an illegal name", "topic={T} x").into(),
        ask(310, "send to what was deleted", SEND).with("b={T}l1; c=none").body("m").into(),
        ask_namesrv(105, "route of what was deleted", "topic={T}l1").into(),
    ];
    steps.extend(get("config", "").without_each_field());
    steps.extend(delete("delete", "").without_each_field());
    steps
}

/// 32, 202, 208, 222, 300, 303, 308, 314 and 343: a topic with four messages of which a group has consumed two.
pub(crate) fn consumption() -> Vec<Step> {
    let by_topic = |code: i32, name: &str, fields: &str| ask(code, name, "topic={T}").with(fields);
    let progress = |name: &str, fields: &str| ask(208, name, "consumerGroup={T}g; topic={T}").with(fields);
    let span = |name: &str, fields: &str| ask(303, name, "topic={T}; group={T}g").with(fields);
    let reset = |name: &str, fields: &str| {
        ask(222, name, "topic={T}; group={T}g; timestamp=-1; isForce=true; offset=-1; queueId=-1")
            .with(fields)
    };
    let corrections = |name: &str, fields: &str| ask(308, name, "topic={T}; compareGroup={T}g").with(fields);
    let clone = |name: &str, fields: &str| {
        ask(314, name, "srcGroup={T}g; destGroup={T}clone; topic={T}; offline=false").with(fields)
    };
    let committed = |name: &str, group: &str| {
        ask(14, name, "topic={T}; queueId=0; setZeroIfNotFound=false").with(&format!("consumerGroup={group}"))
    };
    let mut steps: Vec<Step> = vec![
        create().into(),
        progress("unknown group", "").into(),
        by_topic(300, "nobody", "").into(),
        heartbeat("a consumer", &consumer("c1", "{T}g", "CLUSTERING", ALL)),
        by_topic(202, "an empty topic", "").into(),
        progress("nothing there", "").into(),
        send_one("one", "a").into(),
        send_one("two", "a").into(),
        send_one("three", "b").into(),
        send_one("four", "b").into(),
        ask(15, "two consumed", "consumerGroup={T}g; topic={T}; queueId=0; commitOffset=2").into(),
        by_topic(202, "topic", "").into(),
        by_topic(202, "unknown topic", "topic={T}unknown").into(),
        progress("two of four", "").into(),
        progress("of all topics", "topic=").into(),
        progress("of an unknown topic", "topic={T}unknown").into(),
        progress("of a list", "topic=; topicList={T}").into(),
        by_topic(32, "first stored", "queueId=0").into(),
        by_topic(32, "first of an empty queue", "queueId=1").into(),
        by_topic(32, "first of a queue that is not", "queueId=99").into(),
        by_topic(300, "the group", "").into(),
        by_topic(300, "of an unknown topic", "topic={T}unknown").into(),
        ask(343, "its topics", "group={T}g").into(),
        ask(343, "of an unknown group", "group={T}unknown").into(),
        span("time span", "").into(),
        span("of an unknown topic", "topic={T}unknown").into(),
        span("of an unknown group", "group={T}unknown").into(),
        corrections("no others", "").into(),
        corrections("of an unknown group", "compareGroup={T}unknown").into(),
        clone("clone", "").into(),
        committed("the clone", "{T}clone").into(),
        clone("of an unknown group", "srcGroup={T}unknown").into(),
        clone("of all topics", "destGroup={T}clone2; topic=").into(),
        committed("the other clone", "{T}clone2").into(),
        clone("of an unknown topic", "topic={T}unknown").into(),
        reset("of an unknown topic", "topic={T}unknown").into(),
        reset("of nobody who is connected", "group={T}unknown").into(),
    ];
    steps.extend(progress("progress", "").without_each_field());
    steps.extend(by_topic(32, "first", "queueId=0").without_each_field());
    steps.extend(by_topic(300, "groups", "").without_each_field());
    steps.extend(span("time span", "").without_each_field());
    steps.extend(corrections("corrections", "").without_each_field());
    steps.extend(clone("clone", "").without_each_field());
    steps.extend(reset("reset", "").without_each_field());
    steps
}

/// 203, 204, 223, 307, 309 and 345: nobody answers for the clients.
pub(crate) fn connections() -> Vec<Step> {
    let consumers = |name: &str, fields: &str| ask(203, name, "consumerGroup={T}g").with(fields);
    let producers = |name: &str, fields: &str| ask(204, name, "producerGroup={T}p").with(fields);
    let subscription = |name: &str, fields: &str| ask(345, name, "group={T}g; topic={T}").with(fields);
    let running = |name: &str, fields: &str| {
        ask(307, name, "consumerGroup={T}g; clientId={T}c2; jstackEnable=false").with(fields)
    };
    let direct = |name: &str, fields: &str| {
        ask(309, name, "consumerGroup={T}g; clientId={T}c2; msgId=x; brokerName=broker-a; topic={T}")
            .with(fields)
    };
    let status =
        |name: &str, fields: &str| ask(223, name, "topic={T}; group={T}unknown; clientAddr=").with(fields);
    let mut steps: Vec<Step> = vec![
        create().into(),
        consumers("nobody", "").into(),
        producers("nobody who produces", "").into(),
        subscription("of nobody", "").into(),
        heartbeat("a consumer", &consumer("{T}c1", "{T}g", "CLUSTERING", ALL)),
        heartbeat(
            "a producer",
            r#"{"clientID":"{T}c1","producerDataSet":[{"groupName":"{T}p"}],"consumerDataSet":[]}"#,
        ),
        consumers("one", "").into(),
        producers("one who produces", "").into(),
        subscription("of the group", "").into(),
        subscription("of another topic", "topic={T}unknown").into(),
        running("of a client that is not there", "").into(),
        running("of an unknown group", "consumerGroup={T}unknown").into(),
        direct("by a client that is not there", "").into(),
        direct("by an unknown group", "consumerGroup={T}unknown").into(),
        status("of nobody who is connected", "").into(),
    ];
    steps.extend(consumers("consumers", "").without_each_field());
    steps.extend(producers("producers", "").without_each_field());
    steps.extend(subscription("subscription", "").without_each_field());
    steps.extend(running("running", "").without_each_field());
    steps.extend(direct("directly", "").without_each_field());
    steps
}

/// 12, 33 and 321.
pub(crate) fn queries() -> Vec<Step> {
    const KEY: &str =
        "topic={T}; key=k1; maxNum=32; beginTimestamp=0; endTimestamp=9999999999999; indexType=K";
    let by_key = |name: &str, fields: &str| ask(12, name, KEY).with(fields);
    let by_unique =
        |name: &str, fields: &str| by_key(name, "indexType=U; _UNIQUE_KEY_QUERY=true; key=u1").with(fields);
    let by_offset = |name: &str, fields: &str| ask(33, name, "offset={m.offset}").with(fields);
    let entries = |name: &str, fields: &str| {
        ask(321, name, "topic={T}; queueId=0; index=0; count=10; consumerGroup={T}g").with(fields)
    };
    let send =
        |name: &str, properties: &str| ask(310, name, SEND).with(&format!("i={properties}")).body(name);
    let mut steps: Vec<Step> = vec![
        create().into(),
        send("m", "KEYS\x01k1 k2\x02UNIQ_KEY\x01u1\x02TAGS\x01a\x02").keep("m").into(),
        send("other", "KEYS\x01k2\x02UNIQ_KEY\x01u2\x02").into(),
        by_key("key", "").into(),
        by_key("key of two", "key=k2").into(),
        by_key("one of two", "key=k2; maxNum=1").into(),
        by_key("unknown key", "key=unknown").into(),
        by_key("unknown topic", "topic={T}unknown").into(),
        by_key("none", "maxNum=0").into(),
        by_key("less than none", "maxNum=-1").into(),
        by_key("before there was anything", "endTimestamp=1000").into(),
        by_key("begin after end", "beginTimestamp=9999999999999; endTimestamp=0").into(),
        by_key("no index type", "indexType=").into(),
        by_unique("unique key", "").into(),
        by_unique("unknown unique key", "key=unknown").into(),
        by_offset("offset", "").into(),
        by_offset("no message", "offset=99999999999").into(),
        by_offset("negative", "offset=-1").into(),
        by_offset("no number", "offset=x").into(),
        entries("entries", "").into(),
        entries("from one", "index=1").into(),
        entries("one", "count=1").into(),
        entries("behind the end", "index=7").into(),
        entries("negative", "index=-1").into(),
        entries("none", "count=0").into(),
        entries("unknown topic", "topic={T}unknown").into(),
        entries("a queue that is not", "queueId=99").into(),
        entries("without a group", "consumerGroup=").into(),
    ];
    steps.extend(by_key("key", "").without_each_field());
    steps.extend(by_offset("offset", "").without_each_field());
    steps.extend(entries("entries", "").without_each_field());
    steps
}

/// 315.
pub(crate) fn counters() -> Vec<Step> {
    let counter = |name: &str, fields: &str| -> Case {
        ask(315, name, "statsName=TOPIC_PUT_NUMS; statsKey={T}").with(fields)
    };
    let mut steps: Vec<Step> = vec![
        create().into(),
        counter("of what was never counted", "").into(),
        counter("unknown counter", "statsName=NOTHING").into(),
    ];
    steps.extend(counter("counter", "").without_each_field());
    steps
}
