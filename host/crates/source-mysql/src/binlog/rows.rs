//! Row events: what was written, changed and deleted.

use super::compressed;
use super::header::EventType;
use crate::bytes::{Bits, Bytes};
use crate::error::DecodeError;

/// What happened to the rows of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowsKind {
    /// Each row is as it is now.
    Write,
    /// Each row is as it was, then as it is now.
    Update,
    /// Each row is as it was.
    Delete,
}

/// A row event. [`RowCursor`](crate::row::RowCursor) reads its rows.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    /// The table, as the table map before it numbers it.
    pub table_id: u64,
    /// What happened.
    pub kind: RowsKind,
    /// Whether this ends the statement: table maps are void from here.
    pub ends_statement: bool,
    /// Whether updates may hold changes of JSON documents in place of documents.
    pub(crate) partial_json: bool,
    /// How many columns the table has.
    pub(crate) columns: usize,
    /// Which columns the first image has.
    pub(crate) first: Bits<'a>,
    /// Which columns the second image of an update has.
    pub(crate) second: Bits<'a>,
    /// The rows themselves.
    pub(crate) data: &'a [u8],
}

impl<'a> Rows<'a> {
    const WHAT: &'static str = "a row event";
    const STATEMENT_END: u16 = 1;

    pub(super) fn read(kind: EventType, mut bytes: Bytes<'a>, head: usize) -> Result<Self, DecodeError> {
        let what = Self::WHAT;
        let (row_kind, second_version) = match kind {
            EventType::WRITE_ROWS_V1 | EventType(166) => (RowsKind::Write, false),
            EventType::UPDATE_ROWS_V1 | EventType(167) => (RowsKind::Update, false),
            EventType::DELETE_ROWS_V1 | EventType(168) => (RowsKind::Delete, false),
            EventType::WRITE_ROWS | EventType(169) => (RowsKind::Write, true),
            EventType::DELETE_ROWS | EventType(171) => (RowsKind::Delete, true),
            _ => (RowsKind::Update, true),
        };
        let table_id = bytes.uint(if head == 6 { 4 } else { 6 }, what)?;
        let flags = bytes.u16(what)?;
        if second_version {
            // Extra data, its own length included: partitions, NDB. Nothing in it concerns the rows.
            let extra = usize::from(bytes.u16(what)?);
            bytes.take(extra.saturating_sub(2), what)?;
        }
        let columns = usize::try_from(bytes.lenenc(what)?).unwrap_or(usize::MAX);
        let bitmap = columns.div_ceil(8);
        let first = Bits(bytes.take(bitmap, what)?);
        let second = if row_kind == RowsKind::Update { Bits(bytes.take(bitmap, what)?) } else { first };
        Ok(Self {
            table_id,
            kind: row_kind,
            ends_statement: flags & Self::STATEMENT_END != 0,
            partial_json: kind == EventType::PARTIAL_UPDATE_ROWS,
            columns,
            first,
            second,
            data: bytes.rest(),
        })
    }

    /// MariaDB's `log_bin_compress`: all behind the bitmaps is compressed.
    pub(super) fn read_compressed(
        kind: EventType,
        bytes: Bytes<'a>,
        head: usize,
        most: usize,
        scratch: &'a mut Vec<u8>,
    ) -> Result<Self, DecodeError> {
        let rows = Self::read(kind, bytes, head)?;
        compressed::inflate(rows.data, most, scratch)?;
        Ok(Self { data: scratch, ..rows })
    }

    /// Whether an image of these rows lacks columns (`binlog_row_image` is not FULL).
    pub fn is_partial(&self) -> bool {
        [self.first, self.second].iter().any(|image| image.count(self.columns) < self.columns)
    }
}
