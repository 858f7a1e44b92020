//! Settings of consumer groups: the bodies of requests 200, 201, 225 and 352 (`SubscriptionGroupConfig`,
//! `SubscriptionGroupWrapper`).

use crate::json::{self, BodyError, null_is_default};
use halley_model::{DataVersion, GroupConfig, GroupName, Millis, NameError, RetryPolicy};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A group's settings as they travel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GroupConfigBody {
    /// Named settings; in requests changes of them, their names with `+` or `-` in front.
    #[serde(deserialize_with = "null_is_default")]
    pub attributes: BTreeMap<String, String>,
    /// The broker to read from; 0 is the master.
    pub broker_id: i64,
    /// Whether its consumers may read in broadcasting mode.
    pub consume_broadcast_enable: bool,
    /// Whether its consumers may read.
    pub consume_enable: bool,
    /// Kept.
    pub consume_from_min_enable: bool,
    /// Whether its messages are consumed in order.
    pub consume_message_orderly: bool,
    /// Kept.
    pub consume_timeout_minute: i32,
    /// The group.
    #[serde(deserialize_with = "null_is_default")]
    pub group_name: String,
    /// How long to wait between attempts.
    #[serde(deserialize_with = "null_is_default")]
    pub group_retry_policy: GroupRetryPolicy,
    /// Passed through.
    pub group_sys_flag: i32,
    /// Whether members are told that members changed.
    pub notify_consumer_ids_changed_enable: bool,
    /// Attempts at a message after the first.
    pub retry_max_times: i32,
    /// Queues of its `%RETRY%` topic.
    pub retry_queue_nums: i32,
    /// The broker to read from where the master is slow.
    pub which_broker_when_consume_slowly: i64,
}

/// How long a group waits between attempts (`GroupRetryPolicy`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GroupRetryPolicy {
    #[serde(skip_serializing_if = "Option::is_none")]
    customized_retry_policy: Option<Customized>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exponential_retry_policy: Option<Exponential>,
    /// "CUSTOMIZED" or "EXPONENTIAL".
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Customized {
    next: Vec<Millis>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Exponential {
    initial: Millis,
    max: Millis,
    multiplier: i64,
}

impl Default for Exponential {
    /// `ExponentialRetryPolicy`, 5.5.
    fn default() -> Self {
        Self { initial: 5_000, max: 7_200_000, multiplier: 2 }
    }
}

/// All groups of a broker (201).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AllGroupConfigs {
    /// Changes with every change of a group.
    pub data_version: DataVersion,
    /// Topics that a group may not read, by group: bit 2 of the number is set.
    #[serde(deserialize_with = "null_is_default")]
    pub forbidden_table: BTreeMap<String, BTreeMap<String, i32>>,
    /// The groups.
    #[serde(deserialize_with = "null_is_default")]
    pub subscription_group_table: BTreeMap<String, GroupConfigBody>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct GroupList {
    #[serde(deserialize_with = "null_is_default")]
    group_config_list: Vec<GroupConfigBody>,
}

impl Default for GroupRetryPolicy {
    fn default() -> Self {
        Self { customized_retry_policy: None, exponential_retry_policy: None, kind: "CUSTOMIZED".to_owned() }
    }
}

impl From<&RetryPolicy> for GroupRetryPolicy {
    fn from(policy: &RetryPolicy) -> Self {
        match policy {
            usual if *usual == RetryPolicy::default() => Self::default(),
            RetryPolicy::Customized { next } => {
                Self { customized_retry_policy: Some(Customized { next: next.clone() }), ..Self::default() }
            }
            RetryPolicy::Exponential { initial, max, multiplier } => Self {
                kind: "EXPONENTIAL".to_owned(),
                exponential_retry_policy: Some(Exponential {
                    initial: *initial,
                    max: *max,
                    multiplier: *multiplier,
                }),
                ..Self::default()
            },
        }
    }
}

impl GroupRetryPolicy {
    /// `GroupRetryPolicy.getRetryPolicy`, 5.5: what is not there is as usual.
    fn policy(&self) -> RetryPolicy {
        match (&*self.kind, &self.customized_retry_policy, &self.exponential_retry_policy) {
            ("EXPONENTIAL", _, Some(Exponential { initial, max, multiplier })) => {
                RetryPolicy::Exponential { initial: *initial, max: *max, multiplier: *multiplier }
            }
            ("CUSTOMIZED", Some(Customized { next }), _) => RetryPolicy::Customized { next: next.clone() },
            _ => RetryPolicy::default(),
        }
    }
}

impl Default for GroupConfigBody {
    /// `SubscriptionGroupConfig()`, 5.5.
    fn default() -> Self {
        Self {
            attributes: BTreeMap::new(),
            broker_id: 0,
            consume_broadcast_enable: true,
            consume_enable: true,
            consume_from_min_enable: true,
            consume_message_orderly: false,
            consume_timeout_minute: 15,
            group_name: String::new(),
            group_retry_policy: GroupRetryPolicy::default(),
            group_sys_flag: 0,
            notify_consumer_ids_changed_enable: true,
            retry_max_times: 16,
            retry_queue_nums: 1,
            which_broker_when_consume_slowly: 1,
        }
    }
}

impl From<&GroupConfig> for GroupConfigBody {
    fn from(config: &GroupConfig) -> Self {
        Self {
            attributes: config.attributes.clone(),
            broker_id: config.broker_id,
            consume_broadcast_enable: config.consume_broadcast_enable,
            consume_enable: config.consume_enable,
            consume_from_min_enable: config.consume_from_min_enable,
            consume_message_orderly: config.consume_message_orderly,
            consume_timeout_minute: config.consume_timeout_minutes,
            group_name: config.name.to_string(),
            group_retry_policy: (&config.retry_policy).into(),
            group_sys_flag: config.system_flag,
            notify_consumer_ids_changed_enable: config.notify_consumer_ids_changed_enable,
            retry_max_times: config.retry_max_times,
            retry_queue_nums: config.retry_queue_nums as i32,
            which_broker_when_consume_slowly: config.which_broker_when_consume_slowly,
        }
    }
}

impl GroupConfigBody {
    /// The settings, without attributes: those of a request are changes. A negative number of retry queues becomes 0.
    pub fn settings(&self) -> Result<GroupConfig, NameError> {
        Ok(GroupConfig {
            name: GroupName::new(&self.group_name)?,
            consume_enable: self.consume_enable,
            consume_from_min_enable: self.consume_from_min_enable,
            consume_broadcast_enable: self.consume_broadcast_enable,
            consume_message_orderly: self.consume_message_orderly,
            retry_queue_nums: u32::try_from(self.retry_queue_nums).unwrap_or(0),
            retry_max_times: self.retry_max_times,
            retry_policy: self.group_retry_policy.policy(),
            broker_id: self.broker_id,
            which_broker_when_consume_slowly: self.which_broker_when_consume_slowly,
            notify_consumer_ids_changed_enable: self.notify_consumer_ids_changed_enable,
            system_flag: self.group_sys_flag,
            consume_timeout_minutes: self.consume_timeout_minute,
            attributes: BTreeMap::new(),
        })
    }

    /// The body of request 200 and of an answer to 352.
    pub fn encode(&self) -> Vec<u8> {
        json::encode(self)
    }

    /// Reads the body of request 200 and of an answer to 352.
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        json::body("group configuration", body)
    }

    /// Reads the body of request 225.
    pub fn decode_list(body: &[u8]) -> Result<Vec<Self>, BodyError> {
        json::body("list of group configurations", body).map(|list: GroupList| list.group_config_list)
    }
}

impl AllGroupConfigs {
    /// The body.
    pub fn encode(&self) -> Vec<u8> {
        json::encode(self)
    }

    /// Reads the body.
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        json::body("table of groups", body)
    }
}
