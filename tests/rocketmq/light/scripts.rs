//! The requests.

use crate::differential::script::{Case, Script, Step, ask, batch_of};
use std::time::Duration;

pub(crate) fn all() -> Vec<Script> {
    let script = |name, steps| Script { name, steps };
    vec![
        script("priority", priority()),
        script("retry-v2", retry_v2()),
        script("lmq", lmq()),
        script("lite", lite()),
    ]
}

const CREATE: &str = "topic={T}; defaultTopic=TBW102; readQueueNums=4; writeQueueNums=4; perm=6; topicFilterType=SINGLE_TAG; topicSysFlag=0; order=false";
const SEND: &str =
    "a={T}p; b={T}; c=TBW102; d=4; e=0; f=0; g=1700000000000; h=0; i=KEYS\x01k1\x02; j=0; k=false; m=false";
const POP: &str = "consumerGroup={T}g; topic={T}; queueId=-1; maxMsgNums=32; invisibleTime=60000; pollTime=0; bornTime=0; initMode=0; expType=TAG; exp=*; order=false";
const PULL: &str = "consumerGroup={T}g; topic={T}; queueId=0; queueOffset=0; maxMsgNums=32; sysFlag=4; commitOffset=0; suspendTimeoutMillis=0; subscription=*; subVersion=0; expressionType=TAG";

/// A message with a unique key, so that answers are the same.
fn send(name: &str, properties: &str) -> Case {
    ask(310, name, SEND).with(&format!("i=UNIQ_KEY\x01{name}\x02{properties}")).body(name)
}

fn settings(name: &str, lines: &str) -> Step {
    ask(25, name, "").body(lines).into()
}

/// 310 of messages with priorities, and 200050 of topics that have some.
fn priority() -> Vec<Step> {
    let with = |name: &str, priority: &str| send(name, &format!("_SYS_MSG_PRIORITY_\x01{priority}\x02"));
    let priorities = [("zero", "0"), ("two", "2"), ("three", "3"), ("nine", "9"), ("one", "1")];
    let pop = |name: &str, fields: &str| ask(200_050, name, POP).with(fields);
    let mut steps = vec![ask(17, "create", CREATE).with("attributes=+message.type=PRIORITY").into()];
    steps.extend(priorities.map(|(name, priority)| with(name, priority).into()));
    steps.extend([
        with("negative", "-1").into(),
        with("no number", "x").into(),
        with("a sign", "+2").into(),
        send("with a delay", "_SYS_MSG_PRIORITY_\x012\x02TIMER_DELAY_MS\x01500\x02").into(),
        send("with a key of its order", "_SYS_MSG_PRIORITY_\x012\x02__SHARDINGKEY\x01k\x02").into(),
        with("any queue", "1").with("e=-1").into(),
        ask(17, "create a topic of no kind", CREATE).with("topic={T}n").into(),
        with("in a topic of no kind", "2").with("b={T}n").into(),
        ask(320, "in a batch", SEND)
            .with("m=true")
            .bytes(batch_of(&[("a", "_SYS_MSG_PRIORITY_\x013\x02"), ("b", "")]))
            .into(),
        ask(17, "fewer to write", CREATE).with("topic={T}f; writeQueueNums=2").into(),
        with("fewer to write", "9").with("b={T}f").into(),
        Step::Pause(Duration::from_secs(3)),
        pop("two", "maxMsgNums=2").into(),
        pop("one", "maxMsgNums=1").into(),
        pop("of one queue", "queueId=1; maxMsgNums=1").into(),
        pop("the others", "").into(),
        pop("nothing left", "").into(),
        settings("rising", "priorityOrderAsc=false"),
        pop("one, rising", "consumerGroup={T}h; maxMsgNums=1").into(),
        pop("all, rising", "consumerGroup={T}h").into(),
        settings("falling", "priorityOrderAsc=true"),
    ]);
    for queue in 0..4 {
        steps.push(ask(11, &format!("stored in {queue}"), PULL).with(&format!("queueId={queue}")).into());
    }
    steps
}

/// Messages that nobody acknowledged, under other settings.
fn retry_v2() -> Vec<Step> {
    let pop = |name: &str, fields: &str| ask(200_050, name, POP).with("invisibleTime=1500").with(fields);
    let pull = |name: &str, topic: &str| ask(11, name, PULL).with(&format!("topic={topic}"));
    let (long, short) = (Duration::from_secs(5), Duration::from_millis(500));
    vec![
        ask(17, "create", CREATE).with("readQueueNums=2; writeQueueNums=2").into(),
        settings("always", "popFromRetryProbability=100"),
        send("first", "").into(),
        // The oracle's index of queues is behind its replies.
        Step::Pause(short),
        pop("first", "").into(),
        Step::Pause(long),
        pull("in its first form", "%RETRY%{T}g_{T}").into(),
        settings("second form", "enableRetryTopicV2=true\nretrieveMessageFromPopRetryTopicV1=false"),
        pop("not from the first form", "").into(),
        send("second", "").with("e=1").into(),
        Step::Pause(short),
        pop("second", "").into(),
        Step::Pause(long),
        pull("in its second form", "%RETRY%{T}g+{T}").into(),
        pop("from the second form", "").into(),
        ask(30, "end of the second form", "topic=%RETRY%{T}g+{T}; queueId=0").into(),
        settings("separate", "useSeparateRetryQueue=true\nenableRetryTopicV2=false"),
        send("third", "").with("e=1").into(),
        Step::Pause(short),
        pop("third", "").into(),
        Step::Pause(long),
        ask(11, "in its own queue", PULL).with("topic=%RETRY%{T}g_{T}; queueId=1").into(),
        ask(215, "delete", "topic={T}").into(),
        ask(351, "second form is gone", "topic=%RETRY%{T}g+{T}").into(),
        settings(
            "as they were",
            "useSeparateRetryQueue=false\nretrieveMessageFromPopRetryTopicV1=true\npopFromRetryProbability=20",
        ),
    ]
}

/// Light queues: sends into them, and everything that can be asked of them.
fn lmq() -> Vec<Step> {
    let send =
        |name: &str, queues: &str| send(name, &format!("TAGS\x01a\x02INNER_MULTI_DISPATCH\x01{queues}\x02"));
    let pull = |name: &str, fields: &str| ask(11, name, PULL).with("topic=%LMQ%{T}a").with(fields);
    let queue =
        |code: i32, name: &str, fields: &str| ask(code, name, "topic=%LMQ%{T}a; queueId=0").with(fields);
    let offset = |code: i32, name: &str, fields: &str| {
        ask(code, name, "consumerGroup={T}g; topic=%LMQ%{T}a; queueId=0; commitOffset=2").with(fields)
    };
    let pop = |name: &str, fields: &str| ask(200_050, name, POP).with("topic=%LMQ%{T}a").with(fields);
    let mut steps: Vec<Step> = vec![
        ask(17, "create", CREATE).into(),
        queue(30, "end of nothing", "").into(),
        queue(31, "begin of nothing", "").into(),
        pull("nothing", "").into(),
        send("one queue", "%LMQ%{T}a").with("e=2").into(),
        send("two queues", "%LMQ%{T}a,%LMQ%{T}b").into(),
        send("the other", "%LMQ%{T}b").with("e=1").into(),
        send("of another tag", "%LMQ%{T}a")
            .with("i=UNIQ_KEY\x01u\x02TAGS\x01b\x02INNER_MULTI_DISPATCH\x01%LMQ%{T}a\x02WAIT\x01true\x02")
            .into(),
        send("forged offsets", "%LMQ%{T}a")
            .with(
                "i=UNIQ_KEY\x01f\x02INNER_MULTI_QUEUE_OFFSET\x0177\x02INNER_MULTI_DISPATCH\x01%LMQ%{T}a\x02",
            )
            .into(),
        send("strange letters", "%LMQ%{T}$x@y.z").into(),
        send("a comma too many", "%LMQ%{T}c,").into(),
        send("no light queue", "{T}x").into(),
        send("blank", " ").into(),
        ask(320, "in a batch", SEND)
            .with("m=true")
            .bytes(batch_of(&[("a", "INNER_MULTI_DISPATCH\x01%LMQ%batch\x02"), ("b", "")]))
            .into(),
        queue(30, "end after a batch", "topic=%LMQ%batch").into(),
        send("to a retry topic", "%LMQ%{T}a").with("b=%RETRY%{T}g").into(),
        send("delayed", "%LMQ%{T}a")
            .with("i=UNIQ_KEY\x01d\x02TIMER_DELAY_MS\x01500\x02INNER_MULTI_DISPATCH\x01%LMQ%{T}a\x02")
            .into(),
        Step::Pause(Duration::from_secs(4)),
    ];
    for (name, topic) in
        [("a", "%LMQ%{T}a"), ("b", "%LMQ%{T}b"), ("c", "%LMQ%{T}c"), ("strange", "%LMQ%{T}$x@y.z")]
    {
        let topic = format!("topic={topic}");
        steps.push(queue(30, &format!("end of {name}"), &topic).into());
        steps.push(queue(31, &format!("begin of {name}"), &topic).into());
        steps.push(pull(&format!("all of {name}"), &topic).into());
    }
    steps.extend([
        queue(30, "end of no queue", "queueId=1").into(),
        pull("two", "queueOffset=1; maxMsgNums=2").into(),
        pull("of a tag", "subscription=b").into(),
        pull("past the end", "queueOffset=50").into(),
        pull("at the end", "queueOffset=5").into(),
        pull("before all", "queueOffset=-1").into(),
        pull("queue 1", "queueId=1").into(),
        pull("by a light group", "consumerGroup=%LMQ%{T}@c").into(),
        pull("of a queue that is not there", "topic=%LMQ%{T}none").into(),
        pull("with a commit", "sysFlag=5; commitOffset=1").into(),
        offset(14, "committed by a pull", "").into(),
        offset(14, "not committed", "consumerGroup={T}h").into(),
        offset(15, "commit", "").into(),
        offset(14, "committed", "").into(),
        offset(14, "committed elsewhere", "queueId=1").into(),
        offset(15, "commit of a light group", "consumerGroup=%LMQ%{T}@c; queueId=3").into(),
        offset(14, "committed of a light group", "consumerGroup=%LMQ%{T}@c").into(),
        offset(14, "committed of a light group anywhere", "consumerGroup=%LMQ%{T}@c; queueId=7").into(),
        offset(14, "committed of another light group", "consumerGroup=%LMQ%{T}@d").into(),
        offset(15, "commit of a light group in a topic", "consumerGroup=%LMQ%{T}@c; topic={T}; queueId=3")
            .into(),
        offset(14, "committed of it", "consumerGroup=%LMQ%{T}@c; topic={T}; queueId=2").into(),
        queue(29, "search", "timestamp=1").into(),
        queue(29, "search late", "timestamp=4000000000000").into(),
        pop("popped", "maxMsgNums=2").into(),
        pop("popped of a tag", "exp=b; consumerGroup={T}t").into(),
        pop("the rest", "").into(),
        ask(17, "create a light queue", CREATE).with("topic=%LMQ%{T}a").into(),
        ask(351, "settings of a light queue", "topic=%LMQ%{T}a").into(),
        ask(202, "state of a light queue", "topic=%LMQ%{T}a").into(),
        ask(208, "progress in a light queue", "consumerGroup={T}g; topic=%LMQ%{T}a").into(),
        ask(352, "settings of a light group", "group=%LMQ%{T}@c").into(),
        ask(310, "send to a light queue", SEND).with("b=%LMQ%{T}z; i=UNIQ_KEY\x01z\x02").body("z").into(),
        ask(310, "send to queue 1 of a light queue", SEND)
            .with("b=%LMQ%{T}z; e=1; i=UNIQ_KEY\x01z\x02")
            .body("z")
            .into(),
        Step::Pause(Duration::from_millis(500)),
        pull("what was sent to it", "topic=%LMQ%{T}z").into(),
        ask(310, "send to a light queue of strange letters", SEND).with("b=%LMQ%${T}$z; i=UNIQ_KEY\x01z\x02").body("z").into(),
        ask(400, "assignment", "").body(r#"{"clientId":"c","consumerGroup":"{T}g","messageModel":"CLUSTERING","strategyName":"AVG","topic":"%LMQ%{T}a"}"#).into(),
        ask(215, "delete a light queue", "topic=%LMQ%{T}b").into(),
        pull("deleted", "topic=%LMQ%{T}b").into(),
        settings("no more of them", "enableLmqQuota=true\nmaxLmqConsumeQueueNum=1"),
        send("one too many", "%LMQ%{T}q").into(),
        send("one that is there", "%LMQ%{T}a").into(),
        settings("as many as usual", "enableLmqQuota=false\nmaxLmqConsumeQueueNum=20000"),
    ]);
    for queue in 0..4 {
        steps.push(ask(11, &format!("stored in {queue}"), PULL).with(&format!("queueId={queue}")).into());
    }
    steps
}

/// Lite topics: subscriptions, pops, acknowledgements, and everything that can be asked about them.
fn lite() -> Vec<Step> {
    let send = |name: &str, lite: &str| send(name, &format!("__LITE_TOPIC\x01{lite}\x02"));
    let control = |name: &str, entry: &str| {
        let all = r#""clientId":"{T}c1","group":"{T}g","topic":"{T}""#;
        let entry = entry.replace("ALL", all);
        ask(200_071, name, "").body(&format!(r#"{{"subscriptionSet":[{{{entry}}}]}}"#))
    };
    let add = |name: &str, topics: &str| {
        control(name, &format!(r#""action":"PARTIAL_ADD",ALL,"liteTopicSet":[{topics}],"version":0"#))
    };
    let pop = |name: &str, fields: &str| {
        const LITE: &str = "clientId={T}c1; consumerGroup={T}g; topic={T}; maxMsgNum=32; invisibleTime=60000; pollTime=0; bornTime=0; attemptId=x";
        ask(200_070, name, LITE).with(&format!("attemptId={name}")).with(fields)
    };
    let message = |code: i32, name: &str, fields: &str| {
        const MESSAGE: &str = "consumerGroup={T}g; topic={T}; queueId=0; liteTopic=a; offset=0; extraInfo=0 {p.popTime} 60000 999 0 broker-a 0 0; invisibleTime=30000";
        ask(code, name, MESSAGE).with(fields)
    };
    let group = |name: &str, attributes: &str| {
        let group = name.replace("group ", "{T}");
        let body = format!(
            r#"{{"attributes":{{{attributes}}},"brokerId":0,"consumeBroadcastEnable":true,"consumeEnable":true,"consumeFromMinEnable":true,"groupName":"{group}","groupRetryPolicy":{{"type":"CUSTOMIZED"}},"groupSysFlag":0,"notifyConsumerIdsChangedEnable":true,"retryMaxTimes":16,"retryQueueNums":1,"whichBrokerWhenConsumeSlowly":1}}"#
        );
        ask(200, name, "").body(&body)
    };
    let lag = |name: &str, fields: &str| ask(200_078, name, "group={T}g; topK=10").with(fields);
    let steps: Vec<Step> = vec![
        ask(17, "create", CREATE).with("attributes=+message.type=LITE,+lite.topic.expiration=30").into(),
        ask(17, "create a topic of no kind", CREATE).with("topic={T}n").into(),
        ask(351, "settings", "topic={T}").into(),
        group("group g", r#""+lite.bind.topic":"{T}""#).into(),
        group("group x", r#""+lite.bind.topic":"{T}","+lite.sub.model":"Exclusive","+lite.sub.reset.offset.exclusive":"true""#).into(),
        group("group u", r#""+lite.bind.topic":"{T}","+lite.sub.reset.offset.unsubscribe":"true""#).into(),
        group("group n", "").into(),
        ask(352, "settings of the group", "group={T}g").into(),
        ask(200_071, "no body", "").into(),
        ask(200_071, "nothing to change", "").body("{}").into(),
        control("no action for nobody", r#""action":"PARTIAL_ADD","clientId":"","group":"{T}g","topic":"{T}""#).into(),
        add("subscribe", r#""a","b""#).into(),
        pop("nothing yet", "").into(),
        send("first", "a").with("e=1").into(),
        send("second", "a").into(),
        send("other", "b").into(),
        send("nobody's", "z").into(),
        send("in a topic of no kind", "a").with("b={T}n").into(),
        Step::Pause(Duration::from_millis(500)),
        pop("all", "").keep("p").into(),
        pop("blocked", "").into(),
        message(200_051, "acknowledge", "").into(),
        message(200_051, "acknowledge again", "").into(),
        message(200_051, "beyond the end", "offset=9").into(),
        message(200_051, "of another queue", "queueId=1").into(),
        message(200_051, "with a handle of another kind", "extraInfo=0 {p.popTime} 60000 1 0 broker-a 0 0").into(),
        message(200_051, "of a group that is bound elsewhere", "consumerGroup={T}n").into(),
        message(200_051, "of an unknown lite topic", "liteTopic=none").into(),
        message(200_053, "hide for longer", "offset=1").into(),
        message(200_053, "hide beyond the end", "offset=9").into(),
        message(200_053, "hide what is finished", "offset=0").into(),
        message(200_051, "the rest", "offset=1").into(),
        message(200_051, "the other", "liteTopic=b").into(),
        pop("nothing left", "").into(),
        ask(14, "committed", "consumerGroup={T}g; topic=%LMQ%${T}$a; queueId=0").into(),
        send("third", "a").into(),
        Step::Pause(Duration::from_millis(500)),
        pop("third, shortly", "invisibleTime=1200").keep("q").into(),
        message(200_053, "suspend", "offset=2; extraInfo=2 {q.popTime} 1200 999 0 broker-a 0 2; invisibleTime=1000; suspend=true").into(),
        Step::Pause(Duration::from_secs(3)),
        pop("third, suspended", "invisibleTime=1200").into(),
        Step::Pause(Duration::from_secs(3)),
        pop("third, counted", "").into(),
        pop("of nobody", "clientId={T}none").into(),
        pop("unknown topic", "topic={T}none").into(),
        pop("topic of no kind", "topic={T}n").into(),
        pop("group of no kind", "consumerGroup={T}n").into(),
        pop("too many", "maxMsgNum=33").into(),
        pop("too late", "bornTime=1700000000000").into(),
        ask(11, "pulled", PULL).with("liteTopic=a").into(),
        ask(11, "pulled past the end", PULL).with("liteTopic=a; queueOffset=3").into(),
        ask(29, "search", "topic={T}; queueId=0; timestamp=1; liteTopic=a").into(),
        ask(29, "search in an unknown one", "topic={T}; queueId=0; timestamp=1; liteTopic=none").into(),
        ask(200_075, "parent", "topic={T}").into(),
        ask(200_075, "unknown parent", "topic={T}none").into(),
        ask(200_075, "parent of no kind", "topic={T}n").into(),
        ask(200_076, "lite topic", "parentTopic={T}; liteTopic=a").into(),
        ask(200_076, "unknown lite topic", "parentTopic={T}; liteTopic=none").into(),
        ask(200_076, "unknown parent's", "parentTopic={T}none; liteTopic=a").into(),
        ask(200_077, "client", "parentTopic={T}; group={T}g; clientId={T}c1; maxCount=10").into(),
        ask(200_077, "unknown client", "parentTopic={T}; group={T}g; clientId={T}none; maxCount=10").into(),
        ask(200_077, "client of another group", "parentTopic={T}; group={T}n; clientId={T}c1; maxCount=10").into(),
        ask(200_077, "client of an unknown topic", "parentTopic={T}none; group={T}g; clientId={T}c1").into(),
        lag("how far behind", "").into(),
        lag("how far behind in one", "liteTopic=a").into(),
        lag("how far behind in an unknown one", "liteTopic=none").into(),
        lag("how far behind of no lite group", "group={T}n").into(),
        ask(200_079, "show again", "group={T}g").into(),
        ask(200_079, "show one again", "group={T}g; clientId={T}c1").into(),
        ask(200_079, "show no lite group", "group={T}n").into(),
        // From here on, other ways to subscribe.
        control("complete", r#""action":"COMPLETE_ADD",ALL,"liteTopicSet":["b","d"],"version":1"#).into(),
        ask(200_077, "client after that", "parentTopic={T}; group={T}g; clientId={T}c1; maxCount=10").into(),
        control("remove", r#""action":"PARTIAL_REMOVE",ALL,"liteTopicSet":["d"],"version":1"#).into(),
        ask(200_076, "removed", "parentTopic={T}; liteTopic=d").into(),
        control("all removed", r#""action":"COMPLETE_REMOVE",ALL"#).into(),
        ask(200_077, "client that left", "parentTopic={T}; group={T}g; clientId={T}c1; maxCount=10").into(),
        control("to the first", r#""action":"PARTIAL_ADD","clientId":"{T}c2","group":"{T}g","topic":"{T}","liteTopicSet":["a"],"offsetOption":{"type":"POLICY","value":1},"version":0"#).into(),
        pop("from the first on", "clientId={T}c2").into(),
        control("back", r#""action":"PARTIAL_ADD","clientId":"{T}c3","group":"{T}g","topic":"{T}","liteTopicSet":["b"],"offsetOption":{"type":"TAIL_N","value":1},"version":0"#).into(),
        pop("one back", "clientId={T}c3").into(),
        control("to the end", r#""action":"PARTIAL_ADD","clientId":"{T}c4","group":"{T}u","topic":"{T}","liteTopicSet":["a"],"offsetOption":{"type":"POLICY","value":2},"version":0"#).into(),
        pop("nothing at the end", "clientId={T}c4; consumerGroup={T}u").into(),
        control("reset when left", r#""action":"PARTIAL_REMOVE","clientId":"{T}c4","group":"{T}u","topic":"{T}","liteTopicSet":["a"],"version":0"#).into(),
        control("subscribe again", r#""action":"PARTIAL_ADD","clientId":"{T}c4","group":"{T}u","topic":"{T}","liteTopicSet":["a"],"version":0"#).into(),
        pop("all again", "clientId={T}c4; consumerGroup={T}u").into(),
        control("exclusive", r#""action":"PARTIAL_ADD","clientId":"{T}c5","group":"{T}x","topic":"{T}","liteTopicSet":["a"],"version":0"#).into(),
        pop("exclusive", "clientId={T}c5; consumerGroup={T}x").into(),
        control("exclusive, another", r#""action":"PARTIAL_ADD","clientId":"{T}c6","group":"{T}x","topic":"{T}","liteTopicSet":["a"],"version":0"#).into(),
        pop("exclusive, another", "clientId={T}c6; consumerGroup={T}x").into(),
        pop("exclusive, no more", "clientId={T}c5; consumerGroup={T}x").into(),
        settings("few", "maxLiteSubscriptionCount=1"),
        add("too many", r#""a""#).into(),
        settings("many", "maxLiteSubscriptionCount=100000"),
        control("group that may not", r#""action":"PARTIAL_ADD","clientId":"{T}c1","group":"","topic":"{T}""#).into(),
        ask(215, "delete", "topic={T}").into(),
        ask(30, "end after deletion", "topic=%LMQ%${T}$none; queueId=0").into(),
        ask(200_075, "parent after deletion", "topic={T}").into(),
    ];
    steps
}
