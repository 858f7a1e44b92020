//! What brokers tell name servers, and what name servers tell them: requests 103, 104, 322, 901, 904, 905, and 105's
//! neighbours with one name each (205, 216, 217, 224, 327).

use crate::{Ext, HeaderError, NoticeCode, encode, encode::ExtField};
use bytes::BytesMut;
use std::borrow::Cow;

/// A broker as it names itself (requests 104 and 322: `UnRegisterBrokerRequestHeader`, `QueryDataVersionRequestHeader`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerMember<'a> {
    /// Its name.
    pub broker_name: Cow<'a, str>,
    /// Where clients reach it.
    pub broker_addr: Cow<'a, str>,
    /// Its cluster.
    pub cluster_name: Cow<'a, str>,
    /// Its id; 0 is the master.
    pub broker_id: u64,
}

impl<'a> BrokerMember<'a> {
    /// Reads the header.
    pub fn decode(ext: &Ext<'a>) -> Result<Self, HeaderError> {
        let [name, addr, cluster, id] = ext.pick(["brokerName", "brokerAddr", "clusterName", "brokerId"]);
        let broker_id = u64::try_from(id.i64()?).map_err(|_| id.invalid("a broker id from 0 on"))?;
        Ok(Self {
            broker_name: name.text()?,
            broker_addr: addr.text()?,
            cluster_name: cluster.text()?,
            broker_id,
        })
    }

    /// The ext fields.
    pub fn fields(&self) -> [ExtField<'_>; 4] {
        [
            ("brokerName", (&*self.broker_name).into()),
            ("brokerAddr", (&*self.broker_addr).into()),
            ("clusterName", (&*self.cluster_name).into()),
            // Ids above 2^63 are never read.
            ("brokerId", self.broker_id.cast_signed().into()),
        ]
    }
}

/// A broker registers (103, `RegisterBrokerRequestHeader`); its topics are the body, see [`crate::body::Registration`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisterBroker<'a> {
    /// Who it is.
    pub broker: BrokerMember<'a>,
    /// Where its replicas reach it.
    pub ha_server_addr: Cow<'a, str>,
    /// After so many milliseconds of silence it counts as dead; absent for two minutes.
    pub heartbeat_timeout_millis: Option<i64>,
    /// A replica may act as the master while there is none; absent from brokers before 5.0.
    pub enable_acting_master: Option<bool>,
    /// The body is compressed.
    pub compressed: bool,
    /// The checksum of the body, see [`crate::body::registration::checksum`]; 0 for none.
    pub body_crc32: i32,
    /// The zone it stands in.
    pub zone_name: Option<Cow<'a, str>>,
}

impl<'a> RegisterBroker<'a> {
    /// Reads the header.
    pub fn decode(ext: &Ext<'a>) -> Result<Self, HeaderError> {
        let [ha, timeout, acting, compressed, crc, zone] = ext.pick([
            "haServerAddr",
            "heartbeatTimeoutMillis",
            "enableActingMaster",
            "compressed",
            "bodyCrc32",
            "__ZONE_NAME",
        ]);
        Ok(Self {
            broker: BrokerMember::decode(ext)?,
            ha_server_addr: ha.text()?,
            heartbeat_timeout_millis: timeout.i64_opt()?,
            enable_acting_master: acting.bool_opt(),
            compressed: compressed.bool_opt().unwrap_or(false),
            body_crc32: crc.i32_opt()?.unwrap_or(0),
            zone_name: zone.text_opt(),
        })
    }

    /// The ext fields.
    pub fn fields(&self) -> [ExtField<'_>; 10] {
        let [name, addr, cluster, id] = self.broker.fields();
        [
            name,
            addr,
            cluster,
            id,
            ("haServerAddr", (&*self.ha_server_addr).into()),
            ("heartbeatTimeoutMillis", self.heartbeat_timeout_millis.into()),
            ("enableActingMaster", self.enable_acting_master.into()),
            ("compressed", self.compressed.into()),
            ("bodyCrc32", self.body_crc32.into()),
            ("__ZONE_NAME", self.zone_name.as_deref().into()),
        ]
    }
}

/// A broker lives (904, `BrokerHeartbeatRequestHeader`, of which name servers read no more).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerHeartbeat<'a> {
    /// Its cluster.
    pub cluster_name: Cow<'a, str>,
    /// Where clients reach it.
    pub broker_addr: Cow<'a, str>,
}

impl<'a> BrokerHeartbeat<'a> {
    /// Reads the header.
    pub fn decode(ext: &Ext<'a>) -> Result<Self, HeaderError> {
        let [cluster, addr, name] = ext.pick(["clusterName", "brokerAddr", "brokerName"]);
        name.text()?;
        Ok(Self { cluster_name: cluster.text()?, broker_addr: addr.text()? })
    }
}

/// Asks for a broker and its replicas (901, `GetBrokerMemberGroupRequestHeader`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GetBrokerMemberGroup<'a> {
    /// The cluster.
    pub cluster_name: Cow<'a, str>,
    /// The broker's name.
    pub broker_name: Cow<'a, str>,
}

impl<'a> GetBrokerMemberGroup<'a> {
    /// Reads the header.
    pub fn decode(ext: &Ext<'a>) -> Result<Self, HeaderError> {
        let [cluster, name] = ext.pick(["clusterName", "brokerName"]);
        Ok(Self { cluster_name: cluster.text()?, broker_name: name.text()? })
    }
}

/// The broker that a request is about, where that is all it says (205 and 327).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerName<'a> {
    /// The broker's name.
    pub broker_name: Cow<'a, str>,
}

impl<'a> BrokerName<'a> {
    /// Reads the header.
    pub fn decode(ext: &Ext<'a>) -> Result<Self, HeaderError> {
        let [name] = ext.pick(["brokerName"]);
        Ok(Self { broker_name: name.text()? })
    }
}

/// The topic that a request is about (216, `DeleteTopicFromNamesrvRequestHeader`; 217, `RegisterTopicRequestHeader`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamesrvTopic<'a> {
    /// The topic.
    pub topic: Cow<'a, str>,
    /// Only this cluster.
    pub cluster_name: Option<Cow<'a, str>>,
}

impl<'a> NamesrvTopic<'a> {
    /// Reads the header.
    pub fn decode(ext: &Ext<'a>) -> Result<Self, HeaderError> {
        let [topic, cluster] = ext.pick(["topic", "clusterName"]);
        let cluster_name = cluster.text_opt().filter(|cluster| !cluster.is_empty());
        Ok(Self { topic: topic.text()?, cluster_name })
    }
}

/// The cluster that a request is about (224, `GetTopicsByClusterRequestHeader`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterName<'a> {
    /// The cluster.
    pub cluster: Cow<'a, str>,
}

impl<'a> ClusterName<'a> {
    /// Reads the header.
    pub fn decode(ext: &Ext<'a>) -> Result<Self, HeaderError> {
        let [cluster] = ext.pick(["cluster"]);
        Ok(Self { cluster: cluster.text()? })
    }
}

/// Tells a broker that another one of its group has the least id now (905, `NotifyMinBrokerIdChangeRequestHeader`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MinBrokerIdChange<'a> {
    /// The least id.
    pub min_broker_id: u64,
    /// Who has it.
    pub min_broker_addr: Cow<'a, str>,
    /// Who left.
    pub offline_broker_addr: Option<Cow<'a, str>>,
    /// Where replicas reach the new one.
    pub ha_broker_addr: Option<Cow<'a, str>>,
}

impl MinBrokerIdChange<'_> {
    /// Appends the one-way request. RocketMQ 5.5 leaves the broker's name out, too.
    pub fn encode(&self, out: &mut BytesMut) -> Result<(), encode::EncodeError> {
        let request = encode::Request {
            serialize: crate::Serialize::Json,
            oneway: true,
            language: crate::language::JAVA,
            ..encode::Request::new(NoticeCode::NotifyMinBrokerIdChange, 0)
        };
        let fields = [
            ("minBrokerId", self.min_broker_id.cast_signed().into()),
            ("minBrokerAddr", (&*self.min_broker_addr).into()),
            ("offlineBrokerAddr", self.offline_broker_addr.as_deref().into()),
            ("haBrokerAddr", self.ha_broker_addr.as_deref().into()),
        ];
        encode::request(out, request, &fields, b"")
    }
}

/// A namespace, perhaps a key in it, perhaps a value (100, 101, 102 and 219: `PutKVConfigRequestHeader` and its kin).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvConfig<'a> {
    /// The namespace.
    pub namespace: Cow<'a, str>,
    /// The key; "" where the request has none.
    pub key: Cow<'a, str>,
    /// The value.
    pub value: Option<Cow<'a, str>>,
}

impl<'a> KvConfig<'a> {
    /// Reads the header of a request about one key.
    pub fn decode(ext: &Ext<'a>) -> Result<Self, HeaderError> {
        let [namespace, key, value] = ext.pick(["namespace", "key", "value"]);
        Ok(Self { namespace: namespace.text()?, key: key.text()?, value: value.text_opt() })
    }

    /// Reads the header of a request about a namespace.
    pub fn decode_namespace(ext: &Ext<'a>) -> Result<Self, HeaderError> {
        let [namespace] = ext.pick(["namespace"]);
        Ok(Self { namespace: namespace.text()?, key: "".into(), value: None })
    }
}
