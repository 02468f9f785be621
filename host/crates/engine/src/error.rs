//! What every failure says about what to do next.

/// What the pipeline does after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Try again, with growing pauses.
    Retry,
    /// Stop and show the error; retried all the same, slowly, in case somebody mends it outside.
    Operator,
}

/// A problem in a block of configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// Where, relative to the block: `rotate.max_bytes`; empty: the block itself.
    pub path: String,
    /// What is wrong and what would be right.
    pub message: String,
    /// Line and column, from 1, inside the text at the path: a script's.
    pub place: Option<(u32, u32)>,
}

impl ConfigError {
    /// A problem at a path.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into(), place: None }
    }

    /// Points into the text at the path, by line and column from 1.
    #[must_use]
    pub fn at_line(mut self, line: u32, column: u32) -> Self {
        self.place = Some((line.max(1), column.max(1)));
        self
    }
}

/// Reads a typed configuration block.
///
/// # Errors
///
/// The first thing that does not fit the type.
pub fn parse<T: serde::de::DeserializeOwned>(config: &serde_json::Value) -> Result<T, Vec<ConfigError>> {
    T::deserialize(config).map_err(|error| vec![ConfigError::new("", error.to_string())])
}
