//! Names of topics and consumer groups, checked once at the edge.

use crate::light;
use serde::{Deserialize, Serialize};
use std::{fmt, sync::Arc};

/// Longest topic name a client may use, in bytes (RocketMQ `Validators.TOPIC_MAX_LENGTH`, 5.5).
pub const TOPIC_BYTES_MAX: usize = 127;

/// Longest group name, in bytes (RocketMQ `Validators.CHARACTER_MAX_LENGTH`, 5.5).
pub const GROUP_BYTES_MAX: usize = 255;

/// Longest topic name of the broker's own making (`%RETRY%group`, `%DLQ%group`), in bytes.
pub const DERIVED_TOPIC_BYTES_MAX: usize = 255;

/// Prefix of the topic that holds messages of a group waiting for another attempt.
pub const RETRY_PREFIX: &str = "%RETRY%";

/// Prefix of the topic that holds messages given up.
pub const DEAD_LETTER_PREFIX: &str = "%DLQ%";

/// Between group and topic in the name of a POP retry topic of the second form.
const V2_SEPARATOR: char = '+';

/// The topic whose settings a topic created on first use takes (`autoCreateTopicEnable`).
pub const AUTO_CREATE_TOPIC: &str = "TBW102";

/// A topic's name: 1 to 127 bytes of `[%|a-zA-Z0-9_-]` (255 for `%RETRY%` and `%DLQ%` topics). Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TopicName(Arc<str>);

/// A consumer or producer group's name: 1 to 255 bytes of `[%|a-zA-Z0-9_-]`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GroupName(Arc<str>);

/// Why a name is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The name has no characters.
    #[error("the {what} name is empty")]
    Empty {
        /// "topic" or "group"
        what: &'static str,
    },
    /// The name is longer than RocketMQ allows.
    #[error("the {what} name has {bytes} bytes, at most {max} are allowed")]
    TooLong {
        /// "topic" or "group"
        what: &'static str,
        /// its length in bytes
        bytes: usize,
        /// the limit in bytes
        max: usize,
    },
    /// A character outside `[%|a-zA-Z0-9_-]`.
    #[error(
        "the {what} name {name:?} contains the illegal character {character:?}, allowed are ^[%|a-zA-Z0-9_-]+$"
    )]
    IllegalCharacter {
        /// "topic" or "group"
        what: &'static str,
        /// the whole name
        name: String,
        /// the first illegal character
        character: char,
    },
}

impl TopicName {
    /// Checks `name` by RocketMQ's rules (`TopicValidator.validateTopic`, 5.5).
    pub fn new(name: &str) -> Result<Self, NameError> {
        let derived = name.starts_with(RETRY_PREFIX) || name.starts_with(DEAD_LETTER_PREFIX);
        check(name, "topic", if derived { DERIVED_TOPIC_BYTES_MAX } else { TOPIC_BYTES_MAX })?;
        Ok(Self(name.into()))
    }

    /// The name of a topic that there may be without a client having made it: also of a light queue, which may be called as
    /// it likes, or of the broker's own (`%RETRY%group+topic`).
    pub fn known(name: &str) -> Result<Self, NameError> {
        if name.starts_with(RETRY_PREFIX) || light::is_light(name) {
            return free(name, "topic", DERIVED_TOPIC_BYTES_MAX).map(Self);
        }
        Self::new(name)
    }

    /// The topic that holds this group's messages waiting for another attempt.
    pub fn retry_of(group: &GroupName) -> Self {
        Self(format!("{RETRY_PREFIX}{group}").into())
    }

    /// The topic that holds this group's messages of `topic` that were popped and not acknowledged
    /// (`KeyBuilder.buildPopRetryTopicV1`, 5.5).
    pub fn pop_retry_of(group: &GroupName, topic: &Self) -> Result<Self, NameError> {
        free(&format!("{RETRY_PREFIX}{group}_{topic}"), "topic", DERIVED_TOPIC_BYTES_MAX).map(Self)
    }

    /// The same in its second form (`KeyBuilder.buildPopRetryTopicV2`, 5.5), from which group and topic can be told apart.
    pub fn pop_retry_v2_of(group: &GroupName, topic: &Self) -> Result<Self, NameError> {
        free(&format!("{RETRY_PREFIX}{group}{V2_SEPARATOR}{topic}"), "topic", DERIVED_TOPIC_BYTES_MAX)
            .map(Self)
    }

    /// The name itself, shared.
    pub fn to_arc(&self) -> Arc<str> {
        self.0.clone()
    }

    /// The topic that holds what was given up for `owner` (a group or a target).
    pub fn dead_letters_of(owner: &GroupName) -> Self {
        Self(format!("{DEAD_LETTER_PREFIX}{owner}").into())
    }
}

impl GroupName {
    /// Checks `name` by RocketMQ's rules (`Validators.checkGroup`, 5.5). A group that reads light queues may be called as it
    /// likes.
    pub fn new(name: &str) -> Result<Self, NameError> {
        if light::is_light(name) {
            return free(name, "group", GROUP_BYTES_MAX).map(Self);
        }
        check(name, "group", GROUP_BYTES_MAX)?;
        Ok(Self(name.into()))
    }
}

/// A name of any letters.
fn free(name: &str, what: &'static str, max: usize) -> Result<Arc<str>, NameError> {
    if name.len() > max {
        return Err(NameError::TooLong { what, bytes: name.len(), max });
    }
    match name.chars().find(|c| c.is_control()) {
        Some(character) => Err(NameError::IllegalCharacter { what, name: name.to_owned(), character }),
        None => Ok(name.into()),
    }
}

fn check(name: &str, what: &'static str, max: usize) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty { what });
    }
    if name.len() > max {
        return Err(NameError::TooLong { what, bytes: name.len(), max });
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '%' | '|' | '_' | '-');
    match name.chars().find(|c| !allowed(*c)) {
        Some(character) => Err(NameError::IllegalCharacter { what, name: name.to_owned(), character }),
        None => Ok(()),
    }
}

macro_rules! text_of {
    ($name:ident) => {
        impl $name {
            /// The name itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.as_str().to_owned()
            }
        }
        impl std::ops::Deref for $name {
            type Target = str;
            fn deref(&self) -> &str {
                &self.0
            }
        }
        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
    };
}
text_of!(TopicName);
text_of!(GroupName);

impl TryFrom<String> for TopicName {
    type Error = NameError;
    fn try_from(name: String) -> Result<Self, NameError> {
        Self::known(&name)
    }
}

impl TryFrom<String> for GroupName {
    type Error = NameError;
    fn try_from(name: String) -> Result<Self, NameError> {
        Self::new(&name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_broker_knows_topics_that_clients_cannot_make() {
        let (group, topic) = (GroupName::new("g").unwrap(), TopicName::new("t").unwrap());
        let retry = TopicName::pop_retry_v2_of(&group, &topic).unwrap();
        assert_eq!(&*retry, "%RETRY%g+t");
        assert_eq!(TopicName::known("%RETRY%g+t"), Ok(retry));
        assert!(TopicName::new("%RETRY%g+t").is_err());
        assert!(TopicName::known("a+b").is_err() && TopicName::known("%LMQ%a\x01").is_err());
        assert!(TopicName::known("%LMQ%$t$u/@ä").is_ok() && TopicName::new("%LMQ%$t").is_err());
        assert!(GroupName::new("%LMQ%g@c").is_ok());
    }

    #[test]
    fn names_follow_rocketmq() {
        assert!(TopicName::new("BUS_orders").is_ok());
        assert!(TopicName::new("%RETRY%g").is_ok());
        assert_eq!(TopicName::new(""), Err(NameError::Empty { what: "topic" }));
        assert!(matches!(
            TopicName::new(&"a".repeat(128)),
            Err(NameError::TooLong { bytes: 128, max: 127, .. })
        ));
        assert!(TopicName::new(&format!("%RETRY%{}", "g".repeat(248))).is_ok());
        let Err(error) = TopicName::new("a/b") else { panic!("a slash is illegal") };
        assert!(error.to_string().contains("'/'"), "{error}");
    }
}
