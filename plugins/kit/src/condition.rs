//! Conditions over events, as pipelines write them.

use deltaforge_sdk::Op;
use serde::Deserialize;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// A row was inserted.
    Create,
    /// A row was changed.
    Update,
    /// A row was deleted.
    Delete,
    /// A row was read by a snapshot.
    Read,
    /// A table was emptied.
    Truncate,
}

impl Operation {
    /// The operation it is.
    pub fn op(self) -> Op {
        match self {
            Self::Create => Op::Create,
            Self::Update => Op::Update,
            Self::Delete => Op::Delete,
            Self::Read => Op::Read,
            Self::Truncate => Op::Truncate,
        }
    }
}

/// How several predicates combine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Match {
    /// Every one must pass.
    #[default]
    All,
    /// At least one must pass.
    Any,
}

/// One predicate.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Predicate {
    /// A column, or a JSON column and the way into it: `order.total`, `items.0.sku`.
    pub path: String,
    /// What is asked.
    pub op: Operator,
    /// What it is compared with.
    #[serde(default, deserialize_with = "given")]
    pub value: Option<serde_json::Value>,
}

/// `value: null` is a value.
fn given<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<serde_json::Value>, D::Error> {
    serde_json::Value::deserialize(from).map(Some)
}

/// What a predicate asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Operator {
    /// The field equals the value; numbers by value, so 42 equals 42.0.
    Eq,
    /// It does not.
    Ne,
    /// It is there and not NULL.
    Exists,
    /// It is missing or NULL.
    NotExists,
    /// It is greater.
    Gt,
    /// It is greater or equal.
    Gte,
    /// It is less.
    Lt,
    /// It is less or equal.
    Lte,
    /// It is one of the values.
    In,
    /// It is none of them.
    NotIn,
    /// A text has the value inside, an array or a SET has it as an element.
    Contains,
    /// It differs between before and after; events without such a pair pass.
    Changed,
    /// A text matches the regular expression.
    Regex,
}
