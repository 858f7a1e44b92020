//! What brokers and administrators tell a name server: 100 to 104, 205, 216, 217, 219, 224, 304, 311 to 313, 318, 319, 322,
//! 327, 901 and 904. The brokers are made up, and gone in the end.

use super::script::{Case, Step, ask_namesrv};

const BROKER: &str = "brokerName={T}; brokerAddr={T}:10911; clusterName={T}c; brokerId=0; haServerAddr={T}:10912; compressed=false; bodyCrc32=0";

/// A registration's body with these topics and this version.
fn topics(topics: &[&str], counter: u32, filters: &str, mappings: &str) -> String {
    let topic = |name: &&str| {
        format!(
            r#""{name}":{{"attributes":{{}},"order":false,"perm":6,"readQueueNums":8,"topicFilterType":"SINGLE_TAG","topicName":"{name}","topicSysFlag":0,"writeQueueNums":4}}"#
        )
    };
    let topics: Vec<_> = topics.iter().map(topic).collect();
    format!(
        r#"{{"filterServerList":[{filters}],"topicConfigSerializeWrapper":{{"dataVersion":{{"counter":{counter},"stateVersion":0,"timestamp":5}},"topicConfigTable":{{{}}},"topicQueueMappingInfoMap":{{{mappings}}}}}}}"#,
        topics.join(",")
    )
}

pub(crate) fn steps() -> Vec<Step> {
    let names = ["{T}a", "{T}b"];
    let register = |name: &str, fields: &str| ask_namesrv(103, name, BROKER).with(fields);
    let both = |name: &str, fields: &str| register(name, fields).body(&topics(&names, 1, "", ""));
    let route = |name: &str| ask_namesrv(105, name, "topic={T}a");
    let kv = |code, name: &str, fields: &str| {
        ask_namesrv(code, name, "namespace={T}n; key=k; value=v").with(fields)
    };
    let unregister = |name: &str, id: &str| {
        let case = ask_namesrv(104, name, "brokerName={T}; clusterName={T}c");
        case.with(&format!("brokerAddr={{T}}:1091{id}; brokerId={id}"))
    };
    let version = |name: &str, body: &str| ask_namesrv(322, name, BROKER).body(body);
    let mapping = r#""{T}a":{"topic":"{T}a","bname":"{T}","epoch":3,"totalQueues":4,"currIdMap":{"0":0,"1":1},"scope":"__global__","dirty":false}"#;
    let queues = |broker: &str| {
        format!(
            r#"{{"queueDatas":[{{"brokerName":"{broker}","perm":6,"readQueueNums":3,"topicSysFlag":3,"writeQueueNums":2}}]}}"#
        )
    };
    let topic = |code, name: &str, fields: &str| ask_namesrv(code, name, "topic={T}n").with(fields);
    let replica = "brokerId=1; brokerAddr={T}:10911; enableActingMaster=true; __ZONE_NAME=z1";
    let replica = replica.replace("10911", "10901");
    let cases: Vec<Case> = vec![
        register("two topics and a wrong checksum", "bodyCrc32=5").body(&topics(&names, 1, "", "")),
        both("two topics", ""),
        route("route"),
        both("replica", &replica),
        both("replica again", &replica).body(&topics(&names, 1, r#""f:1""#, "")),
        route("route with a replica"),
        register("with a static topic", "").body(&topics(&names, 2, "", mapping)),
        route("route of a static topic"),
        route("route of a zone").with("__ZONE_MODE=true; __ZONE_NAME=Z1"),
        route("route of no zone").with("__ZONE_MODE=false; __ZONE_NAME=Z1"),
        version("same version", r#"{"counter":2,"stateVersion":0,"timestamp":5}"#),
        version("other version", r#"{"counter":1,"stateVersion":0,"timestamp":5}"#),
        version("no version", ""),
        version("version of nobody", r#"{"counter":1}"#).with("brokerAddr=nobody:1"),
        ask_namesrv(904, "heartbeat", "brokerName={T}; brokerAddr={T}:10911; clusterName={T}c"),
        ask_namesrv(901, "members", "brokerName={T}; clusterName={T}c"),
        ask_namesrv(901, "members of nobody", "brokerName={T}nobody; clusterName={T}c"),
        ask_namesrv(205, "wipe", "brokerName={T}"),
        route("route without writing"),
        both("registered again with another version", "").body(&topics(&names, 2, "", "")),
        route("route still without writing"),
        ask_namesrv(327, "add", "brokerName={T}"),
        ask_namesrv(205, "wipe nobody", "brokerName={T}nobody"),
        ask_namesrv(327, "add nobody", "brokerName={T}nobody"),
        route("route with writing"),
        topic(217, "register a topic", "").body(&queues("{T}")),
        topic(217, "register a topic of nobody", "topic={T}m").body(&queues("{T}nobody")),
        topic(217, "register a topic without a body", "topic={T}m"),
        topic(105, "route of a registered topic", ""),
        topic(105, "route of nobody's", "topic={T}m"),
        ask_namesrv(224, "topics of a cluster", "cluster={T}c"),
        ask_namesrv(224, "topics of no cluster", "cluster={T}none"),
        ask_namesrv(311, "unit topics", ""),
        ask_namesrv(312, "unit subscriptions", ""),
        ask_namesrv(313, "unit subscriptions without unit topics", ""),
        topic(216, "delete in another cluster", "clusterName={T}none"),
        topic(105, "route after that", ""),
        topic(216, "delete in the cluster", "clusterName={T}c"),
        topic(105, "route after deletion", ""),
        topic(216, "delete what is not there", ""),
        kv(101, "no value", ""),
        kv(100, "put", ""),
        kv(100, "put without a value", "key=other; value="),
        kv(101, "value", ""),
        kv(219, "values", "key=; value="),
        kv(102, "delete", ""),
        kv(102, "delete again", ""),
        kv(101, "no value again", ""),
        kv(219, "no values", "key=; value="),
        kv(219, "no namespace", "namespace={T}none; key=; value="),
        ask_namesrv(318, "a setting of the black list", "").body("kvConfigPath=/x"),
        ask_namesrv(318, "no settings", ""),
        ask_namesrv(318, "a setting that there is not", "").body("nosuch=1"),
        unregister("master leaves", "1").with("brokerAddr={T}:10911; brokerId=0"),
        route("route of the replica alone"),
        ask_namesrv(901, "members without a master", "brokerName={T}; clusterName={T}c"),
        unregister("replica leaves", "1").with("brokerAddr={T}:10901"),
        route("no route"),
        unregister("nobody leaves", "7"),
    ];
    let mut steps: Vec<Step> = cases.into_iter().map(Step::Ask).collect();
    steps.push(both("registered before the connection closes", "").into());
    steps.push(Step::Reconnect);
    steps.push(route("no route after the connection closed").into());
    steps
}
