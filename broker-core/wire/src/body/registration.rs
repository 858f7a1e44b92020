//! The body of request 103 (`RegisterBrokerBody`): a broker's topics, plain or compressed.

use super::{IntegerKeys, Writer, route::write_mapping};
use crate::{
    BodyError,
    json::{self, null_is_default},
};
use flate2::read::ZlibDecoder;
use halley_model::{DataVersion, QueueMapping, TopicConfig};
use serde::Deserialize;
use std::{collections::BTreeMap, io::Read};

/// Most bytes that a compressed registration may unfold to: half a million topics.
pub const UNFOLDED_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What a broker registers with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Registration {
    /// The version of its table of topics.
    pub version: DataVersion,
    /// Its topics, or those that changed.
    pub topics: Vec<RegisteredTopic>,
    /// Its filter servers; `None` where it says null, which leaves those it had.
    pub filter_servers: Option<Vec<String>>,
    /// Its queues of static topics.
    pub mappings: Vec<QueueMapping>,
}

/// A topic as a broker tells name servers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RegisteredTopic {
    /// The topic.
    #[serde(rename = "topicName", deserialize_with = "null_is_default")]
    pub name: String,
    /// Queues that consumers read.
    pub read_queue_nums: i32,
    /// Queues that producers write.
    pub write_queue_nums: i32,
    /// RocketMQ's bits 4 read, 2 write, 1 inherit.
    pub perm: i32,
    /// Bits 1 unit, 2 unit subscription.
    pub topic_sys_flag: i32,
}

/// The checksum of a body as it travels (`UtilAll.crc32`, 5.5).
pub fn checksum(body: &[u8]) -> i32 {
    let mut crc = flate2::Crc::new();
    crc.update(body);
    (crc.sum() & 0x7FFF_FFFF).cast_signed()
}

impl Registration {
    /// Reads the body.
    pub fn decode(body: &[u8], compressed: bool) -> Result<Self, BodyError> {
        if body.is_empty() {
            return Ok(Self { filter_servers: Some(Vec::new()), ..Self::default() });
        }
        if compressed { decode_compressed(body, UNFOLDED_BYTES_MAX) } else { decode_plain(body) }
    }

    /// The plain body for these topics and mappings of static ones, as a broker without filter servers writes it.
    pub fn encode<'a>(
        version: DataVersion,
        topics: impl IntoIterator<Item = &'a TopicConfig>,
        mappings: &[QueueMapping],
    ) -> Vec<u8> {
        let mut json = Writer::new();
        json.open(b'{');
        json.member("filterServerList");
        json.texts([]);
        json.member("topicConfigSerializeWrapper");
        json.open(b'{');
        json.member("dataVersion");
        super::write_version(&mut json, version);
        json.member("topicConfigTable");
        json.open(b'{');
        for topic in topics {
            json.member(&topic.name);
            write_topic(&mut json, topic);
        }
        json.close(b'}');
        json.member("topicQueueMappingInfoMap");
        json.open(b'{');
        for mapping in mappings {
            json.member(mapping.topic.as_deref().unwrap_or_default());
            write_mapping(&mut json, mapping, IntegerKeys::Quoted);
        }
        json.close(b'}');
        json.close(b'}');
        json.close(b'}');
        json.finish()
    }
}

fn write_topic(json: &mut Writer, topic: &TopicConfig) {
    json.open(b'{');
    json.member("attributes");
    json.open(b'{');
    for (name, value) in &topic.attributes {
        json.member(name);
        json.text(value);
    }
    json.close(b'}');
    json.member("order");
    json.boolean(topic.ordered);
    for (name, number) in
        [("perm", i64::from(topic.permission.0)), ("readQueueNums", topic.read_queues.into())]
    {
        json.member(name);
        json.number(number);
    }
    json.member("topicFilterType");
    json.text(topic.filter_type.word());
    json.member("topicName");
    json.text(&topic.name);
    json.member("topicSysFlag");
    json.number(topic.system_flag);
    json.member("writeQueueNums");
    json.number(topic.write_queues);
    json.close(b'}');
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Body {
    filter_server_list: Option<Vec<String>>,
    #[serde(rename = "topicConfigSerializeWrapper", deserialize_with = "null_is_default")]
    wrapper: Wrapper,
}

impl Default for Body {
    fn default() -> Self {
        Self { filter_server_list: Some(Vec::new()), wrapper: Wrapper::default() }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Wrapper {
    #[serde(rename = "dataVersion", deserialize_with = "null_is_default")]
    version: DataVersion,
    #[serde(rename = "topicConfigTable", deserialize_with = "null_is_default")]
    topics: BTreeMap<String, RegisteredTopic>,
    #[serde(rename = "topicQueueMappingInfoMap", deserialize_with = "null_is_default")]
    mappings: BTreeMap<String, QueueMapping>,
}

fn decode_plain(body: &[u8]) -> Result<Registration, BodyError> {
    let Body { filter_server_list, wrapper } = json::body(WHAT, body)?;
    let named = |(name, mut topic): (String, RegisteredTopic)| {
        if topic.name.is_empty() {
            topic.name = name;
        }
        topic
    };
    let mapped = |(name, mapping): (String, QueueMapping)| QueueMapping {
        topic: Some(mapping.topic.unwrap_or(name)),
        ..mapping
    };
    Ok(Registration {
        version: wrapper.version,
        topics: wrapper.topics.into_iter().map(named).collect(),
        filter_servers: filter_server_list,
        mappings: wrapper.mappings.into_iter().map(mapped).collect(),
    })
}

const WHAT: &str = "broker's registration";

/// Deflate with zlib's frame over: version, topics, filter servers and (from brokers since 5.0) mappings, each JSON or text
/// behind its length, lists behind their count, all 4 bytes.
fn decode_compressed(body: &[u8], bytes_max: u64) -> Result<Registration, BodyError> {
    let problem = |problem: String| BodyError { what: WHAT, problem };
    let mut unfolded = Vec::new();
    let mut decoder = ZlibDecoder::new(body).take(bytes_max + 1);
    decoder.read_to_end(&mut unfolded).map_err(|error| problem(error.to_string()))?;
    if unfolded.len() as u64 > bytes_max {
        return Err(problem(format!("it unfolds to more than {bytes_max} bytes")));
    }
    let mut parts = Parts { rest: &unfolded };
    let version = json::body(WHAT, parts.part()?)?;
    let mut topics = Vec::new();
    for _ in 0..parts.number()? {
        // What is no topic is skipped, as there.
        topics.extend(topic_of(&String::from_utf8_lossy(parts.part()?)));
    }
    let filter_servers = json::body::<Option<Vec<String>>>(WHAT, parts.part()?)?;
    let mut mappings = Vec::new();
    if !parts.rest.is_empty() {
        for _ in 0..parts.number()? {
            mappings.push(json::body(WHAT, parts.part()?)?);
        }
    }
    Ok(Registration { version, topics, filter_servers, mappings })
}

/// `name read write permission filter-type {attributes}` (`TopicConfig.encode`, 5.5, which leaves the system flag out).
fn topic_of(text: &str) -> Option<RegisteredTopic> {
    let mut words = text.split(' ');
    let name = words.next()?.to_owned();
    let mut number = || words.next()?.parse::<i32>().ok();
    let (read_queue_nums, write_queue_nums, perm) = (number()?, number()?, number()?);
    words.next()?;
    Some(RegisteredTopic { name, read_queue_nums, write_queue_nums, perm, topic_sys_flag: 0 })
}

struct Parts<'a> {
    rest: &'a [u8],
}

impl<'a> Parts<'a> {
    fn number(&mut self) -> Result<usize, BodyError> {
        let short = || BodyError { what: WHAT, problem: "it breaks off".to_owned() };
        let (number, rest) = self.rest.split_first_chunk::<4>().ok_or_else(short)?;
        self.rest = rest;
        usize::try_from(i32::from_be_bytes(*number)).map_err(|_| short())
    }

    fn part(&mut self) -> Result<&'a [u8], BodyError> {
        let length = self.number()?;
        let (part, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or_else(|| BodyError { what: WHAT, problem: "it breaks off".to_owned() })?;
        self.rest = rest;
        Ok(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::ZlibEncoder};
    use halley_model::TopicName;
    use std::io::Write;

    fn compressed(parts: &[&[u8]]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        for part in parts {
            encoder.write_all(part).unwrap();
        }
        encoder.finish().unwrap()
    }

    fn part(text: &str) -> Vec<u8> {
        [&(text.len() as u32).to_be_bytes()[..], text.as_bytes()].concat()
    }

    #[test]
    fn what_our_broker_writes_is_read() {
        let version = DataVersion { counter: 3, state_version: 0, timestamp: 17 };
        let topic = TopicConfig {
            system_flag: 1,
            attributes: BTreeMap::from([("message.type".into(), "FIFO".into())]),
            ..TopicConfig::new(TopicName::new("t").unwrap(), 8)
        };
        let body = Registration::encode(version, [&topic], &[]);
        assert_eq!(
            String::from_utf8(body.clone()).unwrap(),
            r#"{"filterServerList":[],"topicConfigSerializeWrapper":{"dataVersion":{"counter":3,"stateVersion":0,"timestamp":17},"topicConfigTable":{"t":{"attributes":{"message.type":"FIFO"},"order":false,"perm":6,"readQueueNums":8,"topicFilterType":"SINGLE_TAG","topicName":"t","topicSysFlag":1,"writeQueueNums":8}},"topicQueueMappingInfoMap":{}}}"#
        );
        let read = Registration::decode(&body, false).unwrap();
        assert_eq!((read.version, read.filter_servers.as_deref()), (version, Some(&[][..])));
        assert_eq!(read.topics[0].name, "t");
        assert_eq!((read.topics[0].write_queue_nums, read.topics[0].topic_sys_flag), (8, 1));
        let mapping = QueueMapping {
            topic: Some("t".into()),
            broker_name: Some("b".into()),
            queues: BTreeMap::from([(0, 3)]),
            ..QueueMapping::default()
        };
        let body = Registration::encode(version, [&topic], std::slice::from_ref(&mapping));
        assert_eq!(Registration::decode(&body, false).unwrap().mappings, [mapping]);
    }

    #[test]
    fn static_topics_have_bare_keys() {
        let body = br#"{"filterServerList":null,"topicConfigSerializeWrapper":{"topicQueueMappingInfoMap":{"t":{"bname":"b","currIdMap":{0:0,1:3},"epoch":5,"totalQueues":4}}}}"#;
        let read = Registration::decode(body, false).unwrap();
        assert_eq!(read.mappings[0].queues, BTreeMap::from([(0, 0), (1, 3)]));
        assert_eq!((read.mappings[0].topic.as_deref(), read.filter_servers), (Some("t"), None));
    }

    #[test]
    fn compressed_bodies_are_read() {
        let version = part(r#"{"counter":1,"stateVersion":0,"timestamp":5}"#);
        let topics = [part("t 4 8 6 SINGLE_TAG {\"a\":\"b\"}"), part("u 1 1 4 SINGLE_TAG ")];
        let filters = part(r#"["f:1"]"#);
        let (one, two) = (1u32.to_be_bytes(), 2u32.to_be_bytes());
        let mapping = part(r#"{"bname":"b","topic":"t","currIdMap":{0:0}}"#);
        let parts: [&[u8]; 7] = [&version, &two, &topics[0], &topics[1], &filters, &one, &mapping];
        let read = Registration::decode(&compressed(&parts), true).unwrap();
        assert_eq!(read.topics.iter().map(|topic| topic.name.as_str()).collect::<Vec<_>>(), ["t", "u"]);
        assert_eq!((read.topics[0].read_queue_nums, read.topics[0].write_queue_nums), (4, 8));
        assert_eq!((read.filter_servers.unwrap().len(), read.mappings.len()), (1, 1));
        // Brokers before 5.0 have no mappings.
        assert!(Registration::decode(&compressed(&parts[..5]), true).unwrap().mappings.is_empty());
        assert!(Registration::decode(&compressed(&parts[..4]), true).is_err());
        assert!(Registration::decode(b"no zlib", true).is_err());
    }

    #[test]
    fn what_unfolds_without_end_is_refused() {
        let zeros = compressed(&[&[0; 1001]]);
        assert!(decode_compressed(&zeros, 1000).unwrap_err().problem.contains("unfolds"));
        assert!(!decode_compressed(&zeros, 1001).unwrap_err().problem.contains("unfolds"));
    }
}
