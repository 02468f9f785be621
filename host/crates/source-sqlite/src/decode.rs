//! SQLite values to cells. Pure.
//!
//! A value's form depends on its declared type, its storage class and its bytes, and on nothing else, so a row
//! looks the same from a snapshot and from the log:
//!
//! | declared type | stored as | cell |
//! |---|---|---|
//! | any | NULL | null |
//! | `BOOL`, `BOOLEAN` | 0, 1 | bool |
//! | `…INT…` | integer | int |
//! | `REAL`, `FLOA…`, `DOUB…` | real | float64 |
//! | `DECIMAL…`, `NUMERIC…`, `MONEY` | integer, real below 10^15, decimal text | decimal |
//! | `DATE` | text `YYYY-MM-DD` | date |
//! | `TIME` | text `HH:MM[:SS[.f]]` | time |
//! | `DATETIME…`, `TIMESTAMP…` | text `YYYY-MM-DD[ T]HH:MM[:SS[.f]]` | datetime; with `Z` or `±HH:MM`: timestamp (UTC) |
//! | `JSON` | text that is JSON | json |
//! | anything else, or a value that does not fit its row above | integer, real, text, blob | int, float64, text, bytes |
//!
//! Text that is not UTF-8 becomes bytes. Fractions of more than six digits stay text. In key columns times stay
//! as they are stored, because two spellings of one time are two keys to SQLite.

mod time;

use deltaforge_model::value::CellKind;
use deltaforge_model::{Cell, Kind, RowWriter};
use rusqlite::types::ValueRef;

/// The kind of cell that a declared type asks for.
pub(crate) fn declared_kind(declared: &str, in_key: bool) -> Kind {
    let upper = declared.to_ascii_uppercase();
    let word = upper.split(['(', ' ']).next().unwrap_or_default();
    let kind = match word {
        "" | "ANY" => return Kind::Any,
        "BOOL" | "BOOLEAN" => CellKind::Bool,
        "DATE" => CellKind::Date,
        "TIME" if !in_key => CellKind::Time,
        "DATETIME" if !in_key => CellKind::DateTime,
        "TIMESTAMP" | "TIMESTAMPTZ" if !in_key => CellKind::Timestamp,
        "TIME" | "DATETIME" | "TIMESTAMP" | "TIMESTAMPTZ" => return Kind::Any,
        "JSON" => CellKind::Json,
        "DECIMAL" | "NUMERIC" | "MONEY" => CellKind::Decimal,
        // The rules by which SQLite itself finds a column's affinity, in its order.
        _ if upper.contains("INT") => CellKind::Int,
        _ if ["CHAR", "CLOB", "TEXT"].iter().any(|part| upper.contains(part)) => CellKind::Text,
        _ if upper.contains("BLOB") => CellKind::Bytes,
        _ if ["REAL", "FLOA", "DOUB"].iter().any(|part| upper.contains(part)) => CellKind::Float64,
        _ => return Kind::Any,
    };
    Kind::Of(kind)
}

/// How a column's values become cells. Made once a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// As stored.
    Plain,
    Bool,
    Decimal,
    Date,
    Time,
    DateTime,
    Json,
}

impl Form {
    /// The form for a declared kind.
    pub fn of(kind: Kind) -> Self {
        match kind {
            Kind::Of(CellKind::Bool) => Self::Bool,
            Kind::Of(CellKind::Decimal) => Self::Decimal,
            Kind::Of(CellKind::Date) => Self::Date,
            Kind::Of(CellKind::Time) => Self::Time,
            Kind::Of(CellKind::DateTime | CellKind::Timestamp) => Self::DateTime,
            Kind::Of(CellKind::Json) => Self::Json,
            _ => Self::Plain,
        }
    }
}

/// Writes one value as the next cell. `scratch` is for numbers that become text.
#[inline]
pub(crate) fn push(row: &mut RowWriter<'_>, form: Form, value: ValueRef<'_>, scratch: &mut String) {
    match (form, value) {
        (_, ValueRef::Null) => row.push(&Cell::Null),
        (Form::Bool, ValueRef::Integer(v @ (0 | 1))) => row.push(&Cell::Bool(v == 1)),
        (Form::Decimal, ValueRef::Integer(_) | ValueRef::Real(_)) => row.push(&decimal(value, scratch)),
        (_, ValueRef::Integer(v)) => row.push(&Cell::Int(v)),
        (_, ValueRef::Real(v)) => row.push(&Cell::Float64(v)),
        (_, ValueRef::Blob(bytes)) => row.push(&Cell::Bytes(bytes)),
        (form, ValueRef::Text(bytes)) => match std::str::from_utf8(bytes) {
            Ok(text) => row.push(&text_cell(form, text)),
            Err(_) => row.push(&Cell::Bytes(bytes)),
        },
    };
}

fn decimal<'a>(value: ValueRef<'_>, scratch: &'a mut String) -> Cell<'a> {
    use std::fmt::Write;
    scratch.clear();
    // Display writes the shortest digits that read back as the same number, without an exponent.
    let written = match value {
        ValueRef::Integer(v) => write!(scratch, "{v}"),
        ValueRef::Real(v) if v.abs() < 1e15 => write!(scratch, "{v}"),
        ValueRef::Real(v) => return Cell::Float64(v),
        _ => return Cell::Null,
    };
    written.expect("writing to a string does not fail");
    Cell::Decimal(scratch)
}

fn text_cell(form: Form, text: &str) -> Cell<'_> {
    let special = match form {
        Form::Plain | Form::Bool => None,
        Form::Decimal => is_decimal(text).then_some(Cell::Decimal(text)),
        Form::Date => time::date(text).map(Cell::Date),
        Form::Time => time::time(text).map(Cell::Time),
        Form::DateTime => time::date_time(text),
        Form::Json => serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok().then_some(Cell::Json(text)),
    };
    special.unwrap_or(Cell::Text(text))
}

/// `-12.30`, but not `.5`, `1e3` or `0x1`.
fn is_decimal(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    [whole, fraction].iter().all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests;
