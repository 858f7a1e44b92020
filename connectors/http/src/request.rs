//! From a stored record to a request.

use crate::config::{Config, Mode};
use bytes::Bytes;
use halley_event::{DataError, EventView, STRUCTURED, encode};
use halley_model::RecordView;
use http::{HeaderName, HeaderValue, Method, Request, header};
use http_body_util::Full;
use std::borrow::Cow;

/// Who sends, unless the target's headers say otherwise.
const USER_AGENT: &str = concat!("halley/", env!("CARGO_PKG_VERSION"));

/// Builds the request for a record; the error says why it can never be sent.
pub(crate) fn build(config: &Config, record: &Bytes, cluster: &str) -> Result<Request<Full<Bytes>>, String> {
    let view = RecordView::parse(record).map_err(|error| error.to_string())?;
    let event = EventView::new(view, cluster);
    let unreadable = |error: DataError| error.to_string();
    let mut request = Request::new(Full::new(match config.mode {
        Mode::Binary => match event.data().map_err(unreadable)? {
            // As it lies in the log, by reference.
            Cow::Borrowed(_) => view.body_of(record),
            Cow::Owned(plain) => plain.into(),
        },
        Mode::Structured => encode::structured(&event).map_err(unreadable)?.into(),
    }));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = config.url.clone();
    let headers = request.headers_mut();
    headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    for (name, value) in &config.headers {
        headers.insert(name.clone(), value.clone());
    }
    match config.mode {
        Mode::Binary => {
            let binary = encode::binary(&event);
            if let Some(content_type) = binary.content_type {
                headers.insert(header::CONTENT_TYPE, value_of("datacontenttype", &content_type)?);
            }
            for (name, value) in binary.headers {
                let value = value_of(&name, &value)?;
                let name = HeaderName::try_from(&name).map_err(|_| format!("{name} cannot be a header"))?;
                headers.insert(name, value);
            }
        }
        Mode::Structured => {
            let content_type = HeaderValue::from_static(STRUCTURED);
            headers.insert(header::CONTENT_TYPE, content_type);
        }
    }
    Ok(request)
}

fn value_of(name: &str, value: &str) -> Result<HeaderValue, String> {
    HeaderValue::try_from(value).map_err(|_| format!("the value of {name} cannot be a header"))
}
