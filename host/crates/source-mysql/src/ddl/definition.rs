//! What is known of a table.

use serde::{Deserialize, Serialize};

use super::types::blob_for;
use crate::charset::Charset;
use crate::layout::{Declared, DeclaredColumn};

/// A table's definition at one point of the log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// The charset of new columns that name none; `None`: not known, or the database's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub charset: Option<String>,
    /// Its columns in order.
    pub columns: Vec<ColumnDefinition>,
    /// Its keys in the server's order: the primary key, then unique ones of columns that are NOT NULL, and so on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<Key>,
    /// Whether it keeps the rows that it had (MariaDB's `WITH SYSTEM VERSIONING`).
    #[serde(default, skip_serializing_if = "is_false")]
    pub versioned: bool,
}

/// One column.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnDefinition {
    /// Its name.
    pub name: String,
    /// Its type as `information_schema.COLUMNS.COLUMN_TYPE` has it.
    #[serde(rename = "type")]
    pub column_type: String,
    /// The charset of text, ENUM and SET; `None`: not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub charset: Option<String>,
    /// Whether a text holds JSON only (MariaDB).
    #[serde(default, skip_serializing_if = "is_false")]
    pub json: bool,
    /// Whether NULL is allowed.
    #[serde(default, skip_serializing_if = "is_false")]
    pub nullable: bool,
    /// Whether its values come from other columns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generated: Option<Generated>,
    /// Which end of its row's time it is, in a table that keeps the rows that it had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row_time: Option<RowTime>,
    /// Whether `SELECT *` leaves it out.
    #[serde(default, skip_serializing_if = "is_false")]
    pub invisible: bool,
}

/// Where the values of a column that is made from others are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Generated {
    /// Made when it is read.
    Virtual,
    /// Kept with the row.
    Stored,
}

/// An end of the time in which a row was one of its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RowTime {
    /// When it became so.
    Start,
    /// When it ceased to be so.
    End,
}

/// An index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// Its name: `PRIMARY`, or the one given or made up.
    pub name: String,
    /// Whether no two rows may have the same values in it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub unique: bool,
    /// Its parts in order.
    pub parts: Vec<KeyPart>,
}

/// A part of an index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyPart {
    /// The column; `None`: an expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// Whether only the beginning of its values is in the index.
    #[serde(default, skip_serializing_if = "is_false")]
    pub prefix: bool,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// The primary key's name, on every server.
pub(super) const PRIMARY: &str = "PRIMARY";

impl Definition {
    /// For decoding.
    pub fn declared(&self) -> Declared {
        let column = |column: &ColumnDefinition| DeclaredColumn {
            name: column.name.clone(),
            column_type: if column.json { "json".into() } else { column.column_type.clone() },
            charset: column.charset.clone(),
        };
        let key = self.row_key().iter().map(|name| (*name).to_owned()).collect();
        Declared { columns: self.columns.iter().map(column).collect(), key }
    }

    /// The columns by which rows are told apart: the primary key, else the first unique key of whole columns that are all
    /// NOT NULL; empty if there is none.
    pub fn row_key(&self) -> Vec<&str> {
        let whole = |key: &'_ Key| {
            let is_primary = key.name == PRIMARY;
            let column = |part: &KeyPart| {
                let name = part.column.as_deref()?;
                let column = self.column(name)?;
                (is_primary || (!part.prefix && !column.nullable)).then_some(column.name.as_str())
            };
            key.parts.iter().map(column).collect::<Option<Vec<&str>>>()
        };
        self.keys.iter().filter(|key| key.unique).find_map(whole).unwrap_or_default()
    }

    /// A column; the case of its name does not matter.
    pub fn column(&self, name: &str) -> Option<&ColumnDefinition> {
        self.columns.iter().find(|column| same_name(&column.name, name))
    }

    pub(super) fn position(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| same_name(&column.name, name))
    }

    /// Gives a charset to what has none of its own.
    pub(crate) fn resolve(&mut self, database_charset: Option<&str>) {
        if self.charset.is_none() {
            self.charset = database_charset.map(str::to_owned);
        }
        for column in &mut self.columns {
            column.resolve(self.charset.as_deref());
        }
        self.sort_keys();
    }

    /// The table keeps the rows that it had: with columns of the server's own, where none are named for that. When a row ceased to
    /// be current is a part of every key by which rows are told apart.
    pub(super) fn keep_versions(&mut self) {
        self.versioned = true;
        for (name, time) in [("row_start", RowTime::Start), ("row_end", RowTime::End)] {
            if self.columns.iter().all(|column| column.row_time != Some(time)) {
                self.columns.push(ColumnDefinition {
                    name: name.into(),
                    column_type: "timestamp(6)".into(),
                    row_time: Some(time),
                    invisible: true,
                    ..ColumnDefinition::default()
                });
            }
        }
        let end = self.columns.iter().find(|column| column.row_time == Some(RowTime::End));
        let Some(end) = end.map(|column| column.name.clone()) else { return };
        for key in self.keys.iter_mut().filter(|key| key.unique) {
            let has = |part: &KeyPart| part.column.as_deref().is_some_and(|name| same_name(name, &end));
            if !key.parts.iter().any(has) {
                key.parts.push(KeyPart { column: Some(end.clone()), prefix: false });
            }
        }
    }

    /// The server's own order: keys that tell rows apart come first. Columns of the primary key are NOT NULL.
    pub(super) fn sort_keys(&mut self) {
        let primary: Vec<String> = self
            .keys
            .iter()
            .filter(|key| key.name == PRIMARY)
            .flat_map(|key| key.parts.iter().filter_map(|part| part.column.clone()))
            .collect();
        for column in &mut self.columns {
            if primary.iter().any(|name| same_name(name, &column.name)) {
                column.nullable = false;
            }
        }
        let columns = &self.columns;
        let class = |key: &Key| {
            let not_null = |part: &KeyPart| {
                let column = part.column.as_deref();
                let column =
                    column.and_then(|name| columns.iter().find(|column| same_name(&column.name, name)));
                column.is_some_and(|column| !column.nullable)
            };
            match key {
                key if key.name == PRIMARY => 0,
                key if !key.unique => 4,
                key if !key.parts.iter().all(not_null) => 3,
                key if key.parts.iter().any(|part| part.prefix) => 2,
                _ => 1,
            }
        };
        // The order of the others matters to nobody.
        self.keys.sort_by_cached_key(|key| {
            let class = class(key);
            (class, if class == 4 { key.name.clone() } else { String::new() })
        });
    }
}

/// Names of columns and indexes do not differ by case.
pub(super) fn same_name(a: &str, b: &str) -> bool {
    a == b || a.to_lowercase() == b.to_lowercase()
}

impl ColumnDefinition {
    /// The type's first word.
    pub(crate) fn word(&self) -> &str {
        let end = self.column_type.find(|c: char| !c.is_ascii_alphanumeric());
        &self.column_type[..end.unwrap_or(self.column_type.len())]
    }

    /// Whether its values are text of some charset.
    pub(crate) fn is_text(&self) -> bool {
        matches!(
            self.word(),
            "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" | "enum" | "set"
        )
    }

    /// The number in the type's parentheses.
    fn len(&self) -> Option<u64> {
        let (_, rest) = self.column_type.split_once('(')?;
        rest.split_once(')')?.0.parse().ok()
    }

    /// Gives a charset to a text that names none, and settles what depends on it.
    pub(super) fn resolve(&mut self, table_charset: Option<&str>) {
        if !self.is_text() {
            return;
        }
        if self.charset.is_none() {
            self.charset = table_charset.map(str::to_owned);
        }
        let charset = self.charset.as_deref();
        let binary = charset == Some("binary");
        let most = u64::from(Charset::max_bytes(charset.unwrap_or("utf8mb4")));
        let len = self.len();
        let bytes = len.map(|len| len.saturating_mul(most));
        let ending = self.column_type.split_once(" /*").map(|(_, ending)| format!(" /*{ending}"));
        let family = if binary { "blob" } else { "text" };
        let resolved = match (self.word(), len, bytes) {
            ("text", Some(_), Some(bytes)) => blob_for(family, bytes).to_owned(),
            ("varchar", Some(_), Some(bytes)) if bytes > 65_535 => blob_for(family, bytes).to_owned(),
            ("varchar", Some(len), _) if binary => format!("varbinary({len})"),
            ("char", Some(len), _) if binary => format!("binary({len})"),
            ("tinytext", ..) if binary => "tinyblob".into(),
            ("text", ..) if binary => "blob".into(),
            ("mediumtext", ..) if binary => "mediumblob".into(),
            ("longtext", ..) if binary => "longblob".into(),
            _ => return,
        };
        self.column_type = resolved + ending.as_deref().unwrap_or_default();
        if binary {
            self.charset = None;
        }
    }

    /// Text in another charset. A TEXT becomes one that holds as many characters as before.
    pub(super) fn convert(&mut self, charset: Option<&str>) {
        let own = self.charset.as_deref();
        // Bytes stay bytes.
        if !self.is_text() || own == Some("binary") {
            return;
        }
        let most: u64 = match self.word() {
            "tinytext" => 0xff,
            "text" => 0xffff,
            "mediumtext" => 0xff_ffff,
            _ => 0,
        };
        if most > 0 {
            let per = |charset: Option<&str>| u64::from(Charset::max_bytes(charset.unwrap_or("utf8mb4")));
            let characters = most / per(own);
            let bytes = (characters * per(charset)).max(most);
            self.column_type = blob_for("text", bytes).to_owned();
        }
        self.charset = charset.map(str::to_owned);
    }
}
