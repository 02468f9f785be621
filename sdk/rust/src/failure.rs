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

/// Reads a configuration block. The host says beside the message that it is about the configuration.
pub(crate) fn config<T: serde::de::DeserializeOwned>(json: &str) -> Result<T, Failure> {
    // A plugin without options may be given no block at all.
    let json = if json.trim().is_empty() || json.trim() == "null" { "{}" } else { json };
    serde_json::from_str(json).map_err(|error| {
        let text = error.to_string();
        // A place in JSON that the host wrote, not the author of the configuration.
        let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
        Failure::fatal(text)
    })
}

#[cfg(test)]
mod tests {
    use super::config;

    #[test]
    fn a_configuration_that_does_not_fit_is_said_without_a_prefix() {
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Empty {}
        for nothing in ["", " null", "{}"] {
            assert!(config::<Empty>(nothing).is_ok(), "{nothing:?}");
        }
        let error = config::<Empty>("{\"colour\": 1}").expect_err("an unknown key");
        assert_eq!(error.message, "unknown field `colour`, there are no fields");
    }
}
