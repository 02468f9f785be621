//! The options, as pipelines write them.

use serde::Deserialize;

/// Which columns go: either those named, or all but those named.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Columns to drop: `email`, `customers.email`, `shop.customers.email`; the table may be a pattern. Case does
    /// not matter.
    pub columns: Vec<String>,
    /// Columns to keep, likewise; key columns are kept anyway. Tables of which none is named stay whole.
    pub keep: Vec<String>,
    /// Lets key columns be dropped too: messages then have no key of their own, so give the sink a `key`.
    pub allow_keys: bool,
}
