//! The options, as pipelines write them.

use std::collections::BTreeMap;

use deltaforge_plugin_kit::{Match, Operation, Predicate};
use serde::Deserialize;

/// Where events go. The first rule that an event fits counts; one that fits none stays as it is.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The rules, in order.
    pub rules: Vec<Rule>,
    /// What becomes of an event that lacks a value which its rule's texts name.
    #[serde(default)]
    pub on_missing: Missing,
}

/// One rule: which events it is about, and where they go.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Rule {
    /// Table patterns; empty: all.
    pub tables: Vec<String>,
    /// Operations; empty: all.
    pub ops: Vec<Operation>,
    /// Predicates over the row as it is.
    pub when: Vec<Predicate>,
    /// How the predicates combine.
    pub r#match: Match,
    /// Topic, stream, subject: `orders.${row.region}`. Left out: where the sink says.
    pub topic: Option<String>,
    /// The message key: `${row.customer_id}`. Left out: the sink's own.
    pub key: Option<String>,
    /// Headers to set, by name.
    pub headers: BTreeMap<String, String>,
}

/// What becomes of an event that lacks a value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Missing {
    /// It is rejected.
    #[default]
    Reject,
    /// What needs the value is left to the sink; the rest is set.
    Skip,
}
