//! The answer to request 901 (`GetBrokerMemberGroupResponseBody`).

use super::{IntegerKeys, Writer};
use std::collections::BTreeMap;

/// A broker's group: addresses by broker id, with bare keys as RocketMQ 5.5 writes them.
pub fn encode(cluster: &str, broker: &str, addresses: &BTreeMap<u64, String>) -> Vec<u8> {
    let mut json = Writer::new();
    json.open(b'{');
    json.member("brokerMemberGroup");
    json.open(b'{');
    json.member("brokerAddrs");
    super::write_addresses(&mut json, addresses, IntegerKeys::Bare);
    json.member("brokerName");
    json.text(broker);
    json.member("cluster");
    json.text(cluster);
    json.close(b'}');
    json.close(b'}');
    json.finish()
}
