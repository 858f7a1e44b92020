//! The verdict over an answer (Knative Eventing `docs/spec/data-plane.md`).

use crate::config::RetryOn;
use halley_connector_api::Verdict;
use http::{HeaderMap, StatusCode, header};
use std::time::{Duration, SystemTime};

/// 2xx is delivered; the statuses of `retry_on` may work later; everything else never will.
pub(crate) fn verdict(
    status: StatusCode,
    headers: &HeaderMap,
    retry_on: &RetryOn,
    now: SystemTime,
) -> Verdict {
    if status.is_success() {
        return Verdict::Delivered;
    }
    let reason = format!("answered {status}");
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
        verdict(StatusCode::from_u16(status).unwrap(), &headers, &RetryOn::default(), now)
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
}
