//! What a refused or failed request answers.

use std::borrow::Cow;
use std::time::Duration;

use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use deltaforge_config::hide_passwords;
use deltaforge_engine::control::ControlError;
use deltaforge_engine::error::ConfigError;
use deltaforge_engine::snapshots::SnapshotError;
use deltaforge_engine::state::StateError;
use deltaforge_engine::status::{Failure, with_causes};
use deltaforge_engine::swap::Part;
use serde::Serialize;
use tracing::error;
use utoipa::ToSchema;

use crate::access::TokenError;

/// The body of every error.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ErrorBody {
    /// A stable word for programs.
    #[schema(example = "PIPELINE_NOT_FOUND")]
    pub code: Cow<'static, str>,
    /// What went wrong and what would help, for people.
    pub message: String,
    /// Each thing that is wrong with what was sent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<FieldProblem>,
}

/// One thing that is wrong with what was sent.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct FieldProblem {
    /// Where in it; empty: the whole.
    pub path: String,
    /// What is wrong.
    pub message: String,
}

/// An error's code, beside the answer that tells it.
#[derive(Debug, Clone)]
pub(crate) struct ErrorCode(pub Cow<'static, str>);

/// An answer that is an error.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    body: ErrorBody,
    /// When it is worth another try.
    retry_after: Option<Duration>,
}

impl ApiError {
    pub fn new(status: StatusCode, code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        let message = hide_passwords(&message.into());
        Self {
            status,
            body: ErrorBody { code: code.into(), message, problems: Vec::new() },
            retry_after: None,
        }
    }

    /// So many are at it that there is no room for this one now.
    pub fn busy(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message).after(Duration::from_secs(1))
    }

    /// More failures than anybody needs to make.
    pub fn too_many_failures(message: impl Into<String>, after: Duration) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "TOO_MANY_FAILURES", message).after(after)
    }

    /// Says when it is worth another try.
    pub fn after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BAD_REQUEST", message)
    }

    pub fn with(mut self, problems: Vec<ConfigError>) -> Self {
        let field = |problem: ConfigError| FieldProblem {
            path: problem.path,
            message: hide_passwords(&problem.message),
        };
        self.body.problems = problems.into_iter().map(field).collect();
        self
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        if self.status == StatusCode::INTERNAL_SERVER_ERROR {
            error!(code = %self.body.code, error = self.body.message, "request failed");
        }
        let code = ErrorCode(self.body.code.clone());
        let mut response = (self.status, Extension(code), Json(self.body)).into_response();
        if let Some(after) = self.retry_after {
            let seconds = after.as_millis().div_ceil(1_000).max(1) as u64;
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<ControlError> for ApiError {
    fn from(error: ControlError) -> Self {
        let message = error.to_string();
        let (status, code) = match error {
            ControlError::NoPipeline(_) => (StatusCode::NOT_FOUND, "PIPELINE_NOT_FOUND"),
            ControlError::Exists(_) => (StatusCode::CONFLICT, "PIPELINE_ALREADY_EXISTS"),
            ControlError::ShuttingDown => (StatusCode::SERVICE_UNAVAILABLE, "SHUTTING_DOWN"),
            ControlError::NoStage { .. } => (StatusCode::NOT_FOUND, "PROCESSOR_NOT_FOUND"),
            ControlError::NoSink { .. } => (StatusCode::NOT_FOUND, "SINK_NOT_FOUND"),
            ControlError::WrongKind { part: Part::Stage, .. } => (StatusCode::BAD_REQUEST, "PROCESSOR_KIND"),
            ControlError::WrongKind { part: Part::Envelope, .. } => {
                (StatusCode::BAD_REQUEST, "ENVELOPE_KIND")
            }
            ControlError::Invalid { part: Part::Stage, problems, .. } => {
                return Self::new(StatusCode::BAD_REQUEST, "PROCESSOR_INVALID", message).with(problems);
            }
            ControlError::Invalid { part: Part::Envelope, problems, .. } => {
                return Self::new(StatusCode::BAD_REQUEST, "ENVELOPE_INVALID", message).with(problems);
            }
            ControlError::NothingBefore(_) => (StatusCode::CONFLICT, "NOTHING_TO_ROLL_BACK"),
            ControlError::NoDlq(_) => (StatusCode::NOT_FOUND, "DLQ_DISABLED"),
            ControlError::Snapshot(error) => return error.into(),
            ControlError::Failed(failure) => return failure.into(),
            ControlError::State(error) => return error.into(),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR"),
        };
        Self::new(status, code, message)
    }
}

impl From<SnapshotError> for ApiError {
    fn from(error: SnapshotError) -> Self {
        let message = error.to_string();
        let (status, code) = match error {
            SnapshotError::NotSupported(_) => (StatusCode::CONFLICT, "SNAPSHOT_NOT_SUPPORTED"),
            SnapshotError::Invalid(problems) => {
                return Self::new(StatusCode::BAD_REQUEST, "SNAPSHOT_INVALID", message).with(problems);
            }
            SnapshotError::OutlastsLog(_) => (StatusCode::CONFLICT, "SNAPSHOT_OUTLASTS_LOG"),
            SnapshotError::TooMany => (StatusCode::CONFLICT, "SNAPSHOT_LIMIT"),
            SnapshotError::NotFound(_) => (StatusCode::NOT_FOUND, "SNAPSHOT_NOT_FOUND"),
            SnapshotError::Ended { .. } => (StatusCode::CONFLICT, "SNAPSHOT_ENDED"),
            SnapshotError::Source(failure) => return failure.into(),
            SnapshotError::State(error) => return error.into(),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR"),
        };
        Self::new(status, code, message)
    }
}

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        let status = match failure.code.as_str() {
            "internal" => StatusCode::INTERNAL_SERVER_ERROR,
            "pipeline_not_running" | "pipeline_not_stopped" => StatusCode::CONFLICT,
            _ if failure.retriable => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_REQUEST,
        };
        let code = match failure.code.as_str() {
            "internal" => "INTERNAL_ERROR".to_owned(),
            code => code.to_ascii_uppercase(),
        };
        Self::new(status, code, failure.message)
    }
}

impl From<StateError> for ApiError {
    fn from(error: StateError) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "STATE_STORE", with_causes(&error))
    }
}

impl From<TokenError> for ApiError {
    fn from(error: TokenError) -> Self {
        let message = error.to_string();
        let (status, code) = match error {
            TokenError::BadName(_) => (StatusCode::BAD_REQUEST, "TOKEN_NAME"),
            TokenError::BadEnd => (StatusCode::BAD_REQUEST, "TOKEN_END"),
            TokenError::Exists(_) => (StatusCode::CONFLICT, "TOKEN_EXISTS"),
            TokenError::TooMany { .. } => (StatusCode::CONFLICT, "TOKEN_LIMIT"),
            TokenError::NotFound(_) => (StatusCode::NOT_FOUND, "TOKEN_NOT_FOUND"),
            TokenError::InFile(_) => (StatusCode::CONFLICT, "TOKEN_IN_FILE"),
            TokenError::FirstIsAdmin => (StatusCode::CONFLICT, "FIRST_TOKEN"),
            TokenError::LastAdmin(_) => (StatusCode::CONFLICT, "LAST_ADMIN"),
            TokenError::State(error) => return error.into(),
            TokenError::Random(_) => (StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR"),
        };
        Self::new(status, code, message)
    }
}

/// A path that does not exist.
pub(crate) async fn no_such_path(uri: Uri) -> ApiError {
    let message = format!("there is nothing at {}; GET /openapi.json lists what there is", uri.path());
    ApiError::new(StatusCode::NOT_FOUND, "NOT_FOUND", message)
}

/// A path that exists, with another method.
pub(crate) async fn no_such_method(method: Method, uri: Uri) -> ApiError {
    let message = format!("{} does not take {method}; GET /openapi.json lists what it takes", uri.path());
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", message)
}
