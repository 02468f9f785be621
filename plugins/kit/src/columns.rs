//! Columns by name.

use deltaforge_sdk::{Patterns, Table};

/// A column as options name it: `email`, `customers.email`, `shop.customers.email`; the table may be a pattern. Case
/// does not matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnName {
    tables: Patterns,
    column: String,
}

impl ColumnName {
    /// Reads a name.
    ///
    /// # Errors
    ///
    /// Says what it should be.
    pub fn parse(name: &str) -> Result<Self, String> {
        let bad = || format!("{name:?} is neither `column` nor `table.column`");
        let name = name.to_lowercase();
        let (tables, column) = match name.rsplit_once('.') {
            Some((table, column)) => (vec![table], column),
            None => (Vec::new(), name.as_str()),
        };
        if column.is_empty() {
            return Err(bad());
        }
        Ok(Self { tables: Patterns::parse(&tables).map_err(|_| bad())?, column: column.to_owned() })
    }

    /// Whether it means this column of this table.
    pub fn means(&self, table: &Table, column: &str) -> bool {
        self.covers(table) && column.to_lowercase() == self.column
    }

    /// The columns of a table that it means: more than one where they differ in case only.
    pub fn of<'t>(&self, table: &'t Table) -> Vec<&'t str> {
        if !self.covers(table) {
            return Vec::new();
        }
        let names = table.columns().iter().map(|column| column.name.as_str());
        names.filter(|name| name.to_lowercase() == self.column).collect()
    }

    fn covers(&self, table: &Table) -> bool {
        self.tables.is_empty()
            || self.tables.matches(&table.qualifier().to_lowercase(), &table.name().to_lowercase())
    }
}
