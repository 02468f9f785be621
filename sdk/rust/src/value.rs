//! One value that borrows from the batch or owns itself.

use std::borrow::Cow;

use deltaforge_model::Cell;
use deltaforge_model::value::{ArrayRef, CellKind};

/// One cell, exactly as the source gave it.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Value<'a> {
    /// The row has no such column. In an edit: leave the cell as it is.
    #[default]
    Absent,
    /// SQL NULL.
    Null,
    /// The source did not log the value (unchanged TOAST, partial row image); it is not NULL. In an edit: leave
    /// the cell as it is.
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
    /// Exact decimal text; also `NaN` and `Infinity`.
    Decimal(Cow<'a, str>),
    /// Text.
    Text(Cow<'a, str>),
    /// Bytes.
    Bytes(Cow<'a, [u8]>),
    /// Days since 1970-01-01.
    Date(i32),
    /// Microseconds; may be negative or beyond a day.
    Time(i64),
    /// Microseconds since 1970-01-01 00:00, no zone known.
    DateTime(i64),
    /// Microseconds since 1970-01-01T00:00Z.
    Timestamp(i64),
    /// JSON text.
    Json(Cow<'a, str>),
    /// A UUID.
    Uuid([u8; 16]),
    /// The label of an ENUM.
    Enum(Cow<'a, str>),
    /// The labels of a SET, comma-separated.
    Set(Cow<'a, str>),
    /// An array, its elements encoded one after the other.
    Array(Cow<'a, [u8]>),
}

impl<'a> Value<'a> {
    /// NULL, absent or unavailable: nothing to look at.
    pub fn is_nothing(&self) -> bool {
        matches!(self, Self::Absent | Self::Null | Self::Unavailable)
    }

    /// The text of a text, decimal, JSON, ENUM or SET.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Decimal(s) | Self::Text(s) | Self::Json(s) | Self::Enum(s) | Self::Set(s) => Some(s),
            _ => None,
        }
    }

    /// An integer, signed or not, that fits.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Int(v) => Some(*v),
            Self::UInt(v) => i64::try_from(*v).ok(),
            _ => None,
        }
    }

    /// A boolean.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(v) => Some(*v),
            _ => None,
        }
    }

    /// Bytes.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(v) => Some(v),
            _ => None,
        }
    }

    /// The elements of an array.
    pub fn elements(&self) -> Option<impl Iterator<Item = Value<'_>>> {
        match self.as_cell() {
            Cell::Array(array) => Some(array.iter().map(Value::from)),
            _ => None,
        }
    }

    /// The value's JSON form, as messages show it.
    pub fn to_json(&self) -> String {
        let mut out = Vec::new();
        deltaforge_model::json::write_cell(&self.as_cell(), &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    /// The same value, owning its bytes.
    pub fn into_owned(self) -> Value<'static> {
        let text = |s: Cow<'_, str>| Cow::Owned(s.into_owned());
        match self {
            Self::Absent => Value::Absent,
            Self::Null => Value::Null,
            Self::Unavailable => Value::Unavailable,
            Self::Bool(v) => Value::Bool(v),
            Self::Int(v) => Value::Int(v),
            Self::UInt(v) => Value::UInt(v),
            Self::Float32(v) => Value::Float32(v),
            Self::Float64(v) => Value::Float64(v),
            Self::Decimal(s) => Value::Decimal(text(s)),
            Self::Text(s) => Value::Text(text(s)),
            Self::Bytes(b) => Value::Bytes(Cow::Owned(b.into_owned())),
            Self::Date(v) => Value::Date(v),
            Self::Time(v) => Value::Time(v),
            Self::DateTime(v) => Value::DateTime(v),
            Self::Timestamp(v) => Value::Timestamp(v),
            Self::Json(s) => Value::Json(text(s)),
            Self::Uuid(v) => Value::Uuid(v),
            Self::Enum(s) => Value::Enum(text(s)),
            Self::Set(s) => Value::Set(text(s)),
            Self::Array(b) => Value::Array(Cow::Owned(b.into_owned())),
        }
    }

    /// The same value, borrowing from this one.
    pub fn by_ref(&self) -> Value<'_> {
        match self {
            Self::Array(bytes) => Value::Array(Cow::Borrowed(bytes)),
            other => other.as_cell().into(),
        }
    }

    /// The value in the batch's own form. Bytes of an array that are none become [`Cell::Null`].
    pub fn as_cell(&self) -> Cell<'_> {
        match self {
            Self::Absent => Cell::Absent,
            Self::Null => Cell::Null,
            Self::Unavailable => Cell::Unavailable,
            Self::Bool(v) => Cell::Bool(*v),
            Self::Int(v) => Cell::Int(*v),
            Self::UInt(v) => Cell::UInt(*v),
            Self::Float32(v) => Cell::Float32(*v),
            Self::Float64(v) => Cell::Float64(*v),
            Self::Decimal(s) => Cell::Decimal(s),
            Self::Text(s) => Cell::Text(s),
            Self::Bytes(b) => Cell::Bytes(b),
            Self::Date(v) => Cell::Date(*v),
            Self::Time(v) => Cell::Time(*v),
            Self::DateTime(v) => Cell::DateTime(*v),
            Self::Timestamp(v) => Cell::Timestamp(*v),
            Self::Json(s) => Cell::Json(s),
            Self::Uuid(v) => Cell::Uuid(*v),
            Self::Enum(s) => Cell::Enum(s),
            Self::Set(s) => Cell::Set(s),
            Self::Array(b) => ArrayRef::new(b).map_or(Cell::Null, Cell::Array),
        }
    }

    /// The kind of the value.
    pub fn kind(&self) -> CellKind {
        self.as_cell().kind()
    }
}

impl<'a> From<Cell<'a>> for Value<'a> {
    #[inline]
    fn from(cell: Cell<'a>) -> Self {
        match cell {
            Cell::Absent => Self::Absent,
            Cell::Null => Self::Null,
            Cell::Unavailable => Self::Unavailable,
            Cell::Bool(v) => Self::Bool(v),
            Cell::Int(v) => Self::Int(v),
            Cell::UInt(v) => Self::UInt(v),
            Cell::Float32(v) => Self::Float32(v),
            Cell::Float64(v) => Self::Float64(v),
            Cell::Decimal(s) => Self::Decimal(Cow::Borrowed(s)),
            Cell::Text(s) => Self::Text(Cow::Borrowed(s)),
            Cell::Bytes(b) => Self::Bytes(Cow::Borrowed(b)),
            Cell::Date(v) => Self::Date(v),
            Cell::Time(v) => Self::Time(v),
            Cell::DateTime(v) => Self::DateTime(v),
            Cell::Timestamp(v) => Self::Timestamp(v),
            Cell::Json(s) => Self::Json(Cow::Borrowed(s)),
            Cell::Uuid(v) => Self::Uuid(v),
            Cell::Enum(s) => Self::Enum(Cow::Borrowed(s)),
            Cell::Set(s) => Self::Set(Cow::Borrowed(s)),
            Cell::Array(a) => Self::Array(Cow::Borrowed(a.as_bytes())),
        }
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl From<i64> for Value<'_> {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<f64> for Value<'_> {
    fn from(value: f64) -> Self {
        Self::Float64(value)
    }
}

impl From<bool> for Value<'_> {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}
