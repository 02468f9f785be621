//! Why something stopped, for people and for what decides whether to try again.

use serde::Serialize;

use crate::error::Next;
use crate::sink::SinkError;
use crate::source::SourceError;
use crate::stage::{StageAction, StageError};
use crate::state::StateError;

/// Why a pipeline stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// A stable code with a page in docs/errors.
    pub code: String,
    /// What was being done and what went wrong, causes included.
    pub message: String,
    /// Whether trying again may help without anybody doing anything.
    pub retriable: bool,
}

impl Failure {
    /// Only a person can help.
    pub fn operator(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), retriable: false }
    }

    /// A fault of ours.
    pub fn internal(message: impl Into<String>) -> Self {
        Self { code: "internal".into(), message: message.into(), retriable: true }
    }

    /// A sink failed for good.
    pub fn of_sink(id: &str, error: SinkError) -> Self {
        let (code, retriable) = match &error {
            SinkError::Failed { code, next, .. } => (*code, *next == Next::Retry),
            SinkError::Rejected { code, .. } => (*code, false),
        };
        Self { code: code.into(), message: format!("sink {id}: {}", with_causes(&error)), retriable }
    }
}

/// An error's text with those of its causes.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

impl From<SourceError> for Failure {
    fn from(error: SourceError) -> Self {
        Self { code: error.code.into(), message: with_causes(&error), retriable: error.next == Next::Retry }
    }
}

impl From<StageError> for Failure {
    fn from(error: StageError) -> Self {
        Self {
            code: error.code.into(),
            message: error.message,
            retriable: error.action == StageAction::Retry,
        }
    }
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        Self { code: "state_store".into(), message: with_causes(&error), retriable: true }
    }
}
