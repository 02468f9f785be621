//! TABLE_MAP_EVENT: what the rows that follow look like.

use super::metadata::Metadata;
use crate::bytes::{Bits, Bytes, text};
use crate::error::DecodeError;

/// A table's number in the log, and its columns' types.
#[derive(Debug, Clone, Copy)]
pub struct TableMap<'a> {
    /// The number by which row events name the table. It lasts as long as the server keeps the table open.
    pub table_id: u64,
    /// Its database.
    pub database: &'a str,
    /// Its name.
    pub table: &'a str,
    /// All behind the number: two events with equal ones say the same.
    pub(crate) definition: &'a [u8],
    types: &'a [u8],
    type_metadata: &'a [u8],
    nullable: Bits<'a>,
    /// Whether MariaDB wrote it, which counts columns otherwise in what follows.
    pub(crate) mariadb: bool,
    /// What the server says of the columns besides their types.
    pub(crate) metadata: Metadata<'a>,
}

/// One column as a table map has it: a type number and what is needed to read its cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WireColumn {
    /// The type of its cells: ENUM and SET stand apart from CHAR here.
    pub kind: u8,
    /// Depends on the type: a length, a precision, digits of seconds.
    pub meta: u16,
    pub nullable: bool,
}

/// Type numbers of columns (manual: `enum_field_types`).
#[allow(missing_docs)]
pub(crate) mod wire {
    pub const TINY: u8 = 1;
    pub const SHORT: u8 = 2;
    pub const LONG: u8 = 3;
    pub const FLOAT: u8 = 4;
    pub const DOUBLE: u8 = 5;
    pub const NULL: u8 = 6;
    pub const TIMESTAMP: u8 = 7;
    pub const LONGLONG: u8 = 8;
    pub const INT24: u8 = 9;
    pub const DATE: u8 = 10;
    pub const TIME: u8 = 11;
    pub const DATETIME: u8 = 12;
    pub const YEAR: u8 = 13;
    pub const NEWDATE: u8 = 14;
    pub const VARCHAR: u8 = 15;
    pub const BIT: u8 = 16;
    pub const TIMESTAMP2: u8 = 17;
    pub const DATETIME2: u8 = 18;
    pub const TIME2: u8 = 19;
    pub const MARIADB_BLOB_COMPRESSED: u8 = 140;
    pub const MARIADB_VARCHAR_COMPRESSED: u8 = 141;
    pub const VECTOR: u8 = 242;
    pub const JSON: u8 = 245;
    pub const NEWDECIMAL: u8 = 246;
    pub const ENUM: u8 = 247;
    pub const SET: u8 = 248;
    pub const TINY_BLOB: u8 = 249;
    pub const MEDIUM_BLOB: u8 = 250;
    pub const LONG_BLOB: u8 = 251;
    pub const BLOB: u8 = 252;
    pub const VAR_STRING: u8 = 253;
    pub const STRING: u8 = 254;
    pub const GEOMETRY: u8 = 255;
}

impl<'a> TableMap<'a> {
    const WHAT: &'static str = "a table map";
    /// The bound of both servers.
    const MOST_COLUMNS: usize = 4096;

    pub(super) fn read(mut bytes: Bytes<'a>, head: usize, mariadb: bool) -> Result<Self, DecodeError> {
        let what = Self::WHAT;
        // Servers before 5.1.4 had numbers of four bytes.
        let mut fixed = Bytes::new(bytes.take(head.max(6), what)?);
        let table_id = fixed.uint(if head == 6 { 4 } else { 6 }, what)?;
        let definition = bytes.rest();
        let database = Self::name(&mut bytes)?;
        let table = Self::name(&mut bytes)?;
        let types = bytes.lenenc_bytes(what)?;
        if types.len() > Self::MOST_COLUMNS {
            let why = format!("{} columns, and no server has more than {}", types.len(), Self::MOST_COLUMNS);
            return Err(DecodeError::corrupt(what, why));
        }
        let type_metadata = bytes.lenenc_bytes(what)?;
        let nullable = Bits(bytes.take(types.len().div_ceil(8), what)?);
        let metadata = Metadata::read(bytes)?;
        Ok(Self { table_id, database, table, definition, types, type_metadata, nullable, mariadb, metadata })
    }

    fn name(bytes: &mut Bytes<'a>) -> Result<&'a str, DecodeError> {
        let name = text(bytes.lenenc_bytes(Self::WHAT)?, Self::WHAT)?;
        bytes.u8(Self::WHAT)?;
        Ok(name)
    }

    /// How many columns rows have.
    pub fn column_count(&self) -> usize {
        self.types.len()
    }

    /// `database.table`.
    pub fn qualified(&self) -> String {
        format!("{}.{}", self.database, self.table)
    }

    /// The columns in order.
    pub(crate) fn columns(&self) -> Result<Vec<WireColumn>, DecodeError> {
        let what = "a table map's columns";
        let mut meta = Bytes::new(self.type_metadata);
        let mut columns = Vec::with_capacity(self.types.len());
        for (at, &kind) in self.types.iter().enumerate() {
            let nullable = self.nullable.get(at);
            let (kind, meta) = match kind {
                wire::FLOAT
                | wire::DOUBLE
                | wire::TIMESTAMP2
                | wire::DATETIME2
                | wire::TIME2
                | wire::BLOB
                | wire::TINY_BLOB
                | wire::MEDIUM_BLOB
                | wire::LONG_BLOB
                | wire::MARIADB_BLOB_COMPRESSED
                | wire::GEOMETRY
                | wire::JSON
                | wire::VECTOR => (kind, u16::from(meta.u8(what)?)),
                wire::VARCHAR | wire::VAR_STRING | wire::BIT | wire::MARIADB_VARCHAR_COMPRESSED => {
                    (kind, meta.u16(what)?)
                }
                wire::NEWDECIMAL => (kind, u16::from_be_bytes(meta.array(what)?)),
                wire::STRING | wire::ENUM | wire::SET => string(meta.array(what)?),
                wire::TINY
                | wire::SHORT
                | wire::INT24
                | wire::LONG
                | wire::LONGLONG
                | wire::NULL
                | wire::TIMESTAMP
                | wire::DATE
                | wire::TIME
                | wire::DATETIME
                | wire::YEAR
                | wire::NEWDATE => (kind, 0),
                other => {
                    let why = format!("type {other} of column {} is not known; upgrade DeltaForge", at + 1);
                    return Err(DecodeError::corrupt(what, why));
                }
            };
            columns.push(WireColumn { kind, meta, nullable });
        }
        Ok(columns)
    }
}

/// The real type and the length of a CHAR, ENUM or SET. Lengths above 255 have their two highest bits, inverted, in
/// the type.
fn string([kind, len]: [u8; 2]) -> (u8, u16) {
    if kind & 0x30 == 0x30 {
        return (kind, u16::from(len));
    }
    (kind | 0x30, u16::from(len) | u16::from((kind & 0x30) ^ 0x30) << 4)
}
