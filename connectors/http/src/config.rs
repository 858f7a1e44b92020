//! What an HTTP target is told, parsed once into valid values.

use http::{HeaderName, HeaderValue, Uri};
use std::time::Duration;

/// A target's settings.
#[derive(Debug, Clone)]
pub struct Config {
    pub(crate) url: Uri,
    pub(crate) mode: Mode,
    pub(crate) timeout: Duration,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) retry_on: RetryOn,
}

/// How an event is written into a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Attributes as headers, data as the body.
    Binary,
    /// Everything as JSON.
    Structured,
}

/// Statuses after which the same request may work later; others of 3xx and 4xx never will.
#[derive(Debug, Clone)]
pub struct RetryOn {
    ranges: Vec<(u16, u16)>,
}

/// Why settings are not valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The URL cannot be used.
    #[error("the URL {0:?} cannot be used: {1}")]
    Url(String, String),
    /// A header cannot be sent.
    #[error("the header {0:?} cannot be sent")]
    Header(String),
}

impl Config {
    /// Checks the settings.
    pub fn new(
        url: &str,
        mode: Mode,
        timeout: Duration,
        headers: &[(String, String)],
        retry_on: RetryOn,
    ) -> Result<Self, ConfigError> {
        let parsed: Uri = url
            .parse()
            .map_err(|error: http::uri::InvalidUri| ConfigError::Url(url.to_owned(), error.to_string()))?;
        if parsed.host().is_none() || !matches!(parsed.scheme_str(), Some("http" | "https")) {
            let reason = "it needs http:// or https:// and a host".to_owned();
            return Err(ConfigError::Url(url.to_owned(), reason));
        }
        let headers = headers.iter().map(|(name, value)| {
            let header =
                HeaderName::try_from(name.as_str()).ok().zip(HeaderValue::try_from(value.as_str()).ok());
            header.ok_or_else(|| ConfigError::Header(name.clone()))
        });
        Ok(Self { url: parsed, mode, timeout, headers: headers.collect::<Result<_, _>>()?, retry_on })
    }
}

impl Default for RetryOn {
    /// What Knative retries (`docs/spec/data-plane.md`): 404, 408, 409, 429 and 5xx.
    fn default() -> Self {
        Self { ranges: vec![(404, 404), (408, 409), (429, 429), (500, 599)] }
    }
}

impl RetryOn {
    /// Statuses from and to, both included.
    pub fn new(ranges: impl IntoIterator<Item = (u16, u16)>) -> Self {
        Self { ranges: ranges.into_iter().collect() }
    }

    pub(crate) fn contains(&self, status: u16) -> bool {
        self.ranges.iter().any(|(from, to)| (*from..=*to).contains(&status))
    }
}
