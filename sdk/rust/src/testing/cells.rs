//! Cells in golden inputs: as JSON has them everywhere, and where that would be read as another value, with the name of
//! their kind: `{"_text":"12"}` in a column of integers.

use deltaforge_model::edit::OwnedCell;
use deltaforge_model::json::{cell_from_json, members_of_json, write_cell, write_string};
use deltaforge_model::value::{ArrayWriter, CellKind};
use deltaforge_model::{Cell, Kind};
use serde_json::value::RawValue;

#[cfg(test)]
mod tests;

/// Deepest nesting of arrays that say their kind.
const MAX_DEPTH: usize = 16;

/// Reads a cell of a column that is declared as `kind`.
pub(super) fn read(raw: &str, kind: Kind) -> Result<OwnedCell, String> {
    read_at(raw, kind, 0)
}

fn read_at(raw: &str, declared: Kind, depth: usize) -> Result<OwnedCell, String> {
    let Some((kind, value)) = named(raw) else {
        return cell_from_json(raw, declared).map_err(|error| error.to_string());
    };
    let no_such = || format!("{raw} is no {}", Kind::Of(kind).name());
    if kind == CellKind::Array {
        if depth == MAX_DEPTH {
            return Err(format!("arrays in arrays, more than {MAX_DEPTH} deep"));
        }
        let elements: Vec<&RawValue> = serde_json::from_str(&value).map_err(|_| no_such())?;
        let mut writer = ArrayWriter::default();
        for element in elements {
            writer.push(&read_at(element.get(), Kind::Any, depth + 1)?.as_cell());
        }
        return Ok(OwnedCell::from(&writer.as_cell()));
    }
    if kind.is_text() {
        let text: String = serde_json::from_str(&value).map_err(|_| no_such())?;
        let cell = match kind {
            CellKind::Decimal => Cell::Decimal(&text),
            CellKind::Json => Cell::Json(&text),
            CellKind::Enum => Cell::Enum(&text),
            CellKind::Set => Cell::Set(&text),
            _ => Cell::Text(&text),
        };
        return Ok(OwnedCell::from(&cell));
    }
    let cell = cell_from_json(&value, Kind::Of(kind)).map_err(|error| error.to_string())?;
    if cell.as_cell().kind() == kind { Ok(cell) } else { Err(no_such()) }
}

/// The kind that an object names as its only member, with the text of the value.
fn named(raw: &str) -> Option<(CellKind, String)> {
    if !raw.starts_with('{') {
        return None;
    }
    match members_of_json(raw).ok()?.as_slice() {
        [(name, value)] => match Kind::from_name(name.strip_prefix('_')?)? {
            Kind::Of(kind) => Some((kind, (*value).to_owned())),
            Kind::Any => None,
        },
        _ => None,
    }
}

/// Writes a cell of a column that is declared as `kind`, so that [`read`] reads the same value.
pub(super) fn write(cell: &Cell<'_>, declared: Kind, out: &mut String) {
    let mut plain = Vec::new();
    write_cell(cell, &mut plain);
    let plain = String::from_utf8_lossy(&plain);
    if read(&plain, declared).is_ok_and(|read| is_same(&read.as_cell(), cell)) {
        out.push_str(&plain);
        return;
    }
    out.push_str(&format!("{{\"_{}\":", Kind::Of(cell.kind()).name()));
    match cell {
        Cell::Array(array) => {
            out.push('[');
            for (at, element) in array.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write(&element, Kind::Any, out);
            }
            out.push(']');
        }
        // The text itself, whatever it holds.
        Cell::Json(text) => out.push_str(&quoted(text)),
        _ => out.push_str(&plain),
    }
    out.push('}');
}

/// Whether two cells are the same value of the same kind; what is no number is the same as any other such.
fn is_same(one: &Cell<'_>, other: &Cell<'_>) -> bool {
    let nan = |cell: &Cell<'_>| match cell {
        Cell::Float32(value) => value.is_nan(),
        Cell::Float64(value) => value.is_nan(),
        _ => false,
    };
    let is_nan = one.kind() == other.kind() && nan(one) && nan(other);
    is_nan || OwnedCell::from(one) == OwnedCell::from(other)
}

/// A text as a JSON string.
pub(super) fn quoted(text: &str) -> String {
    let mut out = Vec::new();
    write_string(text, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// The kind that a JSON value shows, for columns that nobody declared.
pub(super) fn kind_of(raw: &str) -> Kind {
    let kind = match raw.as_bytes().first() {
        Some(b'n') | None => return Kind::Any,
        Some(b't' | b'f') => CellKind::Bool,
        Some(b'"') => CellKind::Text,
        Some(b'{') => match members_of_json(raw) {
            Ok(members) if members.iter().any(|(name, _)| name == "_base64") => CellKind::Bytes,
            _ => named(raw).map_or(CellKind::Json, |(kind, _)| kind),
        },
        Some(b'[') => CellKind::Json,
        _ if raw.parse::<i64>().is_ok() => CellKind::Int,
        _ if raw.parse::<u64>().is_ok() => CellKind::UInt,
        _ => CellKind::Float64,
    };
    Kind::Of(kind)
}
