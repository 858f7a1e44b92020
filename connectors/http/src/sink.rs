//! Delivering to an HTTP target.

use crate::{config::Config, request, retry, service::Client};
use halley_connector_api::{Attempt, Sink, Verdict};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use std::{
    error::Error,
    time::{Duration, SystemTime},
};
use tokio::time::{Instant, timeout_at};

/// An answer's body is read this far, so that its connection can be used again; the connection of a longer one is
/// closed.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// An answer's body is read this long. The status has decided by then, so a slow body costs a connection, no more.
const ANSWER_BODY_WAIT: Duration = Duration::from_millis(250);

/// A target.
#[derive(Debug, Clone)]
pub struct HttpSink {
    client: Client,
    config: Config,
}

impl HttpSink {
    /// A target with these settings.
    pub fn new(client: Client, config: Config) -> Self {
        Self { client, config }
    }
}

impl Sink for HttpSink {
    async fn deliver(&self, attempt: Attempt) -> Verdict {
        let request = match request::build(&self.config, &attempt.record, &attempt.cluster) {
            Ok(request) => request,
            Err(reason) => return Verdict::Reject { reason },
        };
        let deadline = Instant::now() + self.config.timeout;
        let answer = match timeout_at(deadline, self.client.pool.request(request)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                return Verdict::Retry { reason: format!("no answer: {}", chain(&error)), retry_after: None };
            }
            Err(_) => {
                let reason = format!("no answer within {} ms", self.config.timeout.as_millis());
                return Verdict::Retry { reason, retry_after: None };
            }
        };
        let (head, body) = answer.into_parts();
        let said = read(body, deadline).await;
        retry::verdict(head.status, &head.headers, &said, &self.config.retry_on, SystemTime::now())
    }
}

/// What an answer's body says, as far as it was read in time.
async fn read(mut body: Incoming, deadline: Instant) -> Vec<u8> {
    let mut said = Vec::new();
    let mut limited = Limited::new(&mut body, ANSWER_BYTES_MAX);
    let reading = async {
        // An error while reading changes nothing: the status decides.
        while let Some(Ok(frame)) = limited.frame().await {
            if let Some(data) = frame.data_ref() {
                let room = retry::EXCERPT_BYTES_MAX - said.len();
                said.extend_from_slice(&data[..data.len().min(room)]);
            }
        }
    };
    let _ = timeout_at(deadline.min(Instant::now() + ANSWER_BODY_WAIT), reading).await;
    said
}

/// An error with its causes.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests;
