//! Cells, rows and keys as JSON text, and back. No tree of values is built and no cell allocates.
//!
//! | cell | JSON |
//! |---|---|
//! | NULL | `null` |
//! | not logged by the source | `{"_unavailable":true}` |
//! | boolean | `true`, `false` |
//! | integer, signed or not | a number with all its digits |
//! | float | the shortest number that reads back the same; `"NaN"`, `"Infinity"`, `"-Infinity"` |
//! | decimal | a string, digit for digit |
//! | text, enum label, set labels | a string |
//! | bytes | `{"_base64":"3q2+7w=="}` |
//! | date | `"2024-01-15"` |
//! | time | `"10:30:00"`, `"-838:59:59"` |
//! | datetime | `"2024-01-15T10:30:00"` |
//! | timestamp | `"2024-01-15T10:30:00Z"` |
//! | JSON | the document, without white space between its tokens |
//! | UUID | `"123e4567-e89b-12d3-a456-426614174000"` |
//! | array | a JSON array of its elements |
//!
//! A time's fraction is left out when it is zero and has six digits otherwise; years outside 0000-9999 have a
//! sign and at least six digits, as ISO 8601 has it. A cell that claims to be JSON and is not is written as a
//! string, so the output is well-formed whatever a source or a plugin put into the batch.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::batch::Event;
use crate::row::Row;
use crate::schema::TableSchema;
use crate::value::Cell;

mod compact;
mod escape;
mod event;
mod read;
mod replace;
#[cfg(test)]
mod tests;
mod time;

pub use compact::write_compact;
pub use escape::write_string;
pub use event::EventWriter;
pub use read::{JsonError, cell_from_json, cell_from_json_over, members_of_json, named_cells_from_json};
pub use replace::{ReplaceError, events_to_json, replace_events};

/// Appends one cell. [`Cell::Absent`] has no form of its own and becomes `null`; rows leave it out.
#[inline]
pub fn write_cell(cell: &Cell<'_>, out: &mut Vec<u8>) {
    match cell {
        Cell::Absent | Cell::Null => out.extend_from_slice(b"null"),
        Cell::Unavailable => out.extend_from_slice(br#"{"_unavailable":true}"#),
        Cell::Bool(true) => out.extend_from_slice(b"true"),
        Cell::Bool(false) => out.extend_from_slice(b"false"),
        Cell::Int(v) => out.extend_from_slice(itoa::Buffer::new().format(*v).as_bytes()),
        Cell::UInt(v) => out.extend_from_slice(itoa::Buffer::new().format(*v).as_bytes()),
        Cell::Float32(v) if v.is_finite() => {
            out.extend_from_slice(ryu::Buffer::new().format_finite(*v).as_bytes());
        }
        Cell::Float64(v) if v.is_finite() => {
            out.extend_from_slice(ryu::Buffer::new().format_finite(*v).as_bytes());
        }
        Cell::Float32(v) => write_non_finite(f64::from(*v), out),
        Cell::Float64(v) => write_non_finite(*v, out),
        Cell::Decimal(s) | Cell::Text(s) | Cell::Enum(s) | Cell::Set(s) => write_string(s, out),
        Cell::Bytes(bytes) => write_base64(bytes, out),
        Cell::Date(days) => quoted(out, |out| time::write_date(i64::from(*days), out)),
        Cell::Time(micros) => quoted(out, |out| time::write_time(*micros, out)),
        Cell::DateTime(micros) => quoted(out, |out| time::write_datetime(*micros, out)),
        Cell::Timestamp(micros) => quoted(out, |out| {
            time::write_datetime(*micros, out);
            out.push(b'Z');
        }),
        Cell::Json(text) => {
            if !write_compact(text, out) {
                write_string(text, out);
            }
        }
        Cell::Uuid(bytes) => {
            quoted(out, |out| out.extend_from_slice(&crate::event_id::EventId(*bytes).to_ascii()));
        }
        Cell::Array(array) => {
            out.push(b'[');
            for (at, element) in array.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                write_cell(&element, out);
            }
            out.push(b']');
        }
    }
}

#[inline]
fn quoted(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'"');
    write(out);
    out.push(b'"');
}

#[cold]
fn write_non_finite(value: f64, out: &mut Vec<u8>) {
    let text: &[u8] = if value.is_nan() {
        br#""NaN""#
    } else if value > 0.0 {
        br#""Infinity""#
    } else {
        br#""-Infinity""#
    };
    out.extend_from_slice(text);
}

fn write_base64(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"_base64":""#);
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    let written = BASE64.encode_slice(bytes, &mut out[start..]).expect("the room is four thirds, rounded up");
    out.truncate(start + written);
    out.extend_from_slice(br#""}"#);
}

/// Writes microseconds since the Unix epoch as `2023-11-14T22:13:20.000Z`, milliseconds always shown.
pub fn write_rfc3339_millis(micros: i64, out: &mut Vec<u8>) {
    time::write_seconds(micros.div_euclid(1_000_000), out);
    let millis = micros.rem_euclid(1_000_000) / 1_000;
    out.push(b'.');
    out.extend([millis / 100, millis / 10 % 10, millis % 10].map(|digit| b'0' + digit as u8));
    out.push(b'Z');
}

/// Writes rows of one table schema; the escaped member names are made once.
#[derive(Debug)]
pub struct RowEncoder {
    /// `,"name":` of every column, one after the other.
    names: Vec<u8>,
    ends: Vec<u32>,
    key: Vec<u16>,
}

impl RowEncoder {
    /// Prepares a schema's names.
    pub fn new(schema: &TableSchema) -> Self {
        let mut names = Vec::new();
        let mut ends = Vec::with_capacity(schema.columns().len());
        for column in schema.columns() {
            names.push(b',');
            write_string(&column.name, &mut names);
            names.push(b':');
            ends.push(names.len() as u32);
        }
        Self { names, ends, key: schema.key().to_vec() }
    }

    /// About as many bytes as [`RowEncoder::write_row`] appends for a row, for who makes room at once.
    pub fn room_for(&self, row: &Row<'_>) -> usize {
        self.names.len() + row.byte_size()
    }

    /// Appends a row as an object in column order; absent cells have no member.
    #[inline]
    pub fn write_row(&self, row: &Row<'_>, out: &mut Vec<u8>) {
        let open = out.len();
        let mut start = 0;
        for (cell, end) in row.cells().zip(&self.ends) {
            let end = *end as usize;
            if !matches!(cell, Cell::Absent) {
                out.extend_from_slice(&self.names[start..end]);
                write_cell(&cell, out);
            }
            start = end;
        }
        if out.len() == open {
            out.push(b'{');
        } else {
            out[open] = b'{';
        }
        out.push(b'}');
    }

    /// Appends the key columns of a row as an object in key order, `{"id":1}`: the message key of a row that
    /// says nothing else. Answers false, and appends nothing, for a table without a key and for a row that does
    /// not hold all of it.
    pub fn write_key(&self, row: &Row<'_>, out: &mut Vec<u8>) -> bool {
        let open = out.len();
        for column in &self.key {
            let column = *column as usize;
            let cell = row.cell(column);
            if matches!(cell, Cell::Absent | Cell::Unavailable) {
                out.truncate(open);
                return false;
            }
            let start = if column == 0 { 0 } else { self.ends[column - 1] as usize };
            out.extend_from_slice(&self.names[start..self.ends[column] as usize]);
            write_cell(&cell, out);
        }
        if out.len() == open {
            return false;
        }
        out[open] = b'{';
        out.push(b'}');
        true
    }

    /// As [`RowEncoder::write_key`], from the row as it is now, or as it was where that lacks the key.
    pub fn write_event_key(&self, event: &Event<'_>, out: &mut Vec<u8>) -> bool {
        [event.after(), event.before()].into_iter().flatten().any(|row| self.write_key(&row, out))
    }
}

/// Row encoders by schema fingerprint, for whoever sees many batches.
#[derive(Debug, Default)]
pub struct RowEncoders {
    known: HashMap<u64, Arc<RowEncoder>>,
}

impl RowEncoders {
    /// Schemas change rarely; whoever makes them change all the time pays for it.
    const MOST: usize = 4096;

    /// The encoder of a schema.
    pub fn get(&mut self, schema: &TableSchema) -> Arc<RowEncoder> {
        if self.known.len() >= Self::MOST && !self.known.contains_key(&schema.fingerprint()) {
            self.known.clear();
        }
        self.known.entry(schema.fingerprint()).or_insert_with(|| Arc::new(RowEncoder::new(schema))).clone()
    }

    /// The encoders of all tables of a batch, by table index.
    pub fn of_batch(&mut self, batch: &crate::Batch) -> Vec<Arc<RowEncoder>> {
        batch.tables().iter().map(|table| self.get(table)).collect()
    }
}

/// Appends a row as an object in column order; absent cells have no member. For one row now and then: who
/// writes many keeps a [`RowEncoder`].
pub fn write_row(schema: &TableSchema, row: &Row<'_>, out: &mut Vec<u8>) {
    RowEncoder::new(schema).write_row(row, out);
}
