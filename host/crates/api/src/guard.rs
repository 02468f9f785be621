//! What every request passes: an id, who may ask, and a time limit.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::{Instrument, debug, info_span};
use uuid::Uuid;

use crate::access::Tokens;
use crate::error::ApiError;
use crate::is_loopback;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A request's id, for whoever handles it.
#[derive(Debug, Clone)]
pub(crate) struct RequestId(pub String);

/// What requests are held to.
#[derive(Clone)]
pub(crate) struct Guard {
    /// Whether the host may be called by any name, though it asks for no token.
    pub any_host: bool,
    /// The tokens: where one is asked for, a web page that reaches the host under another name has none to show.
    pub tokens: Tokens,
    /// Longest time for one request.
    pub timeout: Duration,
}

/// Gives the request an id, refuses what a web page sends through a visitor's browser, and ends what takes too
/// long. The id, the caller's own where it sent one, comes back in `x-request-id` and stands in the log.
pub(crate) async fn guard(State(guard): State<Guard>, mut request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    let shown = id.to_str().unwrap_or_default().to_owned();
    request.extensions_mut().insert(RequestId(shown.clone()));
    let span = info_span!("request", id = %shown,
        method = %request.method(), path = request.uri().path());
    let answer = async {
        let began = Instant::now();
        let response = match guard.admit(request.headers(), request.uri()) {
            Err(error) => error.into_response(),
            Ok(()) => match tokio::time::timeout(guard.timeout, next.run(request)).await {
                Ok(response) => response,
                Err(_) => {
                    let message = format!(
                        "no answer within {} s; what the request began may still take effect",
                        guard.timeout.as_secs_f64()
                    );
                    ApiError::new(StatusCode::GATEWAY_TIMEOUT, "TIMEOUT", message).into_response()
                }
            },
        };
        debug!(status = response.status().as_u16(), ms = began.elapsed().as_millis() as u64, "answered");
        response
    };
    let mut response = answer.instrument(span).await;
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

impl Guard {
    fn admit(&self, headers: &HeaderMap, uri: &Uri) -> Result<(), ApiError> {
        let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let host = text(HOST).or_else(|| uri.authority().map(|authority| authority.as_str()));
        let host = host.ok_or_else(|| ApiError::bad_request("the request names no host"))?;
        if !self.any_host && !self.tokens.are_required() && !is_local(host) {
            let message = format!("this API is called as localhost or 127.0.0.1, not as {host:?}");
            return Err(ApiError::new(StatusCode::FORBIDDEN, "HOST_NOT_ALLOWED", message));
        }
        let same =
            |origin: &str| origin.split_once("://").is_some_and(|(_, from)| from.eq_ignore_ascii_case(host));
        if headers.contains_key(ORIGIN) && !text(ORIGIN).is_some_and(same) {
            let message = "requests from web pages of other origins are not served";
            return Err(ApiError::new(StatusCode::FORBIDDEN, "ORIGIN_NOT_ALLOWED", message));
        }
        Ok(())
    }
}

/// Whether a `Host` header names this machine: another name may be one that an attacker's server resolves to
/// a loopback address.
fn is_local(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') && port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    match address.parse::<IpAddr>() {
        Ok(address) => is_loopback(address),
        Err(_) => {
            let name = name.trim_end_matches('.').to_ascii_lowercase();
            name == "localhost" || name.ends_with(".localhost")
        }
    }
}

/// The caller's id for the request, if it is one, else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let fit = |value: &&HeaderValue| {
        let text = value.as_bytes();
        let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        !text.is_empty() && text.len() <= 128 && text.iter().all(plain)
    };
    headers
        .get(REQUEST_ID)
        .filter(fit)
        .cloned()
        .unwrap_or_else(|| HeaderValue::try_from(Uuid::now_v7().to_string()).expect("a UUID is plain text"))
}

#[cfg(test)]
mod tests {
    use super::is_local;

    #[test]
    fn only_names_of_this_machine_are_local() {
        for host in
            ["localhost", "LOCALHOST:8080", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:8080", "a.localhost"]
        {
            assert!(is_local(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "127.0.0.1.evil.example:80",
            "localhost.evil.example",
            "10.0.0.1:8080",
            "[::2]",
            "0.0.0.0",
            "localhost:x",
        ] {
            assert!(!is_local(host), "{host}");
        }
    }
}
