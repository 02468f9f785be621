//! Tables as the database defines them.

use std::sync::Arc;

use deltaforge_model::pattern::Patterns;
use deltaforge_model::{Column, TableSchema};
use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use crate::decode::declared_kind;
use crate::error::{Doing, SqliteError};
use crate::sql::{default_value, index_rows, index_terms, name as quoted};

/// One column of a captured table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ColumnDef {
    /// Its name.
    pub name: String,
    /// The declared type, as written; may be empty.
    pub declared: String,
    /// Whether NULL is allowed.
    pub nullable: bool,
    /// Whether it is computed from other columns.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub generated: bool,
    /// What `REPLACE` puts in the place of a NULL that is not allowed, as SQL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
}

/// One part of a unique constraint: SQL of what is compared, and the collation it is compared by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UniquePart {
    /// A column, or `None` for an expression.
    pub column: Option<String>,
    /// The expression's SQL, where it is no column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expression: Option<String>,
    /// The collation.
    pub collation: String,
}

/// A unique constraint beside the primary key's row number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "StoredUnique")]
pub(crate) struct Unique {
    /// What is compared.
    pub parts: Vec<UniquePart>,
    /// Which rows it is about, as SQL; `None`: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<String>,
}

/// The forms in which databases hold it: the older one knew no partial indexes.
#[derive(Deserialize)]
#[serde(untagged)]
enum StoredUnique {
    Parts(Vec<UniquePart>),
    Whole {
        parts: Vec<UniquePart>,
        #[serde(default)]
        rows: Option<String>,
    },
}

impl From<StoredUnique> for Unique {
    fn from(stored: StoredUnique) -> Self {
        match stored {
            StoredUnique::Parts(parts) => Self { parts, rows: None },
            StoredUnique::Whole { parts, rows } => Self { parts, rows },
        }
    }
}

/// A table's definition: all that capture and decoding depend on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Definition {
    /// Its name.
    pub name: String,
    /// Its columns, generated ones included.
    pub columns: Vec<ColumnDef>,
    /// The event key: primary key, else the first unique key of NOT NULL columns, else empty.
    pub key: Vec<String>,
    /// The name by which the row number can be asked for; `None`: WITHOUT ROWID.
    pub rowid: Option<String>,
    /// The column that is the row number, where one is (`INTEGER PRIMARY KEY`).
    pub rowid_column: Option<String>,
    /// The primary key's columns in key order; empty where none is declared.
    pub primary: Vec<String>,
    /// Every unique constraint that has an index; the primary key's comes first.
    pub unique: Vec<Unique>,
}

/// Names that are never captured.
fn is_infrastructure(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["sqlite_", "_df_", "_litestream", "_turso"].iter().any(|prefix| name.starts_with(prefix))
        || name == "turso_cdc"
}

/// The names of the tables that the patterns cover, in name order.
pub(crate) fn matching(
    db: &Connection,
    database: &str,
    patterns: &Patterns,
) -> Result<Vec<String>, SqliteError> {
    let mut statement = db
        .prepare("SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' ORDER BY name")
        .doing(|| "list the tables".into())?;
    let names = statement
        .query_map([], |row| row.get::<_, String>(0))
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .doing(|| "list the tables".into())?;
    Ok(names
        .into_iter()
        .filter(|name| !is_infrastructure(name))
        .filter(|name| patterns.is_empty() || patterns.matches(database, name))
        .collect())
}

impl Definition {
    /// Reads a table's definition; `None`: there is no such table.
    ///
    /// # Errors
    ///
    /// Also [`SqliteError::Unsupported`] for a table whose rows cannot be told apart.
    pub fn read(db: &Connection, table: &str) -> Result<Option<Self>, SqliteError> {
        let action = || format!("read the definition of {table}");
        let mut statement = db
            .prepare_cached("SELECT name, type, \"notnull\", pk, hidden, dflt_value FROM pragma_table_xinfo(?1) WHERE hidden <> 1 ORDER BY cid")
            .doing(action)?;
        let mut primary: Vec<(i64, String)> = Vec::new();
        let mut columns = Vec::new();
        let mut rows = statement.query([table]).doing(action)?;
        while let Some(row) = rows.next().doing(action)? {
            let (name, pk): (String, i64) = (row.get(0).doing(action)?, row.get(3).doing(action)?);
            if pk > 0 {
                primary.push((pk, name.clone()));
            }
            let nullable = row.get::<_, i64>(2).doing(action)? == 0;
            columns.push(ColumnDef {
                name,
                declared: row.get(1).doing(action)?,
                nullable,
                generated: row.get::<_, i64>(4).doing(action)? >= 2,
                default: match row.get::<_, Option<String>>(5).doing(action)? {
                    Some(text) if !nullable => default_value(&text),
                    _ => None,
                },
            });
        }
        if columns.is_empty() {
            return Ok(None);
        }
        primary.sort();
        let primary: Vec<String> = primary.into_iter().map(|(_, name)| name).collect();
        let without_rowid: bool = db
            .query_row(
                "SELECT wr FROM pragma_table_list WHERE schema = 'main' AND name = ?1",
                [table],
                |row| row.get(0),
            )
            .doing(action)?;
        let far =
            |name: &String| columns.iter().position(|column| column.name == *name) >= Some(crate::log::PART);
        if without_rowid && primary.iter().any(far) {
            return Err(SqliteError::Unsupported(format!(
                "table {table} is WITHOUT ROWID and has a key column behind its first {} columns; leave it out",
                crate::log::PART
            )));
        }
        let (indexes, has_key_index) = unique_indexes(db, table)?;
        let declared_integer = |name: &String| {
            columns
                .iter()
                .any(|column| column.name == *name && column.declared.eq_ignore_ascii_case("INTEGER"))
        };
        // An INTEGER PRIMARY KEY is the row number itself and needs no index; any other primary key has one.
        let rowid_column = match &primary[..] {
            [only] if !without_rowid && declared_integer(only) && !has_key_index => Some(only.clone()),
            _ => None,
        };
        let rowid = if without_rowid {
            None
        } else {
            let free = ["rowid", "_rowid_", "oid"]
                .into_iter()
                .find(|alias| !columns.iter().any(|column| column.name.eq_ignore_ascii_case(alias)));
            Some(rowid_column.clone().or(free.map(str::to_owned)).ok_or_else(|| {
                SqliteError::Unsupported(format!(
                    "table {table} has columns named rowid, _rowid_ and oid, so its row number cannot be asked for; \
                     rename one of them or leave the table out"
                ))
            })?)
        };
        for column in &mut columns {
            if Some(&column.name) == rowid_column.as_ref()
                || (without_rowid && primary.contains(&column.name))
            {
                column.nullable = false;
            }
        }
        let key = if primary.is_empty() { first_unique_key(&columns, &indexes) } else { primary.clone() };
        let name = table.to_owned();
        Ok(Some(Self { name, columns, key, rowid, rowid_column, primary, unique: indexes }))
    }

    /// The columns that a copy of the table moves along: the primary key, when its order is one that every
    /// connection knows and no part of it can be NULL. `None`: the row number, which VACUUM may change.
    pub fn walk(&self) -> Option<&[String]> {
        if self.rowid.is_none() || self.rowid_column.is_some() {
            return Some(&self.primary);
        }
        let not_null =
            |name: &String| self.columns.iter().any(|column| column.name == *name && !column.nullable);
        let is_known = |part: &UniquePart| {
            ["BINARY", "NOCASE", "RTRIM"].contains(&part.collation.to_uppercase().as_str())
        };
        let ordered = self.key_index().is_some_and(|parts| parts.iter().all(is_known));
        (ordered && self.primary.iter().all(not_null)).then_some(&self.primary)
    }

    /// The collation by which the primary key compares a column of it, which need not be the column's own; as a
    /// suffix of SQL.
    pub fn key_collation(&self, column: &str) -> String {
        let part = self.key_index().into_iter().flatten().find(|part| part.column.as_deref() == Some(column));
        part.map_or_else(String::new, |part| format!(" COLLATE {}", quoted(&part.collation)))
    }

    /// The primary key's own index.
    fn key_index(&self) -> Option<&Vec<UniquePart>> {
        let is_key = |parts: &&Vec<UniquePart>| {
            parts.len() == self.primary.len()
                && parts.iter().zip(&self.primary).all(|(part, name)| part.column.as_ref() == Some(name))
        };
        self.unique.iter().map(|unique| &unique.parts).find(is_key)
    }

    /// The schema that events carry.
    pub fn schema(&self, database: &str) -> Arc<TableSchema> {
        let columns = self
            .columns
            .iter()
            .map(|column| {
                let kind = declared_kind(&column.declared, self.key.contains(&column.name));
                let made = Column::new(column.name.clone(), kind, column.declared.clone());
                if column.nullable { made } else { made.not_null() }
            })
            .collect();
        let key: Vec<&str> = self.key.iter().map(String::as_str).collect();
        TableSchema::new(database, None, self.name.clone(), columns, &key)
    }
}

/// The table's unique indexes, its primary key's too; and whether the primary key has an index of its own.
fn unique_indexes(db: &Connection, table: &str) -> Result<(Vec<Unique>, bool), SqliteError> {
    let action = || format!("read the unique indexes of {table}");
    let list: Vec<(String, String, bool)> = db
        .prepare_cached(
            "SELECT name, origin, partial FROM pragma_index_list(?1) WHERE \"unique\" ORDER BY origin <> 'pk', seq DESC",
        )
        .and_then(|mut statement| {
            statement.query_map([table], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect()
        })
        .doing(action)?;
    let has_key_index = list.iter().any(|(_, origin, _)| origin == "pk");
    let mut indexes = Vec::with_capacity(list.len());
    for (name, _, partial) in list {
        let columns: Vec<(Option<String>, String)> = db
            .prepare_cached("SELECT name, coll FROM pragma_index_xinfo(?1) WHERE key ORDER BY seqno")
            .and_then(|mut statement| {
                statement.query_map([&name], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
            })
            .doing(action)?;
        let has_expressions = columns.iter().any(|(column, _)| column.is_none());
        let sql =
            if partial || has_expressions { index_sql(db, &name).doing(action)? } else { String::new() };
        let rows = if partial {
            Some(index_rows(&sql).ok_or_else(|| {
                SqliteError::Unsupported(format!(
                    "the unique index {name} of {table} has a condition that cannot be understood: {sql}"
                ))
            })?)
        } else {
            None
        };
        let expressions = if has_expressions {
            let terms = index_terms(&sql).filter(|terms| terms.len() == columns.len());
            Some(terms.ok_or_else(|| {
                SqliteError::Unsupported(format!(
                    "the unique index {name} of {table} has expressions that cannot be understood: {sql}"
                ))
            })?)
        } else {
            None
        };
        let parts = columns
            .into_iter()
            .enumerate()
            .map(|(at, (column, collation))| UniquePart {
                expression: if column.is_none() {
                    expressions.as_ref().map(|terms| terms[at].clone())
                } else {
                    None
                },
                column,
                collation,
            })
            .collect();
        indexes.push(Unique { parts, rows });
    }
    Ok((indexes, has_key_index))
}

fn index_sql(db: &Connection, index: &str) -> rusqlite::Result<String> {
    db.query_row("SELECT sql FROM sqlite_schema WHERE type = 'index' AND name = ?1", [index], |row| {
        row.get(0)
    })
}

fn first_unique_key(columns: &[ColumnDef], indexes: &[Unique]) -> Vec<String> {
    let not_null = |part: &UniquePart| {
        part.column.as_ref().filter(|name| columns.iter().any(|c| c.name == **name && !c.nullable)).cloned()
    };
    indexes
        .iter()
        .filter(|index| index.rows.is_none())
        .find_map(|index| index.parts.iter().map(not_null).collect::<Option<Vec<_>>>())
        .unwrap_or_default()
}
