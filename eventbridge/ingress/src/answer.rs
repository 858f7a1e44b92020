//! Answers: what went wrong, in words and with the right status.

use bytes::Bytes;
use halley_backend::SendError;
use halley_event::ParseError;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::json;

/// An answer's body is always at hand.
pub(crate) type Answer = Response<Full<Bytes>>;

/// What is allowed on a bus.
pub(crate) const ALLOW: HeaderValue = HeaderValue::from_static("POST, OPTIONS");

/// A request that was not stored.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    message: String,
    attribute: Option<String>,
    retry_after_seconds: Option<u32>,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), attribute: None, retry_after_seconds: None }
    }

    /// Trying again later may help.
    pub(crate) fn retry_after(self, seconds: u32) -> Self {
        Self { retry_after_seconds: Some(seconds), ..self }
    }

    pub(crate) fn into_answer(self) -> Answer {
        let mut body = json!({ "error": self.message });
        if let Some(attribute) = &self.attribute {
            body["attribute"] = json!(attribute);
        }
        let mut answer = Response::new(Full::new(Bytes::from(format!("{body}\n"))));
        *answer.status_mut() = self.status;
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(header::ALLOW, ALLOW);
        }
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        answer
    }
}

impl From<ParseError> for Refusal {
    fn from(error: ParseError) -> Self {
        let status = match error {
            ParseError::ContentType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            ParseError::BatchTooLong => StatusCode::PAYLOAD_TOO_LARGE,
            ParseError::Attribute { .. }
            | ParseError::Json(_)
            | ParseError::Base64(_)
            | ParseError::TooManyAttributes(_) => StatusCode::BAD_REQUEST,
        };
        let attribute = error.attribute_name().map(str::to_owned);
        Self { attribute, ..Self::new(status, error.to_string()) }
    }
}

impl From<SendError> for Refusal {
    fn from(error: SendError) -> Self {
        let message = error.to_string();
        match error {
            SendError::Overloaded { .. } | SendError::NoSegment => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, message).retry_after(1)
            }
            SendError::Full => Self::new(StatusCode::SERVICE_UNAVAILABLE, message).retry_after(10),
            SendError::Stopped(_) => Self::new(StatusCode::SERVICE_UNAVAILABLE, message).retry_after(5),
            SendError::NoSuchTopic(_) => Self::new(StatusCode::SERVICE_UNAVAILABLE, message).retry_after(5),
            SendError::Invalid(_) => Self::new(StatusCode::PAYLOAD_TOO_LARGE, message),
        }
    }
}
