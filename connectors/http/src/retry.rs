//! The verdict over an answer (Knative Eventing `docs/spec/data-plane.md`).

use crate::config::RetryOn;
use halley_connector_api::Verdict;
use http::{HeaderMap, StatusCode, header};
use std::time::{Duration, SystemTime};

/// Most bytes of an answer's body that become part of a reason.
pub(crate) const EXCERPT_BYTES_MAX: usize = 160;

/// 2xx is delivered; the statuses of `retry_on` may work later; everything else never will. `said` is the beginning of
/// the answer's body, which often tells why.
pub(crate) fn verdict(
    status: StatusCode,
    headers: &HeaderMap,
    said: &[u8],
    retry_on: &RetryOn,
    now: SystemTime,
) -> Verdict {
    if status.is_success() {
        return Verdict::Delivered;
    }
    let mut reason = format!("answered {status}");
    let excerpt = excerpt(said);
    if !excerpt.is_empty() {
        reason = format!("{reason}: {excerpt}");
    }
    if retry_on.contains(status.as_u16()) {
        return Verdict::Retry { reason, retry_after: retry_after(headers, now) };
    }
    Verdict::Reject { reason }
}

/// `Retry-After` as seconds or as a date (RFC 9110 §10.2.3).
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    match value.parse::<u64>() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => httpdate::parse_http_date(value).ok()?.duration_since(now).ok(),
    }
}

/// The text without control characters; what is not UTF-8 shows as such.
fn excerpt(said: &[u8]) -> String {
    let said = &said[..said.len().min(EXCERPT_BYTES_MAX)];
    let text = String::from_utf8_lossy(said);
    let printable: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    printable.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn check(status: u16, header: Option<&str>) -> Verdict {
        let mut headers = HeaderMap::new();
        if let Some(value) = header {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_str(value).unwrap());
        }
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        verdict(StatusCode::from_u16(status).unwrap(), &headers, b"", &RetryOn::default(), now)
    }

    #[test]
    fn statuses_as_in_knative() {
        for status in [200, 202, 204] {
            assert_eq!(check(status, None), Verdict::Delivered);
        }
        for status in [404, 408, 409, 429, 500, 503, 599] {
            assert!(matches!(check(status, None), Verdict::Retry { retry_after: None, .. }), "{status}");
        }
        for status in [300, 301, 307, 400, 401, 403, 405, 410, 413, 422] {
            assert!(matches!(check(status, None), Verdict::Reject { .. }), "{status}");
        }
    }

    #[test]
    fn retry_after_in_both_forms() {
        let after = |header| match check(503, Some(header)) {
            Verdict::Retry { retry_after, .. } => retry_after,
            other => panic!("{other:?}"),
        };
        assert_eq!(after("120"), Some(Duration::from_secs(120)));
        assert_eq!(after("Sun, 06 Nov 1994 08:50:37 GMT"), Some(Duration::from_secs(60)));
        assert_eq!(after("Sun, 06 Nov 1994 08:40:37 GMT"), None);
        assert_eq!(after("soon"), None);
    }

    #[test]
    fn reasons_quote_the_answer() {
        let reason = |said: &[u8]| {
            let (status, headers) = (StatusCode::BAD_REQUEST, HeaderMap::new());
            match verdict(status, &headers, said, &RetryOn::default(), SystemTime::UNIX_EPOCH) {
                Verdict::Reject { reason } => reason,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(reason(b" \r\n"), "answered 400 Bad Request");
        assert_eq!(reason(b"no\r\namount\x01"), "answered 400 Bad Request: no  amount");
        assert!(reason(&[0xFF; 100_000]).len() < 1000);
    }
}
