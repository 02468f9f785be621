//! What a table looks like at one version of its definition.

use std::collections::HashMap;
use std::hash::Hasher;
use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;

use crate::value::CellKind;

/// The declared kind of a column. A cell may hold another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Values of this kind are declared.
    Of(CellKind),
    /// No type is declared (SQLite allows that).
    Any,
}

const NAMES: [(&str, Kind); 18] = [
    ("bool", Kind::Of(CellKind::Bool)),
    ("int", Kind::Of(CellKind::Int)),
    ("uint", Kind::Of(CellKind::UInt)),
    ("float32", Kind::Of(CellKind::Float32)),
    ("float64", Kind::Of(CellKind::Float64)),
    ("decimal", Kind::Of(CellKind::Decimal)),
    ("text", Kind::Of(CellKind::Text)),
    ("bytes", Kind::Of(CellKind::Bytes)),
    ("date", Kind::Of(CellKind::Date)),
    ("time", Kind::Of(CellKind::Time)),
    ("datetime", Kind::Of(CellKind::DateTime)),
    ("timestamp", Kind::Of(CellKind::Timestamp)),
    ("json", Kind::Of(CellKind::Json)),
    ("uuid", Kind::Of(CellKind::Uuid)),
    ("enum", Kind::Of(CellKind::Enum)),
    ("set", Kind::Of(CellKind::Set)),
    ("array", Kind::Of(CellKind::Array)),
    ("any", Kind::Any),
];

impl Kind {
    /// The name plugins and the durable form use.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(_, kind)| *kind == self).map_or("any", |(name, _)| name)
    }

    /// The kind with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
    }
}

/// One column.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its declared kind.
    pub kind: Kind,
    /// The type as the database spells it.
    pub source_type: String,
    /// Whether NULL is allowed.
    pub nullable: bool,
}

impl Column {
    /// A nullable column.
    pub fn new(name: impl Into<String>, kind: Kind, source_type: impl Into<String>) -> Self {
        Self { name: name.into(), kind, source_type: source_type.into(), nullable: true }
    }

    /// The same column, not nullable.
    pub fn not_null(mut self) -> Self {
        self.nullable = false;
        self
    }
}

/// One version of a table's definition. Immutable; shared by every batch that holds rows of it.
#[derive(Debug, PartialEq, Eq)]
pub struct TableSchema {
    database: String,
    schema: Option<String>,
    name: String,
    qualified: String,
    columns: Vec<Column>,
    key: Vec<u16>,
    fingerprint: u64,
    lookup: HashMap<String, u16>,
}

impl TableSchema {
    /// Most columns a table may have.
    pub const MAX_COLUMNS: usize = 32_767;

    /// Makes a schema. `key` names the key columns in key order (primary key, else the first unique key of
    /// columns that are all NOT NULL, else empty); names that are no columns are left out.
    pub fn new(
        database: impl Into<String>,
        schema: Option<String>,
        name: impl Into<String>,
        columns: Vec<Column>,
        key: &[&str],
    ) -> Arc<Self> {
        let (database, name) = (database.into(), name.into());
        let qualified = format!("{}.{name}", schema.as_ref().unwrap_or(&database));
        let lookup: HashMap<String, u16> =
            columns.iter().enumerate().rev().map(|(at, column)| (column.name.clone(), at as u16)).collect();
        let key: Vec<u16> = key.iter().filter_map(|name| lookup.get(*name).copied()).collect();
        let mut hash = Xxh3::new();
        for text in [&database, schema.as_ref().unwrap_or(&String::new()), &name] {
            hash_text(&mut hash, text);
        }
        for column in &columns {
            hash_text(&mut hash, &column.name);
            hash_text(&mut hash, column.kind.name());
            hash_text(&mut hash, &column.source_type);
            hash.write_u8(u8::from(column.nullable));
        }
        for at in &key {
            hash.write_u16(*at);
        }
        Arc::new(Self { fingerprint: hash.digest(), database, schema, name, qualified, columns, key, lookup })
    }

    /// The database (catalog) the table is in.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// The schema inside the database, where the source has such a thing.
    pub fn schema(&self) -> Option<&str> {
        self.schema.as_deref()
    }

    /// The bare name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `schema.table`, or `database.table` where the source knows no schemas.
    pub fn qualified(&self) -> &str {
        &self.qualified
    }

    /// The columns in order.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Indexes of the key columns, in key order. Empty: no key.
    pub fn key(&self) -> &[u16] {
        &self.key
    }

    /// Whether the column is part of the key.
    pub fn is_key(&self, column: u16) -> bool {
        self.key.contains(&column)
    }

    /// Changes whenever the definition changes.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// The index of a column.
    #[inline]
    pub fn column(&self, name: &str) -> Option<u16> {
        self.lookup.get(name).copied()
    }

    /// This schema with nullable columns added at the end.
    pub fn with_columns(&self, added: impl IntoIterator<Item = Column>) -> Arc<Self> {
        let mut columns = self.columns.clone();
        columns.extend(added);
        let key: Vec<&str> = self.key.iter().map(|at| self.columns[*at as usize].name.as_str()).collect();
        Self::new(self.database.clone(), self.schema.clone(), self.name.clone(), columns, &key)
    }
}

fn hash_text(hash: &mut Xxh3, text: &str) {
    hash.write_u32(text.len() as u32);
    hash.write(text.as_bytes());
}
