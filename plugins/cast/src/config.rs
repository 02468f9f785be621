//! The options, as pipelines write them.

use serde::Deserialize;

/// Which columns become what.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The columns. Of two that mean the same column the first counts.
    pub columns: Vec<Rule>,
    /// What becomes of a value that cannot be cast.
    #[serde(default)]
    pub on_failure: OnFailure,
}

/// One column.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// `total`, `orders.total`, `shop.orders.total`; the table may be a pattern. Case does not matter.
    pub name: String,
    /// What its values become.
    pub to: Target,
    /// Between integers and points in time: what the integer counts since 1970.
    #[serde(default)]
    pub unit: Option<Unit>,
}

/// What values become.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// `true` or `false`.
    Bool,
    /// A signed integer.
    Int,
    /// An unsigned integer.
    Uint,
    /// The nearest single-precision float.
    Float32,
    /// The nearest double-precision float.
    Float64,
    /// Exact decimal text.
    Decimal,
    /// Text, as messages show the value.
    Text,
    /// Bytes: a text's UTF-8, the 16 of a UUID.
    Bytes,
    /// A date; of a point in time, its day.
    Date,
    /// A time of day.
    Time,
    /// A date and time without a zone.
    Datetime,
    /// A point in time, UTC.
    Timestamp,
    /// JSON: a text is read as a document, anything else as messages show it.
    Json,
    /// A UUID.
    Uuid,
}

/// What an integer counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Millis,
    /// Microseconds.
    Micros,
}

/// What becomes of a value that cannot be cast.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// Its event is rejected.
    #[default]
    Reject,
    /// It stays as it is.
    Keep,
}
