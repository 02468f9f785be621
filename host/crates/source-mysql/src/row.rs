//! Rows, from an event's bytes straight into a batch: no cell allocates.
//!
//! Every value keeps exactly what the server has:
//!
//! | type | cell |
//! |---|---|
//! | TINYINT … BIGINT, YEAR | int; UNSIGNED: uint |
//! | FLOAT, DOUBLE | float32, float64 |
//! | DECIMAL | decimal, with all its digits |
//! | BIT | uint |
//! | DATE, TIME, DATETIME | date, time, datetime |
//! | TIMESTAMP | timestamp, UTC |
//! | the four above, where no calendar has the value (`0000-00-00`, `2024-02-31`) | text, as the server prints it |
//! | CHAR, VARCHAR, TEXT | text, from the column's charset; bytes where they are no text in it |
//! | BINARY, VARBINARY, BLOB | bytes; BINARY filled up with zeros to its length |
//! | ENUM, SET | enum, set: their labels; the index 0 of an ENUM is an empty label |
//! | JSON | json, as the server prints it, without white space |
//! | GEOMETRY | bytes: WKB; with an SRID other than 0 the extended form of it, EWKB |
//! | VECTOR | array of float32 |
//! | UUID, INET4, INET6 of MariaDB, where a definition says so | uuid, text |
//!
//! Tables with UUIDs that MariaDB before 10.11.5 (10.10.6, 10.9.8) made keep those with their parts turned round until
//! they are rebuilt (`ALTER TABLE … FORCE`). Neither the log nor a definition tells, so they would be read turned round.
//!
//! Columns that an image lacks are unavailable and never NULL. An update's image as it is now takes over what its
//! image as it was has and it lacks: a column is left out there because it did not change.

mod codec;
mod cursor;
mod decimal;
mod json;
mod json_diff;
mod temporal;
#[cfg(test)]
mod tests;

pub(crate) use codec::{Codec, Width, push_geometry};
pub use cursor::{RowCursor, Scratch, Written};
pub(crate) use decimal::DecimalShape;
pub(crate) use temporal::Parts;
