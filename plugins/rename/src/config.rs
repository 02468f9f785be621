//! The options, as pipelines write them.

use serde::Deserialize;

/// Which columns get another name.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The columns. Of two that mean the same column the first counts.
    pub columns: Vec<Rename>,
    /// What happens where a row has a column of the new name already.
    #[serde(default)]
    pub on_collision: Collision,
    /// Lets key columns be renamed too: messages then have no key of their own, so give the sink a `key`.
    #[serde(default)]
    pub allow_keys: bool,
}

/// One column.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Rename {
    /// `mail`, `customers.mail`, `shop.customers.mail`; the table may be a pattern. Case does not matter.
    pub from: String,
    /// The new name.
    pub to: String,
}

/// What happens where the new name is taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Collision {
    /// The event is rejected.
    #[default]
    Reject,
    /// The renamed column counts.
    Replace,
}
