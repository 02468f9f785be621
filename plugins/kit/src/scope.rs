//! Which tables a processor is about.

use deltaforge_sdk::{Failure, Patterns, Table};
use serde::Deserialize;

/// Table patterns: `shop.orders`, `shop.*`, `*.orders`, `orders`.
#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Tables {
    /// Tables that are meant; empty: all.
    pub include: Vec<String>,
    /// Tables that are not, included or not.
    pub exclude: Vec<String>,
}

/// Tables by pattern.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    include: Patterns,
    exclude: Patterns,
}

impl Scope {
    /// Reads the patterns.
    ///
    /// # Errors
    ///
    /// Names the pattern that is none.
    pub fn new(tables: &Tables) -> Result<Self, Failure> {
        Ok(Self {
            include: patterns(&tables.include, "tables.include")?,
            exclude: patterns(&tables.exclude, "tables.exclude")?,
        })
    }

    /// Reads patterns of tables that are meant; none: all. `option` is where they stand.
    ///
    /// # Errors
    ///
    /// Names the pattern that is none.
    pub fn including(tables: &[String], option: &str) -> Result<Self, Failure> {
        Ok(Self { include: patterns(tables, option)?, exclude: Patterns::default() })
    }

    /// Whether every table is meant.
    pub fn is_all(&self) -> bool {
        self.include.is_empty() && self.exclude.is_empty()
    }

    /// Whether the table is meant.
    pub fn covers(&self, table: &Table) -> bool {
        let (qualifier, name) = (table.qualifier(), table.name());
        (self.include.is_empty() || self.include.matches(qualifier, name))
            && !self.exclude.matches(qualifier, name)
    }

    /// Per table, whether it is meant.
    pub fn of(&self, tables: &[Table]) -> Vec<bool> {
        tables.iter().map(|table| self.covers(table)).collect()
    }
}

fn patterns(patterns: &[String], option: &str) -> Result<Patterns, Failure> {
    Patterns::parse(patterns).map_err(|bad| Failure::fatal(format!("{option}: {bad:?} is no table pattern")))
}
