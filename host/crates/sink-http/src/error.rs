//! Every way a request can fail, and what to do about each.

use std::time::Duration;

use deltaforge_engine::sink::SinkError;
use reqwest::StatusCode;

/// The sink as a whole does not work. `at` is method and URL, without anything secret.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    /// No connection came about.
    #[error("{at}: connect")]
    Connect {
        at: String,
        #[source]
        cause: reqwest::Error,
    },
    /// No answer in time.
    #[error("{at}: no answer within {} s", after.as_secs_f64())]
    Timeout { at: String, after: Duration },
    /// The connection broke, or what came is no HTTP.
    #[error("{at}: send and read the answer")]
    Io {
        at: String,
        #[source]
        cause: reqwest::Error,
    },
    /// The server is busy or has a fault.
    #[error("{at} answered {status}{}", quoted(text))]
    Busy {
        at: String,
        status: StatusCode,
        text: String,
        /// The pause that it asks for.
        wait: Option<Duration>,
    },
    /// The server does not know us.
    #[error("{at} answered {status}: mend the credentials in `headers`{}", quoted(text))]
    Unauthorized { at: String, status: StatusCode, text: String },
    /// The server does not know the URL.
    #[error("{at} answered {status}: mend `url` or `method`{}", quoted(text))]
    WrongUrl { at: String, status: StatusCode, text: String },
    /// The server sends us elsewhere, where events must not go unasked.
    #[error("{at} answered {status}, which leads to {to}; if events belong there, write it in `url`")]
    Redirect { at: String, status: StatusCode, to: String },
    /// An answer that means nothing for a request with an event.
    #[error("{at} answered {status}{}", quoted(text))]
    Strange { at: String, status: StatusCode, text: String },
    /// Bodies that do not go into a JSON array.
    #[error("`batch_mode` sends JSON arrays, and the envelope makes {content_type}")]
    NotJson { content_type: String },
    /// A setting that checking the document did not find.
    #[error("{0}")]
    Config(String),
}

fn quoted(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(" ({text:?})") }
}

impl HttpError {
    /// A request without an answer.
    pub fn no_answer(at: String, cause: reqwest::Error, after: Duration) -> Self {
        // The URL may hold credentials.
        let cause = cause.without_url();
        if cause.is_timeout() {
            Self::Timeout { at, after }
        } else if cause.is_connect() {
            Self::Connect { at, cause }
        } else if cause.is_builder() {
            Self::Config(format!("{at}: {cause}"))
        } else {
            Self::Io { at, cause }
        }
    }

    /// Whether another try may help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Timeout { .. } | Self::Io { .. } | Self::Busy { .. } => true,
            Self::Unauthorized { .. }
            | Self::WrongUrl { .. }
            | Self::Redirect { .. }
            | Self::Strange { .. }
            | Self::NotJson { .. }
            | Self::Config(_) => false,
        }
    }

    /// The pause that the server asks for.
    pub fn wait(&self) -> Option<Duration> {
        match self {
            Self::Busy { wait, .. } => *wait,
            _ => None,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Connect { .. } => "http_connect",
            Self::Timeout { .. } => "http_timeout",
            Self::Io { .. } => "http_io",
            Self::Busy { .. } => "http_busy",
            Self::Unauthorized { .. } => "http_unauthorized",
            Self::WrongUrl { .. } => "http_wrong_url",
            Self::Redirect { .. } => "http_redirect",
            Self::Strange { .. } => "http_strange_answer",
            Self::NotJson { .. } => "http_batch_not_json",
            Self::Config(_) => "invalid_config",
        }
    }
}

impl From<HttpError> for SinkError {
    fn from(error: HttpError) -> Self {
        let (code, message, wait) = (error.code(), error.to_string(), error.wait());
        if !error.is_transient() {
            return Self::operator(code, message);
        }
        match error {
            HttpError::Connect { cause, .. } | HttpError::Io { cause, .. } => {
                Self::retry(code, message, cause)
            }
            _ => Self::retry(code, message.clone(), message).waiting(wait),
        }
    }
}
