//! A table's rows as a SELECT answers them, to cells: the same ones that the log's rows become.

use std::sync::Arc;

use deltaforge_model::value::{ArrayWriter, CellKind};
use deltaforge_model::{Cell, Column, Kind, RowWriter, TableSchema};

use crate::binlog::table_map::wire;
use crate::bytes::Bytes;
use crate::charset::Charset;
use crate::ddl::{ColumnDefinition, Definition, TableName};
use crate::error::DecodeError;
use crate::row::{Parts, push_geometry};
use crate::session::Wired;

const WHAT: &str = "a row of a SELECT";

/// How a column's values become cells.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Form {
    Number,
    Float32,
    Float64,
    Decimal,
    Bit,
    Date,
    Time,
    /// With so many digits of a second's fraction.
    DateTime(u8),
    Timestamp(u8),
    Text(Charset),
    Bytes,
    Enum(Charset),
    Set(Charset),
    Json,
    /// MariaDB's, which is a text.
    JsonText(Charset),
    Geometry,
    Vector,
    Uuid,
}

/// A table's columns.
#[derive(Debug)]
pub(crate) struct Columns {
    schema: Arc<TableSchema>,
    forms: Vec<Form>,
}

/// Room that is used for every row.
#[derive(Debug, Default)]
pub(crate) struct Room {
    text: String,
    bytes: Vec<u8>,
    array: ArrayWriter,
}

impl Columns {
    /// The columns of a definition; the name of one whose type is not known, else.
    pub fn of(table: &TableName, definition: &Definition) -> Result<Self, String> {
        let mut forms = Vec::with_capacity(definition.columns.len());
        let mut columns = Vec::with_capacity(definition.columns.len());
        for column in &definition.columns {
            let (form, kind) = form(column).ok_or_else(|| column.name.clone())?;
            forms.push(form);
            columns.push(Column {
                name: column.name.clone(),
                kind: Kind::Of(kind),
                source_type: if column.json { "json".into() } else { column.column_type.clone() },
                nullable: column.nullable,
            });
        }
        let schema = TableSchema::new(&*table.database, None, &*table.table, columns, &definition.row_key());
        Ok(Self { schema, forms })
    }

    /// What batches say of the table.
    pub fn schema(&self) -> &Arc<TableSchema> {
        &self.schema
    }

    /// Reads the columns of a row, which stand at its beginning; more may follow.
    pub fn read(
        &self,
        wired: &[Wired],
        packet: &[u8],
        row: &mut RowWriter<'_>,
        room: &mut Room,
    ) -> Result<(), DecodeError> {
        let mut values = Values::new(wired, packet)?;
        for form in &self.forms {
            match values.next()? {
                None => drop(row.push(&Cell::Null)),
                Some(value) => form.push(value, row, room)?,
            }
        }
        Ok(())
    }
}

/// The values of a row in the binary protocol.
#[derive(Debug)]
pub(super) struct Values<'a> {
    wired: &'a [Wired],
    nulls: &'a [u8],
    bytes: Bytes<'a>,
    at: usize,
}

/// One value: how it is sent, and its bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Value<'a> {
    pub wired: Wired,
    pub bytes: &'a [u8],
}

impl<'a> Values<'a> {
    pub fn new(wired: &'a [Wired], packet: &'a [u8]) -> Result<Self, DecodeError> {
        let mut bytes = Bytes::new(packet);
        bytes.u8(WHAT)?;
        // Two bits before the first column are not used.
        let nulls = bytes.take((wired.len() + 9) / 8, WHAT)?;
        Ok(Self { wired, nulls, bytes, at: 0 })
    }

    /// The next value; `None`: NULL.
    #[inline]
    pub fn next(&mut self) -> Result<Option<Value<'a>>, DecodeError> {
        let wired =
            *self.wired.get(self.at).ok_or_else(|| DecodeError::corrupt(WHAT, "it has too few columns"))?;
        let bit = self.at + 2;
        self.at += 1;
        if self.nulls.get(bit / 8).is_some_and(|byte| byte >> (bit % 8) & 1 == 1) {
            return Ok(None);
        }
        let bytes = match wired.kind {
            wire::TINY => self.bytes.take(1, WHAT)?,
            wire::SHORT | wire::YEAR => self.bytes.take(2, WHAT)?,
            wire::LONG | wire::INT24 | wire::FLOAT => self.bytes.take(4, WHAT)?,
            wire::LONGLONG | wire::DOUBLE => self.bytes.take(8, WHAT)?,
            wire::DATE | wire::DATETIME | wire::TIMESTAMP | wire::TIME => {
                let len = self.bytes.u8(WHAT)?;
                self.bytes.take(len.into(), WHAT)?
            }
            wire::NULL => return Ok(None),
            _ => self.bytes.lenenc_bytes(WHAT)?,
        };
        Ok(Some(Value { wired, bytes }))
    }
}

impl Value<'_> {
    /// A whole number.
    #[inline]
    pub fn number(&self) -> Cell<'static> {
        let mut wide = [0; 8];
        let len = self.bytes.len().min(8);
        wide[..len].copy_from_slice(&self.bytes[..len]);
        let value = u64::from_le_bytes(wide);
        if self.wired.unsigned && self.wired.kind != wire::YEAR {
            return Cell::UInt(value);
        }
        let unused = 64 - 8 * len as u32;
        Cell::Int((value << unused) as i64 >> unused)
    }

    /// A date and a time of day: what is left out at the end is zero.
    pub fn parts(&self) -> Result<Parts, DecodeError> {
        let mut bytes = Bytes::new(self.bytes);
        let mut parts = Parts::default();
        if self.bytes.len() >= 4 {
            parts.year = bytes.u16(WHAT)?.into();
            parts.month = bytes.u8(WHAT)?.into();
            parts.day = bytes.u8(WHAT)?.into();
        }
        if self.bytes.len() >= 7 {
            parts.hour = bytes.u8(WHAT)?.into();
            parts.minute = bytes.u8(WHAT)?.into();
            parts.second = bytes.u8(WHAT)?.into();
        }
        if self.bytes.len() >= 11 {
            parts.micros = bytes.u32(WHAT)?;
        }
        Ok(parts)
    }

    /// Microseconds of a TIME.
    pub fn micros(&self) -> Result<i64, DecodeError> {
        let mut bytes = Bytes::new(self.bytes);
        if self.bytes.len() < 8 {
            return Ok(0);
        }
        let negative = bytes.u8(WHAT)? != 0;
        let days = i64::from(bytes.u32(WHAT)?);
        let [hours, minutes, seconds] = bytes.array::<3>(WHAT)?.map(i64::from);
        let micros = if bytes.is_empty() { 0 } else { i64::from(bytes.u32(WHAT)?) };
        let total = (((days * 24 + hours) * 60 + minutes) * 60 + seconds) * 1_000_000 + micros;
        Ok(if negative { -total } else { total })
    }
}

impl Form {
    #[inline]
    fn push(self, value: Value<'_>, row: &mut RowWriter<'_>, room: &mut Room) -> Result<(), DecodeError> {
        let bytes = value.bytes;
        let float = |what: &str| DecodeError::corrupt(WHAT, format!("{} bytes of a {what}", bytes.len()));
        match self {
            Self::Number => row.push(&value.number()),
            Self::Text(charset) => match charset.decode(bytes, &mut room.text) {
                Some(text) => row.push(&Cell::Text(text)),
                None => row.push(&Cell::Bytes(bytes)),
            },
            Self::Bytes => row.push(&Cell::Bytes(bytes)),
            Self::Float32 => {
                let bytes = bytes.try_into().map_err(|_| float("FLOAT"))?;
                row.push(&Cell::Float32(f32::from_le_bytes(bytes)))
            }
            Self::Float64 => {
                let bytes = bytes.try_into().map_err(|_| float("DOUBLE"))?;
                row.push(&Cell::Float64(f64::from_le_bytes(bytes)))
            }
            Self::Decimal => row.push(&Cell::Decimal(plain(utf8(bytes)?))),
            Self::Bit => {
                let value = bytes.iter().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
                row.push(&Cell::UInt(value))
            }
            Self::Date => {
                value.parts()?.push_date(row, &mut room.text);
                row
            }
            Self::Time => row.push(&Cell::Time(value.micros()?)),
            Self::DateTime(digits) => {
                value.parts()?.push_datetime(digits, row, &mut room.text);
                row
            }
            Self::Timestamp(digits) => {
                value.parts()?.push_timestamp(digits, row, &mut room.text);
                row
            }
            Self::Enum(charset) => {
                let label = label(charset, bytes, &mut room.text);
                row.push(&Cell::Enum(&label))
            }
            Self::Set(charset) => {
                let labels = label(charset, bytes, &mut room.text);
                row.push(&Cell::Set(&labels))
            }
            Self::Json => {
                room.text.clear();
                compact(utf8(bytes)?, &mut room.text);
                row.push(&Cell::Json(&room.text))
            }
            Self::JsonText(charset) => match charset.decode(bytes, &mut room.text) {
                Some(text) => row.push(&Cell::Json(text)),
                None => row.push(&Cell::Bytes(bytes)),
            },
            Self::Geometry => push_geometry(bytes, row, &mut room.bytes),
            Self::Vector => {
                room.array.clear();
                for float in bytes.as_chunks::<4>().0 {
                    room.array.push(&Cell::Float32(f32::from_le_bytes(*float)));
                }
                row.push(&room.array.as_cell())
            }
            Self::Uuid => match uuid(bytes) {
                Some(uuid) => row.push(&Cell::Uuid(uuid)),
                None => return Err(DecodeError::corrupt(WHAT, "a UUID that is none")),
            },
        };
        Ok(())
    }
}

/// How a column's values become cells, and of what kind those are.
fn form(column: &ColumnDefinition) -> Option<(Form, CellKind)> {
    let column_type = column.column_type.as_str();
    let word = column.word();
    let charset = || column.charset.as_deref().and_then(Charset::from_name);
    let digits = || {
        let (_, rest) = column_type.split_once('(')?;
        rest.split_once(')')?.0.parse().ok()
    };
    let unsigned = column_type.contains(" unsigned");
    Some(match word {
        "tinyint" | "smallint" | "mediumint" | "int" | "bigint" => {
            (Form::Number, if unsigned { CellKind::UInt } else { CellKind::Int })
        }
        "year" => (Form::Number, CellKind::Int),
        "float" => (Form::Float32, CellKind::Float32),
        "double" => (Form::Float64, CellKind::Float64),
        "decimal" => (Form::Decimal, CellKind::Decimal),
        "bit" => (Form::Bit, CellKind::UInt),
        "date" => (Form::Date, CellKind::Date),
        "time" => (Form::Time, CellKind::Time),
        "datetime" => (Form::DateTime(digits().unwrap_or(0)), CellKind::DateTime),
        "timestamp" => (Form::Timestamp(digits().unwrap_or(0)), CellKind::Timestamp),
        _ if column.json => (Form::JsonText(charset()?), CellKind::Json),
        "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" => match charset()? {
            Charset::Binary => (Form::Bytes, CellKind::Bytes),
            charset => (Form::Text(charset), CellKind::Text),
        },
        "inet4" | "inet6" => (Form::Text(Charset::Utf8), CellKind::Text),
        "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => {
            (Form::Bytes, CellKind::Bytes)
        }
        "enum" => (Form::Enum(charset().unwrap_or(Charset::Binary)), CellKind::Enum),
        "set" => (Form::Set(charset().unwrap_or(Charset::Binary)), CellKind::Set),
        "json" => (Form::Json, CellKind::Json),
        "uuid" => (Form::Uuid, CellKind::Uuid),
        "vector" => (Form::Vector, CellKind::Array),
        "geometry" | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring"
        | "multipolygon" | "geometrycollection" | "geomcollection" => (Form::Geometry, CellKind::Bytes),
        _ => return None,
    })
}

fn utf8(bytes: &[u8]) -> Result<&str, DecodeError> {
    std::str::from_utf8(bytes).map_err(|_| DecodeError::corrupt(WHAT, "a text that is not UTF-8"))
}

/// A decimal without the zeros that ZEROFILL puts before it.
fn plain(digits: &str) -> &str {
    let trimmed = digits.trim_start_matches('0');
    if trimmed.len() == digits.len() {
        return digits;
    }
    // One zero stands before the point.
    let kept = if trimmed.starts_with('.') || trimmed.is_empty() { trimmed.len() + 1 } else { trimmed.len() };
    &digits[digits.len() - kept..]
}

/// A label's text; what is no text in its charset keeps what of it is, as labels in the log do.
fn label<'a>(charset: Charset, bytes: &'a [u8], scratch: &'a mut String) -> std::borrow::Cow<'a, str> {
    match charset.decode(bytes, scratch) {
        Some(text) => text.into(),
        None => String::from_utf8_lossy(bytes),
    }
}

/// JSON as the server prints it, without the white space between its tokens.
fn compact(json: &str, out: &mut String) {
    let (mut kept, mut inside, mut escaped) = (0, false, false);
    for (at, byte) in json.bytes().enumerate() {
        if inside {
            inside = escaped || byte != b'"';
            escaped = byte == b'\\' && !escaped;
        } else if byte == b'"' {
            inside = true;
        } else if byte == b' ' {
            out.push_str(&json[kept..at]);
            kept = at + 1;
        }
    }
    out.push_str(&json[kept..]);
}

fn uuid(text: &[u8]) -> Option<[u8; 16]> {
    let mut digits = text.iter().filter(|byte| **byte != b'-').map(|byte| char::from(*byte).to_digit(16));
    let mut uuid = [0; 16];
    for byte in &mut uuid {
        *byte = (digits.next()?? << 4 | digits.next()??) as u8;
    }
    digits.next().is_none().then_some(uuid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_loses_white_space_between_tokens_only() {
        let mut out = String::new();
        compact(r#"{"a b": [1, "x \" , y\\", {"k": " "}], "c": null}"#, &mut out);
        assert_eq!(out, r#"{"a b":[1,"x \" , y\\",{"k":" "}],"c":null}"#);
    }

    #[test]
    fn zeros_that_fill_a_decimal_are_not_part_of_it() {
        for (filled, expected) in [
            ("0001.50", "1.50"),
            ("0000.50", "0.50"),
            ("00000", "0"),
            ("0.00", "0.00"),
            ("10", "10"),
            ("-1.0", "-1.0"),
        ] {
            assert_eq!(plain(filled), expected);
        }
    }

    #[test]
    fn a_uuid_is_read_or_refused() {
        let text = b"123e4567-e89b-12d3-a456-426614174000";
        assert_eq!(uuid(text).unwrap()[..3], [0x12, 0x3e, 0x45]);
        assert_eq!((uuid(b"123"), uuid(b"zz3e4567-e89b-12d3-a456-426614174000")), (None, None));
    }
}
