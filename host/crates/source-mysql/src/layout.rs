//! How a table's rows are read at one point of the log.
//!
//! The log gives a column's type in every table map. Its name, its labels and the table's key are there only with
//! `binlog_row_metadata = FULL`, its sign and charset with MINIMAL too (MySQL; MariaDB's default says nothing). What the
//! log does not say comes from a definition: the one that held at this point of the log, never today's.

mod cache;
mod declared;
mod spelling;

use std::sync::Arc;

use deltaforge_model::value::CellKind;
use deltaforge_model::{Column, Kind, TableSchema};

pub use cache::Layouts;
pub use declared::{Declared, DeclaredColumn};

use crate::binlog::TableMap;
use crate::binlog::table_map::{WireColumn, wire};
use crate::charset::Charset;
use crate::error::LayoutError;
use crate::row::{Codec, DecimalShape};
use declared::Words;

/// How a table's rows are read, and what its batches say of it.
#[derive(Debug)]
pub struct TableLayout {
    schema: Arc<TableSchema>,
    pub(crate) fields: Vec<Field>,
}

/// How a column's cells are read.
#[derive(Debug)]
pub(crate) struct Field {
    pub codec: Codec,
    /// Whether the column is of the key.
    pub key: bool,
    /// Its number among the JSON columns.
    pub json: Option<u16>,
}

/// What is known of a column, from the log or from a definition.
#[derive(Debug, Clone, Default)]
struct Facts {
    unsigned: bool,
    charset: Option<&'static str>,
    labels: Option<Vec<String>>,
    geometry_type: u64,
    dimensions: Option<u64>,
}

impl TableLayout {
    /// The layout of a table whose map says everything.
    ///
    /// # Errors
    ///
    /// [`LayoutError::NamesMissing`] when it does not, and what makes rows unreadable.
    pub fn from_log(map: &TableMap<'_>) -> Result<Self, LayoutError> {
        Self::build(map, None)
    }

    /// The layout of a table by its definition. What the map says wins, where it says anything.
    ///
    /// # Errors
    ///
    /// When the definition does not fit the map, and what makes rows unreadable.
    pub fn from_definition(map: &TableMap<'_>, definition: &Declared) -> Result<Self, LayoutError> {
        Self::build(map, Some(definition))
    }

    /// The layout by the best that is known: the definition, where it has the columns that the log names; else what the log
    /// says.
    ///
    /// # Errors
    ///
    /// When neither suffices.
    pub fn best(map: &TableMap<'_>, definition: Option<&Declared>) -> Result<Self, LayoutError> {
        let Some(definition) = definition else { return Self::from_log(map) };
        let Some(names) = map.metadata.names()? else { return Self::from_definition(map, definition) };
        let declared = definition.columns.iter().map(|column| column.name.as_str());
        if !declared.eq(names) {
            return Self::from_log(map);
        }
        Self::from_definition(map, definition).or_else(|_| Self::from_log(map))
    }

    /// What batches say of the table.
    pub fn schema(&self) -> &Arc<TableSchema> {
        &self.schema
    }

    fn build(map: &TableMap<'_>, definition: Option<&Declared>) -> Result<Self, LayoutError> {
        let table = map.qualified();
        let columns = map.columns()?;
        if columns.len() > TableSchema::MAX_COLUMNS {
            let (logged, declared) = (columns.len(), TableSchema::MAX_COLUMNS);
            return Err(LayoutError::ColumnCount { table, logged, declared });
        }
        let names = map.metadata.names()?;
        let declared = definition.map(|definition| definition.columns.len());
        let told = declared.or(names.as_ref().map(Vec::len));
        match told {
            None => return Err(LayoutError::NamesMissing { table }),
            Some(told) if told != columns.len() => {
                return Err(LayoutError::ColumnCount { table, logged: columns.len(), declared: told });
            }
            Some(_) => {}
        }
        let mut facts = facts(map, &columns, definition)?;
        let mut fields = Vec::with_capacity(columns.len());
        let mut schema = Vec::with_capacity(columns.len());
        let mut jsons = 0;
        for (at, column) in columns.iter().enumerate() {
            let declared = definition.and_then(|definition| definition.columns.get(at));
            let logged = names.as_ref().and_then(|names| names.get(at).copied());
            let name = declared.map(|declared| declared.name.as_str()).or(logged).unwrap_or_default();
            let facts = &mut facts[at];
            let words = declared.map(|declared| Words::of(&declared.column_type));
            let (codec, kind) = codec(&table, name, column, facts, words.as_ref())?;
            let json = matches!(codec, Codec::Json { .. }).then(|| {
                jsons += 1;
                jsons - 1
            });
            let spelled = match declared {
                Some(declared) => declared.column_type.clone(),
                None => spelling::of(column, facts),
            };
            let nullable = column.nullable;
            schema.push(Column {
                name: name.to_owned(),
                kind: Kind::Of(kind),
                source_type: spelled,
                nullable,
            });
            fields.push(Field { codec, key: false, json });
        }
        let key: Vec<&str> = match definition {
            Some(definition) => definition.key.iter().map(String::as_str).collect(),
            None => {
                let key = map.metadata.primary_key()?;
                key.into_iter().filter_map(|at| names.as_ref()?.get(at).copied()).collect()
            }
        };
        let schema = TableSchema::new(map.database, None, map.table, without_doubles(schema), &key);
        for at in schema.key() {
            if let Some(field) = fields.get_mut(usize::from(*at)) {
                field.key = true;
            }
        }
        Ok(Self { schema, fields })
    }
}

/// Servers have no two columns of one name; a broken map may.
fn without_doubles(mut columns: Vec<Column>) -> Vec<Column> {
    let mut seen = std::collections::HashSet::new();
    for (at, column) in columns.iter_mut().enumerate() {
        if !seen.insert(column.name.clone()) {
            column.name = format!("{}#{}", column.name, at + 1);
        }
    }
    columns
}

/// Columns that have a bit of signedness. A YEAR has one too, which says nothing.
fn is_numeric(kind: u8) -> bool {
    use wire::*;
    matches!(kind, TINY | SHORT | INT24 | LONG | LONGLONG | NEWDECIMAL | FLOAT | DOUBLE | YEAR)
}

/// Columns that have a collation: a VECTOR has one too, of bytes.
fn is_character(kind: u8) -> bool {
    use wire::*;
    matches!(kind, STRING | VAR_STRING | VARCHAR | BLOB | TINY_BLOB | MEDIUM_BLOB | LONG_BLOB | VECTOR)
        || matches!(kind, MARIADB_BLOB_COMPRESSED | MARIADB_VARCHAR_COMPRESSED)
}

/// What is known of each column: the definition's words, then what the map says.
fn facts(
    map: &TableMap<'_>,
    columns: &[WireColumn],
    definition: Option<&Declared>,
) -> Result<Vec<Facts>, LayoutError> {
    let metadata = &map.metadata;
    let mut facts: Vec<Facts> = match definition {
        None => vec![Facts::default(); columns.len()],
        Some(definition) => definition.columns.iter().map(DeclaredColumn::facts).collect(),
    };
    let places = |of: fn(u8) -> bool| -> Vec<usize> {
        columns.iter().enumerate().filter(|(_, column)| of(column.kind)).map(|(at, _)| at).collect()
    };
    if let Some(signs) = metadata.signedness {
        for (number, at) in places(is_numeric).into_iter().enumerate() {
            // The highest bit of each byte comes first.
            facts[at].unsigned = signs.get(number / 8).is_some_and(|byte| byte << (number % 8) & 0x80 != 0);
        }
    }
    // MariaDB counts geometries among the columns that have a charset.
    let characters = match map.mariadb {
        true => places(|kind| is_character(kind) || kind == wire::GEOMETRY),
        false => places(is_character),
    };
    let labelled = places(|kind| kind == wire::ENUM || kind == wire::SET);
    let collations = [
        (&characters, metadata.collations(characters.len())?),
        (&labelled, metadata.label_collations(labelled.len())?),
    ];
    for (places, collations) in collations {
        for (at, collation) in places.iter().zip(collations.into_iter().flatten()) {
            let name = Charset::name_of_collation(collation).ok_or_else(|| LayoutError::Charset {
                table: map.qualified(),
                column: format!("{}", at + 1),
                collation,
            })?;
            facts[*at].charset = Some(name);
        }
    }
    for (kind, labels) in [(wire::ENUM, metadata.enum_labels()?), (wire::SET, metadata.set_labels()?)] {
        let places = columns.iter().enumerate().filter(|(_, column)| column.kind == kind);
        for ((at, _), labels) in places.zip(labels) {
            facts[at].labels = Some(texts(&labels, facts[at].charset));
        }
    }
    let geometries = places(|kind| kind == wire::GEOMETRY);
    for (at, kind) in geometries.into_iter().zip(metadata.geometry_types()?) {
        facts[at].geometry_type = kind;
    }
    let vectors = places(|kind| kind == wire::VECTOR);
    for (at, dimensions) in vectors.into_iter().zip(metadata.vector_dimensions()?) {
        facts[at].dimensions = Some(dimensions);
    }
    Ok(facts)
}

/// Labels in their column's charset. One that is no text in it keeps what of it is.
fn texts(labels: &[&[u8]], charset: Option<&str>) -> Vec<String> {
    let charset = charset.and_then(Charset::from_name).unwrap_or(Charset::Utf8);
    let mut scratch = String::new();
    let mut text = |label: &[u8]| match charset.decode(label, &mut scratch) {
        Some(text) => text.to_owned(),
        None => String::from_utf8_lossy(label).into_owned(),
    };
    labels.iter().map(|label| text(label)).collect()
}

/// How a column's cells are read, and of what kind they are.
fn codec(
    table: &str,
    name: &str,
    column: &WireColumn,
    facts: &mut Facts,
    words: Option<&Words<'_>>,
) -> Result<(Codec, CellKind), LayoutError> {
    use crate::row::Width;
    let mismatch = |advice| LayoutError::ColumnType {
        table: table.to_owned(),
        column: name.to_owned(),
        declared: words.map_or_else(String::new, |words| words.base.to_owned()),
        logged: column.kind,
        advice,
    };
    if let Some(words) = words {
        words.check(column.kind).map_err(mismatch)?;
    }
    let base = words.map_or("", |words| words.base);
    let integer = |width| match facts.unsigned {
        false => (Codec::Int(width), CellKind::Int),
        true => (Codec::UInt(width), CellKind::UInt),
    };
    let digits = || u8::try_from(column.meta).ok().filter(|digits| *digits <= 6);
    let bad = || mismatch("no server has such a type; the log may be damaged");
    let blob = || u8::try_from(column.meta).ok().filter(|len| (1..=4).contains(len)).ok_or_else(bad);
    Ok(match column.kind {
        wire::TINY => integer(Width::One),
        wire::SHORT => integer(Width::Two),
        wire::INT24 => integer(Width::Three),
        wire::LONG => integer(Width::Four),
        wire::LONGLONG => integer(Width::Eight),
        wire::YEAR => (Codec::Year, CellKind::Int),
        wire::FLOAT => (Codec::Float32, CellKind::Float32),
        wire::DOUBLE => (Codec::Float64, CellKind::Float64),
        wire::NEWDECIMAL => {
            let [precision, scale] = column.meta.to_be_bytes();
            let shape = DecimalShape::new(precision, scale).ok_or_else(bad)?;
            (Codec::Decimal(shape), CellKind::Decimal)
        }
        wire::BIT => {
            let [bits, bytes] = column.meta.to_le_bytes();
            let bytes = bytes.saturating_add(u8::from(bits > 0));
            if !(1..=8).contains(&bytes) {
                return Err(bad());
            }
            (Codec::Bit { bytes }, CellKind::UInt)
        }
        wire::DATE | wire::NEWDATE => (Codec::Date, CellKind::Date),
        wire::TIME2 => (Codec::Time { digits: digits().ok_or_else(bad)? }, CellKind::Time),
        wire::DATETIME2 => (Codec::DateTime { digits: digits().ok_or_else(bad)? }, CellKind::DateTime),
        wire::TIMESTAMP2 => (Codec::Timestamp { digits: digits().ok_or_else(bad)? }, CellKind::Timestamp),
        wire::TIME => (Codec::OldTime, CellKind::Time),
        wire::DATETIME => (Codec::OldDateTime, CellKind::DateTime),
        wire::TIMESTAMP => (Codec::OldTimestamp, CellKind::Timestamp),
        wire::NULL => (Codec::Null, CellKind::Bytes),
        wire::JSON => (Codec::Json { prefix: blob()? }, CellKind::Json),
        wire::GEOMETRY => (Codec::Geometry { prefix: blob()? }, CellKind::Bytes),
        wire::VECTOR => (Codec::Vector { prefix: blob()? }, CellKind::Array),
        wire::ENUM | wire::SET => {
            let bytes = u8::try_from(column.meta).ok().filter(|len| (1..=8).contains(len)).ok_or_else(bad)?;
            let labels = facts.labels.as_deref().ok_or_else(|| LayoutError::LabelsMissing {
                table: table.to_owned(),
                column: name.to_owned(),
            })?;
            let labels = labels.iter().map(|label| label.as_str().into()).collect();
            match column.kind {
                wire::ENUM => (Codec::Enum { bytes, labels }, CellKind::Enum),
                _ => (Codec::Set { bytes, labels }, CellKind::Set),
            }
        }
        kind => {
            let charset = facts.charset.and_then(Charset::from_name).ok_or_else(|| {
                mismatch(
                    "its charset is neither in the log (binlog_row_metadata = 'FULL' puts it there) nor in the definition",
                )
            })?;
            let prefix = match kind {
                wire::BLOB | wire::TINY_BLOB | wire::MEDIUM_BLOB | wire::LONG_BLOB => blob()?,
                wire::MARIADB_BLOB_COMPRESSED => blob()?,
                _ => 1 + u8::from(column.meta > 255),
            };
            match (base, kind, charset) {
                ("uuid", ..) => (Codec::Uuid { prefix }, CellKind::Uuid),
                ("inet4", ..) => (Codec::Inet4 { prefix }, CellKind::Text),
                ("inet6", ..) => (Codec::Inet6 { prefix }, CellKind::Text),
                ("vector", ..) => (Codec::Vector { prefix }, CellKind::Array),
                ("json", _, charset) if charset != Charset::Binary => {
                    (Codec::JsonText { prefix, charset }, CellKind::Json)
                }
                (_, wire::MARIADB_BLOB_COMPRESSED | wire::MARIADB_VARCHAR_COMPRESSED, charset) => {
                    let kind = if charset == Charset::Binary { CellKind::Bytes } else { CellKind::Text };
                    (Codec::Compressed { prefix, charset }, kind)
                }
                (_, wire::STRING, Charset::Binary) => {
                    (Codec::Padded { prefix, len: column.meta }, CellKind::Bytes)
                }
                (.., Charset::Binary) => (Codec::Bytes { prefix }, CellKind::Bytes),
                _ => (Codec::Text { prefix, charset }, CellKind::Text),
            }
        }
    })
}
