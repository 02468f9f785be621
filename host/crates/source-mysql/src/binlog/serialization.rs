//! The self-describing format of newer events (`mysql::serialization` of MySQL 8.3 and later).
//!
//! A message is `version, size, last non-ignorable field`, then its fields as `number, value`, in ascending order;
//! fields that have nothing to say are left out. Every number is a variable-length integer: as many trailing ones
//! in the first byte as bytes follow, then a zero, then the value, little-endian. Signed ones are zigzag-coded.

use crate::bytes::Bytes;
use crate::error::DecodeError;

/// A variable-length integer.
pub(crate) fn unsigned(bytes: &mut Bytes<'_>, what: &'static str) -> Result<u64, DecodeError> {
    let first = bytes.u8(what)?;
    let more = first.trailing_ones() as usize;
    let rest = bytes.uint(more, what)?;
    Ok(match more {
        7 | 8 => rest,
        _ => u64::from(first) >> (more + 1) | rest << (7 - more),
    })
}

/// A signed one.
pub(crate) fn signed(bytes: &mut Bytes<'_>, what: &'static str) -> Result<i64, DecodeError> {
    let coded = unsigned(bytes, what)?;
    Ok((coded >> 1) as i64 ^ -((coded & 1) as i64))
}

/// The fields of a message.
pub(crate) struct Fields<'a> {
    bytes: Bytes<'a>,
    last_needed: u64,
    what: &'static str,
}

impl<'a> Fields<'a> {
    pub fn read(event: &mut Bytes<'a>, what: &'static str) -> Result<Self, DecodeError> {
        let whole = event.len();
        let version = unsigned(event, what)?;
        if version != 1 {
            return Err(DecodeError::corrupt(what, format!("version {version} of its format is not known")));
        }
        let size = usize::try_from(unsigned(event, what)?).unwrap_or(usize::MAX);
        // The size counts from the version on.
        let read = whole - event.len();
        let Some(left) = size.checked_sub(read) else {
            return Err(DecodeError::corrupt(what, format!("it says to be of {size} bytes")));
        };
        let mut bytes = Bytes::new(event.take(left, what)?);
        let last_needed = unsigned(&mut bytes, what)?;
        Ok(Self { bytes, last_needed, what })
    }

    /// The number of the next field, and where its value is to be read; `None` at the end.
    pub fn next(&mut self) -> Result<Option<(u64, &mut Bytes<'a>)>, DecodeError> {
        if self.bytes.is_empty() {
            return Ok(None);
        }
        let field = unsigned(&mut self.bytes, self.what)?;
        Ok(Some((field, &mut self.bytes)))
    }

    /// Called at a field that is not known: the end when all that follow may be ignored.
    pub fn unknown(&self, field: u64) -> Result<(), DecodeError> {
        if field <= self.last_needed {
            let why = format!("field {field} is not known and may not be ignored; upgrade DeltaForge");
            return Err(DecodeError::corrupt(self.what, why));
        }
        Ok(())
    }
}
