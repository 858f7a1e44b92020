//! RocketMQ Remoting frames, headers, codes and bodies: bytes to values and back.
//!
//! Pure and borrowing: a [`Frame`] is a view of the bytes it was read from, its ext fields are scanned in place into
//! typed headers, and replies are written straight into the connection's buffer. Nothing here knows what a request
//! means for the broker.
//!
//! The way in: [`frame::decode`] → [`BrokerCode::of`] or [`NamesrvCode::of`] → a header of [`request`] (and its JSON body, or
//! [`batch::messages`]). The way out: [`reply`], with bodies of [`body`]. The other side of the wire (our own client,
//! tests) uses [`encode::request`] and the `decode` functions of the reply headers.

pub mod batch;
pub mod body;
pub mod code;
pub mod encode;
pub mod ext;
pub mod frame;
pub mod pop;
mod recall;
pub mod reply;
pub mod request;

mod json;

pub use code::{BrokerCode, ClientCode, NamesrvCode, NoticeCode, ResponseCode};
pub use encode::{EncodeError, ExtValue};
pub use ext::{Ext, HeaderError};
pub use frame::{Frame, FrameError, Limits, Serialize};
pub use json::BodyError;
pub use recall::RecallHandle;
pub use reply::{encode_reply, encode_reply_head};
pub use request::client::notify_consumer_ids_changed;

/// The version that replies carry: RocketMQ 5.5.0's ordinal in `MQVersion.Version`. Java clients keep it per broker
/// and refuse SQL92 subscriptions to brokers before V4_1_0 (`MQClientAPIImpl.sendHeartbeat`, 4.9.8 and 5.5.0).
pub const VERSION_5_5_0: i32 = 513;

/// The first version that is sent route data in standard JSON (`ClientRequestProcessor`, 5.5): V4_9_4's ordinal.
pub const VERSION_4_9_4: i32 = 401;

/// Numbers of `LanguageCode` (RocketMQ 5.5) that Halley uses or must know.
pub mod language {
    /// Java, also what replies carry: every client knows it.
    pub const JAVA: u8 = 0;
    /// C++, whose client reads some bodies in a form of its own.
    pub const CPP: u8 = 1;
    /// Anything without a number of its own.
    pub const OTHER: u8 = 7;
    /// Go.
    pub const GO: u8 = 9;
    /// Rust, what Halley's own client says.
    pub const RUST: u8 = 12;

    /// Names as they stand in JSON headers, at the index of their number.
    const NAMES: [&str; 14] = [
        "JAVA", "CPP", "DOTNET", "PYTHON", "DELPHI", "ERLANG", "RUBY", "OTHER", "HTTP", "GO", "PHP", "OMS",
        "RUST", "NODE_JS",
    ];

    /// The name of a language in JSON headers; an unknown number is "OTHER".
    pub fn name(number: u8) -> &'static str {
        NAMES.get(usize::from(number)).copied().unwrap_or("OTHER")
    }

    /// The number of a language named in a JSON header; an unknown name is [`OTHER`].
    pub fn number(name: &[u8]) -> u8 {
        let position = NAMES.iter().position(|known| known.as_bytes() == name);
        position.and_then(|at| u8::try_from(at).ok()).unwrap_or(OTHER)
    }
}
