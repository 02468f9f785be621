//! The options, as pipelines write them.

use deltaforge_plugin_kit::{Match, Operation, Predicate, Tables};
use serde::Deserialize;

/// What a filter keeps. Everything may be left out.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Operations to keep; empty: all.
    pub ops: Vec<Operation>,
    /// Tables to keep.
    pub tables: Tables,
    /// Predicates over the row as it is.
    pub fields: Vec<Predicate>,
    /// How the predicates combine.
    pub r#match: Match,
}
