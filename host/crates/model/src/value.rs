//! The values a cell can hold, and their bytes.
//!
//! Every cell carries its own kind byte, because SQLite and scripts store values that differ from the
//! declared type of the column. Fixed-width values are little-endian.

use std::fmt;

/// What a cell's bytes mean. The numbers are part of the durable form and never change meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum CellKind {
    /// The image has no such column.
    Absent = 0,
    /// SQL NULL.
    Null = 1,
    /// The source did not log this column's value (unchanged TOAST, partial row image). Never NULL.
    Unavailable = 2,
    /// One byte, 0 or 1.
    Bool = 3,
    /// Signed 64-bit integer.
    Int = 4,
    /// Unsigned 64-bit integer.
    UInt = 5,
    /// IEEE 754 single; kept apart so that it prints with single precision.
    Float32 = 6,
    /// IEEE 754 double.
    Float64 = 7,
    /// Exact decimal as text; also `NaN` and `Infinity` of PostgreSQL's numeric.
    Decimal = 8,
    /// UTF-8 text.
    Text = 9,
    /// Bytes.
    Bytes = 10,
    /// Days since 1970-01-01, `i32`.
    Date = 11,
    /// Microseconds, `i64`; may be negative or beyond a day (MySQL's TIME).
    Time = 12,
    /// Microseconds since 1970-01-01 00:00 with no zone known, `i64`.
    DateTime = 13,
    /// Microseconds since 1970-01-01T00:00Z, `i64`.
    Timestamp = 14,
    /// JSON text.
    Json = 15,
    /// 16 bytes.
    Uuid = 16,
    /// The label of an ENUM.
    Enum = 17,
    /// The labels of a SET, comma-separated.
    Set = 18,
    /// An array, see [`ArrayWriter`].
    Array = 19,
}

impl CellKind {
    const ALL: [Self; 20] = [
        Self::Absent,
        Self::Null,
        Self::Unavailable,
        Self::Bool,
        Self::Int,
        Self::UInt,
        Self::Float32,
        Self::Float64,
        Self::Decimal,
        Self::Text,
        Self::Bytes,
        Self::Date,
        Self::Time,
        Self::DateTime,
        Self::Timestamp,
        Self::Json,
        Self::Uuid,
        Self::Enum,
        Self::Set,
        Self::Array,
    ];

    /// The kind with this number.
    #[inline]
    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.get(byte as usize).copied()
    }

    /// Whether the cell's bytes are UTF-8 text.
    #[inline]
    pub fn is_text(self) -> bool {
        matches!(self, Self::Decimal | Self::Text | Self::Json | Self::Enum | Self::Set)
    }

    /// The exact length of the cell's bytes, where the kind fixes it.
    #[inline]
    pub fn fixed_len(self) -> Option<usize> {
        Some(match self {
            Self::Absent | Self::Null | Self::Unavailable => 0,
            Self::Bool => 1,
            Self::Float32 | Self::Date => 4,
            Self::Int | Self::UInt | Self::Float64 | Self::Time | Self::DateTime | Self::Timestamp => 8,
            Self::Uuid => 16,
            _ => return None,
        })
    }
}

/// One value, borrowed from its batch.
#[derive(Clone, Copy, PartialEq)]
pub enum Cell<'a> {
    /// The image has no such column.
    Absent,
    /// SQL NULL.
    Null,
    /// The source did not log the value.
    Unavailable,
    /// A boolean.
    Bool(bool),
    /// A signed integer.
    Int(i64),
    /// An unsigned integer.
    UInt(u64),
    /// A single-precision float.
    Float32(f32),
    /// A double-precision float.
    Float64(f64),
    /// Exact decimal text.
    Decimal(&'a str),
    /// Text.
    Text(&'a str),
    /// Bytes.
    Bytes(&'a [u8]),
    /// Days since 1970-01-01.
    Date(i32),
    /// Microseconds of a time of day or an interval.
    Time(i64),
    /// Microseconds since 1970-01-01 00:00, zone unknown.
    DateTime(i64),
    /// Microseconds since 1970-01-01T00:00Z.
    Timestamp(i64),
    /// JSON text.
    Json(&'a str),
    /// A UUID.
    Uuid([u8; 16]),
    /// The label of an ENUM.
    Enum(&'a str),
    /// The labels of a SET, comma-separated.
    Set(&'a str),
    /// An array.
    Array(ArrayRef<'a>),
}

impl<'a> Cell<'a> {
    /// The cell's kind.
    pub fn kind(&self) -> CellKind {
        match self {
            Self::Absent => CellKind::Absent,
            Self::Null => CellKind::Null,
            Self::Unavailable => CellKind::Unavailable,
            Self::Bool(_) => CellKind::Bool,
            Self::Int(_) => CellKind::Int,
            Self::UInt(_) => CellKind::UInt,
            Self::Float32(_) => CellKind::Float32,
            Self::Float64(_) => CellKind::Float64,
            Self::Decimal(_) => CellKind::Decimal,
            Self::Text(_) => CellKind::Text,
            Self::Bytes(_) => CellKind::Bytes,
            Self::Date(_) => CellKind::Date,
            Self::Time(_) => CellKind::Time,
            Self::DateTime(_) => CellKind::DateTime,
            Self::Timestamp(_) => CellKind::Timestamp,
            Self::Json(_) => CellKind::Json,
            Self::Uuid(_) => CellKind::Uuid,
            Self::Enum(_) => CellKind::Enum,
            Self::Set(_) => CellKind::Set,
            Self::Array(_) => CellKind::Array,
        }
    }

    /// The text of a text-like cell (text, decimal, JSON, enum, set).
    pub fn as_str(&self) -> Option<&'a str> {
        match self {
            Self::Decimal(s) | Self::Text(s) | Self::Json(s) | Self::Enum(s) | Self::Set(s) => Some(s),
            _ => None,
        }
    }

    /// Appends the cell's bytes, without its kind.
    #[inline]
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Absent | Self::Null | Self::Unavailable => {}
            Self::Bool(v) => out.push(u8::from(*v)),
            Self::Int(v) | Self::Time(v) | Self::DateTime(v) | Self::Timestamp(v) => {
                out.extend_from_slice(&v.to_le_bytes());
            }
            Self::UInt(v) => out.extend_from_slice(&v.to_le_bytes()),
            Self::Float32(v) => out.extend_from_slice(&v.to_le_bytes()),
            Self::Float64(v) => out.extend_from_slice(&v.to_le_bytes()),
            Self::Decimal(s) | Self::Text(s) | Self::Json(s) | Self::Enum(s) | Self::Set(s) => {
                out.extend_from_slice(s.as_bytes());
            }
            Self::Bytes(b) => out.extend_from_slice(b),
            Self::Date(v) => out.extend_from_slice(&v.to_le_bytes()),
            Self::Uuid(b) => out.extend_from_slice(b),
            Self::Array(a) => out.extend_from_slice(a.bytes),
        }
    }

    /// Reads back what [`Cell::write`] wrote.
    ///
    /// `bytes` must have passed [`check`] for this kind: all cells inside a batch have, either because this
    /// crate wrote them or because the durable form was checked when it was read.
    #[inline]
    pub(crate) fn read(kind: CellKind, bytes: &'a [u8]) -> Self {
        match kind {
            CellKind::Absent => Self::Absent,
            CellKind::Null => Self::Null,
            CellKind::Unavailable => Self::Unavailable,
            CellKind::Bool => Self::Bool(bytes.first().is_some_and(|b| *b != 0)),
            CellKind::Int => Self::Int(i64::from_le_bytes(fixed(bytes))),
            CellKind::UInt => Self::UInt(u64::from_le_bytes(fixed(bytes))),
            CellKind::Float32 => Self::Float32(f32::from_le_bytes(fixed(bytes))),
            CellKind::Float64 => Self::Float64(f64::from_le_bytes(fixed(bytes))),
            CellKind::Decimal => Self::Decimal(utf8(bytes)),
            CellKind::Text => Self::Text(utf8(bytes)),
            CellKind::Bytes => Self::Bytes(bytes),
            CellKind::Date => Self::Date(i32::from_le_bytes(fixed(bytes))),
            CellKind::Time => Self::Time(i64::from_le_bytes(fixed(bytes))),
            CellKind::DateTime => Self::DateTime(i64::from_le_bytes(fixed(bytes))),
            CellKind::Timestamp => Self::Timestamp(i64::from_le_bytes(fixed(bytes))),
            CellKind::Json => Self::Json(utf8(bytes)),
            CellKind::Uuid => Self::Uuid(fixed(bytes)),
            CellKind::Enum => Self::Enum(utf8(bytes)),
            CellKind::Set => Self::Set(utf8(bytes)),
            CellKind::Array => Self::Array(ArrayRef { bytes }),
        }
    }
}

impl fmt::Debug for Cell<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent | Self::Null | Self::Unavailable => write!(f, "{:?}", self.kind()),
            Self::Bool(v) => write!(f, "Bool({v})"),
            Self::Int(v) => write!(f, "Int({v})"),
            Self::UInt(v) => write!(f, "UInt({v})"),
            Self::Float32(v) => write!(f, "Float32({v})"),
            Self::Float64(v) => write!(f, "Float64({v})"),
            Self::Date(v) => write!(f, "Date({v})"),
            Self::Time(v) => write!(f, "Time({v})"),
            Self::DateTime(v) => write!(f, "DateTime({v})"),
            Self::Timestamp(v) => write!(f, "Timestamp({v})"),
            Self::Bytes(b) => write!(f, "Bytes({} bytes)", b.len()),
            Self::Uuid(b) => write!(f, "Uuid({b:02x?})"),
            Self::Array(a) => f.debug_list().entries(a.iter()).finish(),
            Self::Decimal(s) | Self::Text(s) | Self::Json(s) | Self::Enum(s) | Self::Set(s) => {
                write!(f, "{:?}({s:?})", self.kind())
            }
        }
    }
}

/// The first `N` bytes, zero-filled when there are fewer (which [`check`] rules out).
#[inline]
fn fixed<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.first_chunk::<N>().copied().unwrap_or([0; N])
}

#[inline]
#[allow(unsafe_code)]
fn utf8(bytes: &[u8]) -> &str {
    debug_assert!(std::str::from_utf8(bytes).is_ok());
    // SAFETY: cells of a text kind are only ever written from `&str` ([`Cell::write`], [`crate::RowWriter`]) or
    // admitted by `check`, and the bytes of a batch are private to this crate and never changed afterwards.
    // Checking again on each read would cost more than encoding the cell.
    unsafe { std::str::from_utf8_unchecked(bytes) }
}

/// Deepest nesting of arrays that is read.
pub(crate) const MAX_ARRAY_DEPTH: u32 = 8;

/// Whether `bytes` are a well-formed value of `kind`. Used on everything that comes from outside.
pub fn check(kind: CellKind, bytes: &[u8]) -> bool {
    check_at(kind, bytes, 0)
}

fn check_at(kind: CellKind, bytes: &[u8], depth: u32) -> bool {
    if let Some(len) = kind.fixed_len() {
        return bytes.len() == len && (kind != CellKind::Bool || bytes[0] <= 1);
    }
    if kind.is_text() {
        return std::str::from_utf8(bytes).is_ok();
    }
    kind == CellKind::Bytes || (depth < MAX_ARRAY_DEPTH && check_array(bytes, depth))
}

fn check_array(mut bytes: &[u8], depth: u32) -> bool {
    while !bytes.is_empty() {
        let Some((head, rest)) = bytes.split_first_chunk::<5>() else { return false };
        let len = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let (Some(kind), Some(element)) = (CellKind::from_byte(head[0]), rest.get(..len)) else {
            return false;
        };
        if kind == CellKind::Absent || !check_at(kind, element, depth + 1) {
            return false;
        }
        bytes = &rest[len..];
    }
    true
}

/// An array value: its elements one after the other, each `kind: u8, len: u32, bytes`.
#[derive(Clone, Copy, PartialEq)]
pub struct ArrayRef<'a> {
    bytes: &'a [u8],
}

impl<'a> ArrayRef<'a> {
    /// Elements encoded as [`ArrayWriter`] does it; `None` when the bytes are not that.
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        check(CellKind::Array, bytes).then_some(Self { bytes })
    }

    /// The elements in order.
    pub fn iter(&self) -> impl Iterator<Item = Cell<'a>> + use<'a> {
        let mut bytes = self.bytes;
        std::iter::from_fn(move || {
            let (head, rest) = bytes.split_first_chunk::<5>()?;
            let len = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
            let element = rest.get(..len)?;
            bytes = &rest[len..];
            Some(Cell::read(CellKind::from_byte(head[0])?, element))
        })
    }

    /// The encoded elements.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

/// Builds an array value.
#[derive(Debug, Default)]
pub struct ArrayWriter {
    bytes: Vec<u8>,
}

impl ArrayWriter {
    /// Appends an element. [`Cell::Absent`] becomes NULL: an array has no holes. An array that would nest deeper
    /// than eight levels becomes JSON.
    ///
    /// # Panics
    ///
    /// If one element is longer than `u32::MAX` bytes.
    pub fn push(&mut self, cell: &Cell<'_>) -> &mut Self {
        if matches!(cell, Cell::Array(array) if !check_at(CellKind::Array, array.bytes, 1)) {
            let mut json = Vec::new();
            crate::json::write_cell(cell, &mut json);
            return self.push_value(CellKind::Json, &Cell::Bytes(&json));
        }
        let kind = if matches!(cell, Cell::Absent) { CellKind::Null } else { cell.kind() };
        self.push_value(kind, cell)
    }

    fn push_value(&mut self, kind: CellKind, cell: &Cell<'_>) -> &mut Self {
        self.bytes.push(kind as u8);
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        cell.write(&mut self.bytes);
        let len = u32::try_from(self.bytes.len() - at - 4).expect("an array element is shorter than 4 GiB");
        self.bytes[at..at + 4].copy_from_slice(&len.to_le_bytes());
        self
    }

    /// Takes all elements out, and keeps their room for the next value.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// The finished value.
    pub fn as_cell(&self) -> Cell<'_> {
        Cell::Array(ArrayRef { bytes: &self.bytes })
    }
}
