//! Settings of the running broker that change what clients get: a real server.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests start processes")]

mod common;

use common::{
    Server,
    remoting::{Connection, Reply},
};
use halley_model::RecordView;
use halley_wire::{BrokerCode, ResponseCode, Serialize};

#[test]
fn a_pull_brings_as_many_messages_as_the_setting_allows() {
    let server = Server::start("");
    let mut client = Connection::open(server.broker);
    for number in 0..40 {
        let sent = ask(&mut client, BrokerCode::SendMessageV2, &SEND, &format!("m{number}"));
        assert_eq!(sent.code, 0, "{:?}", sent.remark);
    }
    assert_eq!(pulled(&mut client, "100"), 32);
    let changed =
        ask(&mut client, BrokerCode::UpdateBrokerConfig, &[], "maxTransferCountOnMessageInMemory=36");
    assert_eq!(changed.code, 0, "{:?}", changed.remark);
    assert_eq!(pulled(&mut client, "100"), 36);
    assert_eq!(pulled(&mut client, "10"), 10);
    for wrong in ["maxTransferCountOnMessageInMemory=0", "shortPollingTimeMills=-1", "transactionCheckMax=no"]
    {
        let refused = ask(&mut client, BrokerCode::UpdateBrokerConfig, &[], wrong);
        assert_ne!(refused.code, 0, "{wrong}");
    }
}

#[test]
fn a_pull_waits_briefly_where_long_polling_is_off() {
    let server = Server::start("");
    let mut client = Connection::open(server.broker);
    assert_eq!(ask(&mut client, BrokerCode::SendMessageV2, &SEND, "m").code, 0);
    let settings = "longPollingEnable=false\nshortPollingTimeMills=50";
    assert_eq!(ask(&mut client, BrokerCode::UpdateBrokerConfig, &[], settings).code, 0);
    // The client would wait for ten minutes; as long as a pull may wait at most, nobody waits here.
    let none = ask(&mut client, BrokerCode::PullMessage, &pull_fields("1", "32", "6"), "");
    assert_eq!(none.code, i32::from(ResponseCode::PullNotFound), "{:?}", none.remark);
}

fn ask(client: &mut Connection, code: BrokerCode, fields: &[(&str, &str)], body: &str) -> Reply {
    let fields: Vec<_> =
        fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    client.ask(Serialize::Json, code.number(), &fields, body.as_bytes()).unwrap().unwrap()
}

/// A message for queue 0 of topic T.
const SEND: [(&str, &str); 12] = [
    ("a", "p"),
    ("b", "T"),
    ("c", "TBW102"),
    ("d", "4"),
    ("e", "0"),
    ("f", "0"),
    ("g", "1700000000000"),
    ("h", "0"),
    ("i", ""),
    ("j", "0"),
    ("k", "false"),
    ("m", "false"),
];

fn pull_fields<'a>(offset: &'a str, most: &'a str, flags: &'a str) -> [(&'a str, &'a str); 11] {
    [
        ("consumerGroup", "g"),
        ("topic", "T"),
        ("queueId", "0"),
        ("queueOffset", offset),
        ("maxMsgNums", most),
        ("sysFlag", flags),
        ("commitOffset", "0"),
        ("suspendTimeoutMillis", "600000"),
        ("subscription", "*"),
        ("subVersion", "0"),
        ("expressionType", "TAG"),
    ]
}

/// How many messages a pull from the first on brings.
fn pulled(client: &mut Connection, most: &str) -> usize {
    let reply = ask(client, BrokerCode::PullMessage, &pull_fields("0", most, "4"), "");
    assert_eq!(reply.code, 0, "{:?}", reply.remark);
    let mut rest = &reply.body[..];
    let mut count = 0;
    while !rest.is_empty() {
        rest = &rest[RecordView::parse(rest).unwrap().total_len()..];
        count += 1;
    }
    count
}
