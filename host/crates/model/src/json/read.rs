//! From JSON text to cells: what scripts and JSON-writing plugins hand back.

use std::borrow::Cow;

use base64::Engine as _;

use super::{BASE64, time, write_cell, write_compact};
use crate::edit::{NamedCells, OwnedCell};
use crate::schema::{Kind, TableSchema};
use crate::value::{ArrayWriter, Cell, CellKind, MAX_ARRAY_DEPTH};

/// A text that should be JSON and is not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read JSON: {0}")]
pub struct JsonError(String);

impl From<serde_json::Error> for JsonError {
    fn from(error: serde_json::Error) -> Self {
        Self(error.to_string())
    }
}

/// Reads one cell of a column that is declared as `kind`: the inverse of [`write_cell`] for a cell of that kind.
///
/// A value that does not fit the kind keeps its own: a string becomes text, a number an integer or a double, an
/// object or an array JSON. Digits in a string are an integer in an integer column (how integers beyond 2^53
/// reach scripts). `null` is NULL, also in a JSON column.
///
/// # Errors
///
/// When `raw` is not one JSON value.
pub fn cell_from_json(raw: &str, kind: Kind) -> Result<OwnedCell, JsonError> {
    let kind = match kind {
        Kind::Of(kind) => Some(kind),
        Kind::Any => None,
    };
    cell_like(raw, kind, None)
}

/// As [`cell_from_json`], for a cell that replaces `held`. `None`: `raw` is what [`write_cell`] makes of it, so
/// it stays as it is, byte for byte. Otherwise the kind held wins over the declared one, so that a cell keeps
/// its kind when only its value changes.
///
/// # Errors
///
/// When `raw` is not one JSON value.
pub fn cell_from_json_over(raw: &str, kind: Kind, held: &Cell<'_>) -> Result<Option<OwnedCell>, JsonError> {
    let raw = raw.trim_ascii();
    let mut written = Vec::new();
    if !matches!(held, Cell::Absent) {
        write_cell(held, &mut written);
    }
    if written == raw.as_bytes() {
        return Ok(None);
    }
    let cell = match held {
        Cell::Absent | Cell::Null | Cell::Unavailable => cell_from_json(raw, kind)?,
        held => cell_like(raw, Some(held.kind()), Some(held))?,
    };
    // White space or another spelling of the same number is no change either.
    Ok((cell != OwnedCell::from(held)).then_some(cell))
}

/// Reads a row image from a JSON object, in the order of its members; columns that the table lacks are of no
/// declared kind.
///
/// # Errors
///
/// When `raw` is not one JSON object.
pub fn named_cells_from_json(raw: &str, schema: &TableSchema) -> Result<NamedCells, JsonError> {
    let members: Members<'_> = serde_json::from_str(raw)?;
    members
        .0
        .into_iter()
        .map(|(name, value)| {
            let kind = schema.column(&name).map_or(Kind::Any, |at| schema.columns()[at as usize].kind);
            let cell = cell_from_json(value.get(), kind)?;
            Ok((name, cell))
        })
        .collect()
}

/// The members of a JSON object in order, each with the text of its value as it stands there.
///
/// # Errors
///
/// When `raw` is not one JSON object.
pub fn members_of_json(raw: &str) -> Result<Vec<(String, &str)>, JsonError> {
    let members: Members<'_> = serde_json::from_str(raw)?;
    Ok(members.0.into_iter().map(|(name, value)| (name, value.get())).collect())
}

/// The members of a JSON object in order, values untouched.
pub(super) struct Members<'a>(pub(super) Vec<(String, &'a serde_json::value::RawValue)>);

impl<'a> Members<'a> {
    /// A member's JSON text.
    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        self.0.iter().rfind(|(known, _)| known == name).map(|(_, value)| value.get())
    }

    /// A member that is a string.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        serde_json::from_str(self.get(name)?).ok()
    }
}

impl<'de: 'a, 'a> serde::Deserialize<'de> for Members<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some((name, value)) = map.next_entry()? {
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

fn cell_like(raw: &str, kind: Option<CellKind>, held: Option<&Cell<'_>>) -> Result<OwnedCell, JsonError> {
    element(raw, kind, held, 0)
}

fn element(
    raw: &str,
    kind: Option<CellKind>,
    held: Option<&Cell<'_>>,
    depth: u32,
) -> Result<OwnedCell, JsonError> {
    let raw = raw.trim_ascii();
    let own = |cell: &Cell<'_>| Ok(OwnedCell::from(cell));
    if raw == "null" {
        return own(&Cell::Null);
    }
    if let Some(kind @ (CellKind::Json | CellKind::Array)) = kind
        && !(raw.starts_with('{') && is_unavailable(raw))
    {
        if kind == CellKind::Array && raw.starts_with('[') && depth < MAX_ARRAY_DEPTH {
            return array(raw, held, depth);
        }
        if kind == CellKind::Json {
            return json(raw);
        }
    }
    match raw.as_bytes().first() {
        Some(b'"') => string(&unquote(raw)?, kind),
        Some(b't' | b'f') => own(&Cell::Bool(serde_json::from_str(raw)?)),
        Some(b'-' | b'0'..=b'9') => number(raw, kind),
        Some(b'{') if is_unavailable(raw) => own(&Cell::Unavailable),
        Some(b'{') => match base64_member(raw) {
            Some(bytes) => own(&Cell::Bytes(&bytes)),
            None => json(raw),
        },
        _ => json(raw),
    }
}

fn json(raw: &str) -> Result<OwnedCell, JsonError> {
    let mut text = Vec::with_capacity(raw.len());
    if !write_compact(raw, &mut text) {
        // Ask the parser that knows where and why.
        serde_json::from_str::<&serde_json::value::RawValue>(raw)?;
        return Err(JsonError("nested too deep".to_owned()));
    }
    let text = String::from_utf8(text).map_err(|error| JsonError(error.to_string()))?;
    Ok(OwnedCell::from(&Cell::Json(&text)))
}

fn array(raw: &str, held: Option<&Cell<'_>>, depth: u32) -> Result<OwnedCell, JsonError> {
    // Elements have no declared kind; those of the array they replace tell.
    let like = match held {
        Some(Cell::Array(array)) => array.iter().find(|cell| !matches!(cell, Cell::Null)),
        _ => None,
    };
    let elements: Vec<&serde_json::value::RawValue> = serde_json::from_str(raw)?;
    let mut writer = ArrayWriter::default();
    for value in elements {
        let value = value.get();
        let kind = like.map(|cell| cell.kind()).or(value.starts_with('[').then_some(CellKind::Array));
        writer.push(&element(value, kind, like.as_ref(), depth + 1)?.as_cell());
    }
    Ok(OwnedCell::from(&writer.as_cell()))
}

fn unquote(raw: &str) -> Result<Cow<'_, str>, JsonError> {
    match raw.get(1..raw.len().saturating_sub(1)) {
        Some(inside) if raw.ends_with('"') && super::escape::is_plain(inside.as_bytes()) => {
            Ok(Cow::Borrowed(inside))
        }
        _ => Ok(Cow::Owned(serde_json::from_str(raw)?)),
    }
}

fn string(text: &str, kind: Option<CellKind>) -> Result<OwnedCell, JsonError> {
    let typed = kind.and_then(|kind| match kind {
        CellKind::Int | CellKind::UInt => integer(text, Some(kind)),
        CellKind::Float32 => non_finite(text).map(|value| Cell::Float32(value as f32)),
        CellKind::Float64 => non_finite(text).map(Cell::Float64),
        CellKind::Decimal if is_decimal(text) => Some(Cell::Decimal(text)),
        CellKind::Date => time::read_date(text).map(Cell::Date),
        CellKind::Time => time::read_time(text).map(Cell::Time),
        CellKind::DateTime => time::read_datetime(text).map(Cell::DateTime),
        CellKind::Timestamp => time::read_timestamp(text).map(Cell::Timestamp),
        CellKind::Uuid => text.parse().ok().map(|crate::EventId(bytes)| Cell::Uuid(bytes)),
        CellKind::Enum => Some(Cell::Enum(text)),
        CellKind::Set => Some(Cell::Set(text)),
        _ => None,
    });
    Ok(OwnedCell::from(&typed.unwrap_or(Cell::Text(text))))
}

fn number(raw: &str, kind: Option<CellKind>) -> Result<OwnedCell, JsonError> {
    serde_json::from_str::<serde::de::IgnoredAny>(raw)?;
    // The standard library rounds exactly; the JSON parser need not.
    let value: f64 = raw.parse().map_err(|_| JsonError(format!("{raw} is no number")))?;
    let cell = match kind {
        Some(CellKind::Float64) => Cell::Float64(value),
        Some(CellKind::Float32) => Cell::Float32(raw.parse().unwrap_or(value as f32)),
        Some(CellKind::Decimal) if is_decimal(raw) => Cell::Decimal(raw),
        Some(CellKind::Int | CellKind::UInt) if value.fract() == 0.0 && value.abs() < 9e15 => {
            sized(i128::from(value as i64), kind).unwrap_or(Cell::Float64(value))
        }
        _ => integer(raw, kind).unwrap_or(Cell::Float64(value)),
    };
    Ok(OwnedCell::from(&cell))
}

/// An integer as the databases and [`write_cell`] spell it, or nothing.
fn integer(text: &str, kind: Option<CellKind>) -> Option<Cell<'static>> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = !digits.is_empty() && digits.len() <= 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !plain || (digits.len() > 1 && digits.starts_with('0')) || text == "-0" {
        return None;
    }
    sized(text.parse().ok()?, kind)
}

fn sized(value: i128, kind: Option<CellKind>) -> Option<Cell<'static>> {
    match i64::try_from(value) {
        Ok(value) if kind == Some(CellKind::UInt) && value >= 0 => Some(Cell::UInt(value as u64)),
        Ok(value) => Some(Cell::Int(value)),
        Err(_) => u64::try_from(value).ok().map(Cell::UInt),
    }
}

/// Digits with at most one point, or PostgreSQL's names for what has no digits.
fn is_decimal(text: &str) -> bool {
    if matches!(text, "NaN" | "Infinity" | "-Infinity") {
        return true;
    }
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let all = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    all(whole) && all(fraction) && !(whole.is_empty() && fraction.is_empty()) && !digits.is_empty()
}

fn non_finite(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

fn is_unavailable(raw: &str) -> bool {
    raw == r#"{"_unavailable":true}"#
        || (raw.contains("_unavailable") && only_member(raw, "_unavailable").is_some_and(|v| v == "true"))
}

fn base64_member(raw: &str) -> Option<Vec<u8>> {
    if !raw.contains("_base64") {
        return None;
    }
    let value = only_member(raw, "_base64")?;
    let text = value.starts_with('"').then(|| unquote(value).ok())??;
    BASE64.decode(text.as_bytes()).ok()
}

/// The value of an object's only member, if that is its name.
fn only_member<'a>(raw: &'a str, name: &str) -> Option<&'a str> {
    let members: Members<'a> = serde_json::from_str(raw).ok()?;
    match members.0.as_slice() {
        [(found, value)] if found == name => Some(value.get()),
        _ => None,
    }
}
