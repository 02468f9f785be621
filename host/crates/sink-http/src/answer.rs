//! What a server's answer means.

use std::time::{Duration, SystemTime};

use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Response, StatusCode};

/// Longest `Retry-After` that is waited for; a server that asks for more is asked again sooner.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Most bytes of an answer that are read, so that the connection can be used again.
const MOST_READ: usize = 64 << 10;
/// Most characters of an answer that a message quotes.
const MOST_QUOTED: usize = 200;

/// What to do after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Delivered.
    Delivered,
    /// Try again.
    Retry,
    /// The server refuses what was sent.
    Refused,
    /// No event can be blamed; an operator must help.
    Stop,
}

/// What a status means. `fixed`: the URL is the same for every event, so a server that does not know it does
/// not know any of them.
pub(crate) fn verdict(status: StatusCode, fixed: bool) -> Verdict {
    match status.as_u16() {
        200..=299 => Verdict::Delivered,
        408 | 429 | 500..=599 => Verdict::Retry,
        401 | 403 | 407 => Verdict::Stop,
        404 | 405 | 410 if fixed => Verdict::Stop,
        400..=499 => Verdict::Refused,
        // Redirects that are not followed, and answers that are none.
        _ => Verdict::Stop,
    }
}

/// How long the server asks to wait: seconds, or a date.
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(text).ok()?.duration_since(now).unwrap_or_default(),
    };
    Some(wait.min(LONGEST_WAIT))
}

/// Reads an answer to its end, within bounds, and gives the beginning of its text: one line, without what
/// `secrets` holds.
pub(crate) async fn text_of(mut response: Response, secrets: &[String]) -> String {
    let mut read = Vec::new();
    // The status counts, whatever becomes of the text.
    while let Ok(Some(chunk)) = response.chunk().await {
        read.extend_from_slice(&chunk);
        if read.len() > MOST_READ {
            break;
        }
    }
    let mut text = String::from_utf8_lossy(&read).into_owned();
    for secret in secrets.iter().filter(|secret| secret.len() >= 4) {
        text = text.replace(secret.as_str(), "***");
    }
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MOST_QUOTED).collect();
    line.trim().to_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn statuses_mean_what_the_retry_table_says() {
        let of = |code: u16, fixed| verdict(StatusCode::from_u16(code).unwrap(), fixed);
        for code in [200, 201, 202, 204] {
            assert_eq!(of(code, true), Verdict::Delivered, "{code}");
        }
        for code in [408, 429, 500, 502, 503, 504] {
            assert_eq!(of(code, true), Verdict::Retry, "{code}");
        }
        for code in [401, 403, 407, 301, 302, 307, 304] {
            assert_eq!(of(code, false), Verdict::Stop, "{code}");
        }
        for code in [400, 409, 413, 415, 422] {
            assert_eq!(of(code, true), Verdict::Refused, "{code}");
        }
        assert_eq!((of(404, true), of(404, false)), (Verdict::Stop, Verdict::Refused));
    }

    #[test]
    fn a_server_may_ask_for_a_pause_in_seconds_or_by_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            retry_after(&headers, now)
        };
        assert_eq!(of("7"), Some(Duration::from_secs(7)));
        assert_eq!(of("99999999"), Some(LONGEST_WAIT));
        assert_eq!(of(&httpdate::fmt_http_date(now + Duration::from_secs(3))), Some(Duration::from_secs(3)));
        assert_eq!(of(&httpdate::fmt_http_date(now - Duration::from_secs(3))), Some(Duration::ZERO));
        assert_eq!((of("soon"), retry_after(&HeaderMap::new(), now)), (None, None));
    }
}
