//! Delivering to an HTTP target.

use crate::{config::Config, request, retry, service::Client};
use bytes::Bytes;
use halley_connector_api::{Attempt, Sink, Verdict};
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use std::{error::Error, time::SystemTime};
use tokio::time::timeout;

/// An answer's body is read this far, so that its connection can be used again; the connection of a longer one is
/// closed.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

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

    /// The answer to a request, read to its end.
    async fn answer(&self, request: Request<Full<Bytes>>) -> Result<Response<()>, String> {
        let answer = self.client.pool.request(request).await.map_err(|error| chain(&error))?;
        let (head, body): (_, Incoming) = answer.into_parts();
        // What the body says does not matter, and neither does an error while reading it: the status decides.
        let _ = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        Ok(Response::from_parts(head, ()))
    }
}

impl Sink for HttpSink {
    async fn deliver(&self, attempt: Attempt) -> Verdict {
        let request = match request::build(&self.config, &attempt.record, &attempt.cluster) {
            Ok(request) => request,
            Err(reason) => return Verdict::Reject { reason },
        };
        match timeout(self.config.timeout, self.answer(request)).await {
            Ok(Ok(answer)) => {
                retry::verdict(answer.status(), answer.headers(), &self.config.retry_on, SystemTime::now())
            }
            Ok(Err(reason)) => Verdict::Retry { reason: format!("no answer: {reason}"), retry_after: None },
            Err(_) => {
                let reason = format!("no answer within {} ms", self.config.timeout.as_millis());
                Verdict::Retry { reason, retry_after: None }
            }
        }
    }
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
