//! Settings that nobody can change.

use crate::identity::Identity;
use halley_machine::{pull, topics::AUTO_CREATE_QUEUES};
use halley_model::name;
use halley_store::Durability;
use std::{collections::BTreeMap, path::Path};

/// What tools can look at and nobody can change, under RocketMQ's names.
pub(crate) fn fixed(
    identity: &Identity,
    data: &Path,
    durability: Durability,
) -> BTreeMap<&'static str, String> {
    let flush = match durability {
        Durability::Os => "ASYNC_FLUSH",
        Durability::Sync => "SYNC_FLUSH",
    };
    let data = data.display().to_string();
    let fixed: [(&'static str, String); 20] = [
        ("brokerClusterName", identity.cluster.to_string()),
        ("brokerIP1", identity.address.ip().to_string()),
        ("brokerId", "0".to_owned()),
        ("brokerName", identity.name.to_string()),
        ("brokerRole", "ASYNC_MASTER".to_owned()),
        ("clearRetryTopicWhenDeleteTopic", "true".to_owned()),
        ("defaultTopicQueueNums", AUTO_CREATE_QUEUES.to_string()),
        ("enablePropertyFilter", "true".to_owned()),
        ("flushDiskType", flush.to_owned()),
        ("listenPort", identity.address.port().to_string()),
        ("litePullMessageEnable", "true".to_owned()),
        ("maxMessageSize", halley_model::BODY_BYTES_MAX.to_string()),
        ("maxTopicLength", name::TOPIC_BYTES_MAX.to_string()),
        ("maxTransferBytesOnMessageInMemory", pull::BYTES_MAX.to_string()),
        ("msgTraceTopicName", "RMQ_SYS_TRACE_TOPIC".to_owned()),
        ("regionId", "DefaultRegion".to_owned()),
        ("storePathCommitLog", data.clone()),
        ("storePathRootDir", data),
        ("traceOn", "true".to_owned()),
        ("validateSystemTopicWhenUpdateTopic", "true".to_owned()),
    ];
    fixed.into()
}
