//! One request: from its bytes to stored events and an answer.

use crate::{
    IngressMetrics, Limits,
    answer::{ALLOW, Answer, Refusal},
    queue,
};
use bytes::Bytes;
use halley_backend::{Backend, Outgoing};
use halley_event::{ParsedEvent, parse};
use halley_model::{Millis, property};
use halley_rules::{
    Config,
    config::{Bus, DEFAULT_BUS},
};
use http::{HeaderValue, Method, Request, Response, StatusCode, header, request::Parts};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Instant, SystemTime, UNIX_EPOCH},
};
use tokio::time::timeout;

/// What requests share.
pub(crate) struct Ingress<B> {
    pub(crate) backend: Arc<B>,
    pub(crate) config: Arc<Config>,
    pub(crate) limits: Limits,
    pub(crate) metrics: IngressMetrics,
    /// Bytes of bodies in work.
    pub(crate) inflight: AtomicUsize,
}

impl<B: Backend> Ingress<B> {
    /// Answers a request.
    pub(crate) async fn handle(&self, request: Request<Incoming>) -> Answer {
        let started = Instant::now();
        let (head, body) = request.into_parts();
        match self.try_handle(&head, body, started).await {
            Ok(answer) => answer,
            Err(refusal) => {
                self.metrics.refused(refusal.status.as_u16());
                refusal.into_answer()
            }
        }
    }

    async fn try_handle(&self, head: &Parts, body: Incoming, started: Instant) -> Result<Answer, Refusal> {
        let bus = self.bus_of(head.uri.path())?;
        match head.method {
            Method::POST => {}
            Method::OPTIONS => return Ok(handshake(head)),
            _ => {
                let message = format!("{} is not allowed here: events are sent with POST", head.method);
                return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, message));
            }
        }
        let permit = self.permit(head)?;
        let body = self.read(body).await?;
        let content_type = match head.headers.get(header::CONTENT_TYPE).map(HeaderValue::to_str) {
            None => None,
            Some(Ok(content_type)) => Some(content_type),
            Some(Err(_)) => {
                let message = "the Content-Type is not printable ASCII";
                return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
            }
        };
        let headers = head.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        let events = parse::request(content_type, headers, body)?;
        let count = events.len();
        if count > 0 {
            self.backend.send(self.outgoing(bus, events)).await?;
        }
        drop(permit);
        self.metrics.stored(&bus.name, count, started.elapsed());
        let mut answer = Response::new(Full::default());
        *answer.status_mut() = StatusCode::ACCEPTED;
        Ok(answer)
    }

    fn bus_of(&self, path: &str) -> Result<&Bus, Refusal> {
        let name = match path.strip_prefix('/') {
            Some("") | None => DEFAULT_BUS,
            Some(name) => name,
        };
        self.config.bus(name).ok_or_else(|| {
            let known = self.config.buses.iter().map(|bus| bus.name.as_str()).collect::<Vec<_>>().join(", ");
            Refusal::new(StatusCode::NOT_FOUND, format!("there is no bus named {name:?}, known are: {known}"))
        })
    }

    /// Claims room for the body, as long as the guard lives.
    fn permit(&self, head: &Parts) -> Result<Permit<'_>, Refusal> {
        let announced =
            head.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        // A body of unknown length may be as long as allowed.
        let bytes: usize = announced.unwrap_or(self.limits.body_bytes);
        if bytes > self.limits.body_bytes {
            return Err(self.too_large());
        }
        let before = self.inflight.fetch_add(bytes, Ordering::Relaxed);
        let permit = Permit { inflight: &self.inflight, bytes };
        if before + bytes > self.limits.inflight_bytes {
            let message = format!("{before} bytes are in work, the limit is {}", self.limits.inflight_bytes);
            return Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, message).retry_after(1));
        }
        Ok(permit)
    }

    async fn read(&self, body: Incoming) -> Result<Bytes, Refusal> {
        let reading = Limited::new(body, self.limits.body_bytes).collect();
        match timeout(self.limits.body_time, reading).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(self.too_large()),
            Ok(Err(error)) => {
                Err(Refusal::new(StatusCode::BAD_REQUEST, format!("the body could not be read: {error}")))
            }
            Err(_) => {
                let message = format!("the body did not come within {} s", self.limits.body_time.as_secs());
                Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, message))
            }
        }
    }

    fn too_large(&self) -> Refusal {
        let message = format!("the body has more than {} bytes", self.limits.body_bytes);
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    }

    /// The records of events: one in the bus's topic, and one per matching route.
    fn outgoing(&self, bus: &Bus, events: Vec<ParsedEvent>) -> Vec<Outgoing> {
        let born = now();
        let mut records = Vec::with_capacity(events.len());
        for event in events {
            let order_key = bus.order_key.as_deref();
            for route in bus.routes.iter().filter(|route| route.matches(&event)) {
                let mut properties = event.properties.clone();
                if let Some(tag) = &route.tag {
                    property::push(&mut properties, property::TAGS, &tag.fill(&event));
                }
                if !route.keys.is_empty() {
                    let keys: Vec<_> = route.keys.iter().map(|key| key.fill(&event)).collect();
                    property::push(&mut properties, property::KEYS, &keys.join(" "));
                }
                let queues = self.backend.queues(&route.topic).unwrap_or(1);
                records.push(Outgoing {
                    topic: route.topic.clone(),
                    queue: queue::of(&event, order_key, queues),
                    body: event.data.clone(),
                    properties: properties.into(),
                    born,
                });
            }
            records.push(Outgoing {
                topic: bus.topic.clone(),
                queue: queue::of(&event, order_key, bus.queues),
                body: event.data,
                properties: event.properties.into(),
                born,
            });
        }
        records
    }
}

struct Permit<'a> {
    inflight: &'a AtomicUsize,
    bytes: usize,
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.inflight.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The validation handshake of web hooks (CloudEvents `http-webhook.md` §4): whoever asks may send, at any rate.
fn handshake(head: &Parts) -> Answer {
    let mut answer = Response::new(Full::default());
    let headers = answer.headers_mut();
    headers.insert(header::ALLOW, ALLOW);
    if let Some(origin) = head.headers.get("webhook-request-origin") {
        headers.insert("webhook-allowed-origin", origin.clone());
        headers.insert("webhook-allowed-rate", HeaderValue::from_static("*"));
    }
    answer
}

fn now() -> Millis {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as Millis)
}
