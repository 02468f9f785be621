//! What the YAML of these sinks may say.

use std::path::PathBuf;

use deltaforge_engine::error::{ConfigError, parse};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

/// A file of JSON Lines: one message body and a line feed for each event that has a body.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileConfig {
    /// The file. Relative to the folder that the host was started in. Missing directories are made. Beside it stands
    /// `.<name>.lock`, which keeps two sinks from writing the same file, and tells the sink's own lines from those that
    /// others append to it: these are moved to `<path>.<UTC time>-<number>.cut`.
    pub path: PathBuf,
    /// When the file gets another name, `<path>.<UTC time>-<number>`, and a new one is begun. A rotated file is
    /// never written again. Without it the file grows without a bound.
    #[serde(default)]
    pub rotate: RotateConfig,
}

/// When a file is rotated; the first bound reached does it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RotateConfig {
    /// Most bytes in one file. Only a single line that is longer passes it.
    #[schemars(range(min = 1))]
    pub max_bytes: Option<u64>,
    /// Longest time from a file's beginning to its rotation, in seconds. An empty file is not rotated.
    #[schemars(range(min = 1))]
    pub max_age_secs: Option<u64>,
}

impl FileConfig {
    /// Reads and checks a block.
    pub(crate) fn read(config: &Value) -> Result<Self, Vec<ConfigError>> {
        let config: Self = parse(config)?;
        let mut problems = Vec::new();
        if config.path.file_name().is_none() || config.path.as_os_str().as_encoded_bytes().ends_with(b"/") {
            problems.push(ConfigError::new("path", "must name a file, such as out/events.jsonl"));
        }
        for (key, value) in
            [("max_bytes", config.rotate.max_bytes), ("max_age_secs", config.rotate.max_age_secs)]
        {
            if value == Some(0) {
                problems.push(ConfigError::new(
                    format!("rotate.{key}"),
                    "must be at least 1; leave it out for no bound",
                ));
            }
        }
        if problems.is_empty() { Ok(config) } else { Err(problems) }
    }
}

/// These sinks have nothing to configure.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoConfig {}

impl NoConfig {
    /// Reads a block, which may be absent.
    pub(crate) fn read(config: &Value) -> Result<Self, Vec<ConfigError>> {
        if config.is_null() { Ok(Self {}) } else { parse(config) }
    }
}
