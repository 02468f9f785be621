//! The options, as pipelines write them.

use serde::{Deserialize, Deserializer};

/// How rows become flat. Everything may be left out.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What stands between the parts of a path.
    pub separator: String,
    /// Levels to take apart; what lies deeper is kept as it is. Left out: all, up to 128.
    pub max_depth: Option<u32>,
    /// What happens when two paths come to the same name.
    pub on_collision: Collision,
    /// What becomes of `{}`: `preserve`, `drop` or `null`.
    #[cfg_attr(feature = "schema", schemars(with = "Option<Name>"))]
    pub empty_object: Empty,
    /// What becomes of arrays.
    pub lists: Lists,
    /// What becomes of `[]`: `preserve`, `drop` or `null`.
    #[cfg_attr(feature = "schema", schemars(with = "Option<Name>"))]
    pub empty_list: Empty,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            separator: "__".to_owned(),
            max_depth: None,
            on_collision: Collision::Last,
            empty_object: Empty::Preserve,
            lists: Lists::Preserve,
            empty_list: Empty::Preserve,
        }
    }
}

/// What happens when two paths come to the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Collision {
    /// The later one counts.
    Last,
    /// The earlier one counts.
    First,
    /// The event is rejected.
    Error,
}

/// What becomes of an empty object or array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Empty {
    /// It stays.
    Preserve,
    /// It is left out.
    Drop,
    /// NULL stands in its place.
    Null,
}

/// [`Empty`] by name. In a file a bare `null` is no text, but no value: that means the same.
#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
enum Name {
    Preserve,
    Drop,
    Null,
}

impl<'de> Deserialize<'de> for Empty {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let written: Option<Name> = Option::deserialize(from)?;
        Ok(match written {
            Some(Name::Preserve) => Self::Preserve,
            Some(Name::Drop) => Self::Drop,
            Some(Name::Null) | None => Self::Null,
        })
    }
}

/// What becomes of arrays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Lists {
    /// They stay.
    Preserve,
    /// Each element gets a column of its own: `tags__0`, `tags__1`.
    Index,
}
