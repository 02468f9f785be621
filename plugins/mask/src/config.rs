//! The options, as pipelines write them.

use deltaforge_sdk::{Patterns, Table};
use serde::Deserialize;

/// What to hide.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The columns, and what becomes of each.
    pub columns: Vec<Rule>,
}

/// One column.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// `email`, `customers.email`, `shop.customers.email`; the table may be a pattern. Case does not matter.
    pub name: String,
    /// What becomes of it.
    pub action: Action,
    /// For `redact`: the text in its place; `***` unless said.
    #[serde(default)]
    pub with: Option<String>,
    /// For `hash`: the secret of a keyed hash (HMAC-SHA-256).
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(extend("format" = "password", "writeOnly" = true)))]
    pub key: Option<String>,
    /// For `truncate`: how many characters stay.
    #[serde(default)]
    pub length: Option<usize>,
}

/// What becomes of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// A fixed text stands in its place.
    Redact,
    /// Its SHA-256 in hexadecimal, or with `key` its HMAC-SHA-256: equal values stay equal.
    Hash,
    /// Its first characters stay.
    Truncate,
}

/// The columns that a rule's name covers.
#[derive(Debug)]
pub(crate) struct Target {
    tables: Patterns,
    column: String,
}

impl Target {
    pub(crate) fn parse(name: &str) -> Result<Self, String> {
        let name = name.to_lowercase();
        let (tables, column) = match name.rsplit_once('.') {
            Some((table, column)) => (vec![table], column),
            None => (Vec::new(), name.as_str()),
        };
        let bad = || format!("name: {name:?} is neither `column` nor `table.column`");
        if column.is_empty() {
            return Err(bad());
        }
        Ok(Self { tables: Patterns::parse(&tables).map_err(|_| bad())?, column: column.to_owned() })
    }

    /// The names that the column goes by in these tables, and for each name the tables it stands for.
    pub(crate) fn columns<'t>(&self, tables: &'t [Table]) -> Vec<(&'t str, Vec<bool>)> {
        let mut found: Vec<(&str, Vec<bool>)> = Vec::new();
        for (at, table) in tables.iter().enumerate() {
            let covered = self.tables.is_empty()
                || self.tables.matches(&table.qualifier().to_lowercase(), &table.name().to_lowercase());
            let names = table.columns().iter().map(|column| column.name.as_str());
            for name in names.filter(|name| covered && name.to_lowercase() == self.column) {
                let known = found.iter().position(|(known, _)| *known == name).unwrap_or_else(|| {
                    found.push((name, vec![false; tables.len()]));
                    found.len() - 1
                });
                found[known].1[at] = true;
            }
        }
        found
    }
}
