//! DECIMAL: groups of nine digits in four bytes, fewer digits in fewer bytes, the highest bit inverted, and all bits
//! inverted when negative (manual: "Fixed-Point Types", source `bin2decimal`).

use crate::bytes::{Bytes, big_endian};
use crate::error::DecodeError;

/// Bytes of 0 to 9 digits.
const BYTES: [u8; 10] = [0, 1, 1, 2, 2, 3, 3, 4, 4, 4];
/// What that many digits stay below.
const BOUND: [u32; 10] =
    [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000];
const WHAT: &str = "a DECIMAL";

/// A DECIMAL's digits before and behind its point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DecimalShape {
    whole: u8,
    scale: u8,
    bytes: u8,
}

impl DecimalShape {
    /// `None` when there is no such type.
    pub fn new(precision: u8, scale: u8) -> Option<Self> {
        if precision > 81 || scale > precision || precision == 0 {
            return None;
        }
        let len = |digits: u8| digits / 9 * 4 + BYTES[usize::from(digits % 9)];
        let whole = precision - scale;
        Some(Self { whole, scale, bytes: len(whole) + len(scale) })
    }

    /// Appends the next value's digits.
    pub fn read(self, bytes: &mut Bytes<'_>, out: &mut String) -> Result<(), DecodeError> {
        /// Bytes of 81 digits on each side at most.
        const MOST: usize = 80;
        let begin = out.len();
        let source = bytes.take(self.bytes.into(), WHAT)?;
        let mut plain = [0; MOST];
        let plain = &mut plain[..source.len()];
        plain.copy_from_slice(source);
        let positive = plain[0] & 0x80 != 0;
        plain[0] ^= 0x80;
        if !positive {
            plain.iter_mut().for_each(|byte| *byte = !*byte);
            out.push('-');
        }
        let mut groups = Bytes::new(plain);
        let start = out.len();
        let mut nonzero = Self::group(&mut groups, self.whole % 9, false, out)?;
        for _ in 0..self.whole / 9 {
            nonzero |= Self::group(&mut groups, 9, nonzero, out)?;
        }
        if out.len() == start {
            out.push('0');
        }
        if self.scale > 0 {
            out.push('.');
        }
        for _ in 0..self.scale / 9 {
            nonzero |= Self::group(&mut groups, 9, true, out)?;
        }
        nonzero |= Self::group(&mut groups, self.scale % 9, true, out)?;
        if !nonzero && !positive {
            // Zero has no sign.
            out.remove(begin);
        }
        Ok(())
    }

    /// Writes a group of digits, with leading zeros when `all`; answers whether one of them is not zero.
    fn group(bytes: &mut Bytes<'_>, digits: u8, all: bool, out: &mut String) -> Result<bool, DecodeError> {
        if digits == 0 {
            return Ok(false);
        }
        let digits = usize::from(digits);
        let value = big_endian(bytes.take(BYTES[digits].into(), WHAT)?) as u32;
        if value >= BOUND[digits] {
            return Err(DecodeError::corrupt(WHAT, format!("{value} in a group of {digits} digits")));
        }
        if value == 0 && !all {
            return Ok(false);
        }
        let mut buffer = itoa::Buffer::new();
        let text = buffer.format(value);
        if all {
            out.push_str(&"00000000"[..digits - text.len()]);
        }
        out.push_str(text);
        Ok(value != 0)
    }
}
