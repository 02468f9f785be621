//! The options, as pipelines write them.

use serde::Deserialize;

/// Which columns rows get.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The columns.
    pub fields: Vec<Field>,
    /// Which images get them.
    #[serde(default)]
    pub images: Images,
    /// What happens where a row has such a column already.
    #[serde(default)]
    pub on_collision: Collision,
}

/// One column, with one of `value`, `from`, `copy` and `template`.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// The same value in every row: a text, a number, a boolean, or a list or an object as JSON.
    #[serde(default)]
    pub value: Option<serde_json::Value>,
    /// What the event says: `op`, `ts`, `ts_ms`, `source.table`, `event_id`, `after.COLUMN`, …
    #[serde(default)]
    pub from: Option<String>,
    /// Another column of the same image.
    #[serde(default)]
    pub copy: Option<String>,
    /// A text with `${…}` in it: `${source.db}.${source.table}`.
    #[serde(default)]
    pub template: Option<String>,
}

/// Which images of a row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Images {
    /// The row as it is.
    #[default]
    After,
    /// The row as it was.
    Before,
    /// Both.
    Both,
}

/// What happens where the name is taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Collision {
    /// The event is rejected.
    #[default]
    Reject,
    /// The new value counts.
    Replace,
    /// The value that is there stays.
    Keep,
}
