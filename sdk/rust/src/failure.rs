//! How a call fails.

use std::fmt;

/// What the host does about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// Something is not available: the same events come again later.
    Retry,
    /// The pipeline stops and shows the message.
    Fatal,
}

/// A call could not do its work; nothing of it is applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What the host does about it.
    pub kind: FailureKind,
    /// What went wrong, for the operator.
    pub message: String,
}

impl Failure {
    /// Something is not available: the same events come again later.
    pub fn retry(message: impl Into<String>) -> Self {
        Self { kind: FailureKind::Retry, message: message.into() }
    }

    /// The pipeline stops and shows the message.
    pub fn fatal(message: impl Into<String>) -> Self {
        Self { kind: FailureKind::Fatal, message: message.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}
