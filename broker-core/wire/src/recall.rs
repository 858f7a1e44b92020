//! The handle by which a timer message can be taken back: base64url of `v1 topic broker time uniqueKey`
//! (`RecallMessageHandle`, 5.5).

use base64::{Engine, engine::general_purpose::URL_SAFE};

/// Names a timer message of one broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecallHandle {
    /// Its topic.
    pub topic: String,
    /// The broker that has it.
    pub broker: String,
    /// When it is due, in milliseconds since the epoch; -1 where the handle has no number there.
    pub deliver_at: i64,
    /// Its unique key.
    pub unique_key: String,
}

/// The text is not a handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("recall handle is invalid")]
pub struct NoHandle;

impl RecallHandle {
    /// The handle's text.
    pub fn encode(&self) -> String {
        let Self { topic, broker, deliver_at, unique_key } = self;
        URL_SAFE.encode(format!("v1 {topic} {broker} {deliver_at} {unique_key}"))
    }

    /// Reads a handle.
    pub fn decode(text: &str) -> Result<Self, NoHandle> {
        let bytes = URL_SAFE.decode(text).map_err(|_| NoHandle)?;
        let text = String::from_utf8(bytes).map_err(|_| NoHandle)?;
        let mut items = text.split(' ');
        let mut next = || items.next().map(str::to_owned).ok_or(NoHandle);
        if next()? != "v1" {
            return Err(NoHandle);
        }
        let (topic, broker, at, unique_key) = (next()?, next()?, next()?, next()?);
        Ok(Self { topic, broker, deliver_at: at.parse().unwrap_or(-1), unique_key })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_comes_back() {
        let handle = RecallHandle {
            topic: "orders".into(),
            broker: "broker-a".into(),
            deliver_at: 1_700_000_000_001,
            unique_key: "7F0000010001".into(),
        };
        assert_eq!(RecallHandle::decode(&handle.encode()), Ok(handle));
        for bad in ["", "?", "djIgYSBiIDEgYw==", "djEgYSBi"] {
            assert_eq!(RecallHandle::decode(bad), Err(NoHandle));
        }
    }
}
