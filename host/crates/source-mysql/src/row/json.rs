//! MySQL's binary JSON, as text (source documentation: `json_binary.h`).
//!
//! The text is what the server prints (`SELECT`), without its white space between tokens: numbers digit for digit,
//! members in the server's order.

use std::fmt::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::decimal::DecimalShape;
use super::temporal;
use crate::bytes::{Bytes, text};
use crate::error::DecodeError;

const WHAT: &str = "a JSON document";
/// Servers refuse deeper ones (100).
const MAX_DEPTH: usize = 128;

/// Types of values.
mod kind {
    pub const SMALL_OBJECT: u8 = 0;
    pub const LARGE_OBJECT: u8 = 1;
    pub const SMALL_ARRAY: u8 = 2;
    pub const LARGE_ARRAY: u8 = 3;
    pub const LITERAL: u8 = 4;
    pub const INT16: u8 = 5;
    pub const UINT16: u8 = 6;
    pub const INT32: u8 = 7;
    pub const UINT32: u8 = 8;
    pub const INT64: u8 = 9;
    pub const UINT64: u8 = 10;
    pub const DOUBLE: u8 = 11;
    pub const STRING: u8 = 12;
    pub const OPAQUE: u8 = 15;
}

/// A value inside of a document: its type and the bytes from it on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Value<'a> {
    kind: u8,
    bytes: &'a [u8],
}

/// An object or array: where its parts stand. Positions count from its own beginning.
#[derive(Debug, Clone, Copy)]
pub(super) struct Container<'a> {
    bytes: &'a [u8],
    pub count: usize,
    pub is_object: bool,
    /// Bytes of a position.
    wide: usize,
}

impl<'a> Value<'a> {
    /// A whole document. Servers keep an empty one in a NOT NULL column that nobody gave a value: it reads as null.
    pub fn document(document: &'a [u8]) -> Self {
        match document.split_first() {
            Some((kind, bytes)) => Self { kind: *kind, bytes },
            None => Self { kind: kind::LITERAL, bytes: &[0] },
        }
    }

    /// Its parts, if it is an object or array.
    pub fn container(self) -> Result<Option<Container<'a>>, DecodeError> {
        let (is_object, wide) = match self.kind {
            kind::SMALL_OBJECT => (true, 2),
            kind::LARGE_OBJECT => (true, 4),
            kind::SMALL_ARRAY => (false, 2),
            kind::LARGE_ARRAY => (false, 4),
            _ => return Ok(None),
        };
        let mut head = Bytes::new(self.bytes);
        let count = head.uint(wide, WHAT)? as usize;
        let size = head.uint(wide, WHAT)? as usize;
        let bytes = self.bytes.get(..size).ok_or_else(|| broken("a container beyond the document"))?;
        let container = Container { bytes, count, is_object, wide };
        if container.values_at() + count * (1 + wide) > size {
            return Err(broken("a container with more members than bytes"));
        }
        Ok(Some(container))
    }
}

impl<'a> Container<'a> {
    fn values_at(&self) -> usize {
        2 * self.wide + if self.is_object { self.count * (self.wide + 2) } else { 0 }
    }

    fn from(&self, at: usize) -> Bytes<'a> {
        Bytes::new(self.bytes.get(at..).unwrap_or_default())
    }

    /// The name of a member.
    pub fn name(&self, member: usize) -> Result<&'a str, DecodeError> {
        let mut entry = self.from(2 * self.wide + member * (self.wide + 2));
        let at = entry.uint(self.wide, WHAT)? as usize;
        let len = usize::from(entry.u16(WHAT)?);
        self.from(at).text(len, WHAT)
    }

    /// A member's or element's value. Small ones stand in the entry itself.
    pub fn value(&self, at: usize) -> Result<Value<'a>, DecodeError> {
        let mut entry = self.from(self.values_at() + at * (1 + self.wide));
        let kind = entry.u8(WHAT)?;
        let inlined = match kind {
            kind::LITERAL | kind::INT16 | kind::UINT16 => true,
            kind::INT32 | kind::UINT32 => self.wide == 4,
            _ => false,
        };
        if inlined {
            return Ok(Value { kind, bytes: entry.take(self.wide, WHAT)? });
        }
        let at = entry.uint(self.wide, WHAT)? as usize;
        Ok(Value { kind, bytes: self.bytes.get(at..).ok_or_else(|| broken("a value beyond its container"))? })
    }
}

#[cold]
fn broken(why: &'static str) -> DecodeError {
    DecodeError::corrupt(WHAT, why)
}

/// Appends a document as text.
pub(super) fn write(document: &[u8], out: &mut String) -> Result<(), DecodeError> {
    Writer::new(document.len(), out).value(Value::document(document), 0)
}

/// Appends values as text. Parts of a document may share bytes in a broken one, so that a short one might become text
/// without end: what was read is counted against the bytes there are.
pub(super) struct Writer<'o> {
    pub out: &'o mut String,
    fuel: usize,
}

impl<'o> Writer<'o> {
    /// For documents of so many bytes together.
    pub fn new(bytes: usize, out: &'o mut String) -> Self {
        Self { out, fuel: bytes.saturating_add(16) }
    }

    fn burn(&mut self, bytes: usize) -> Result<(), DecodeError> {
        self.fuel = self.fuel.checked_sub(bytes).ok_or_else(|| broken("its parts overlap"))?;
        Ok(())
    }

    pub fn value(&mut self, value: Value<'_>, depth: usize) -> Result<(), DecodeError> {
        if depth > MAX_DEPTH {
            return Err(broken("it is nested too deeply"));
        }
        if let Some(container) = value.container()? {
            return self.container(container, depth);
        }
        let mut bytes = Bytes::new(value.bytes);
        let mut number = itoa::Buffer::new();
        let digits = match value.kind {
            kind::LITERAL => match bytes.u8(WHAT)? {
                0 => "null",
                1 => "true",
                2 => "false",
                _ => return Err(broken("a literal that is none")),
            },
            kind::INT16 => number.format(bytes.u16(WHAT)? as i16),
            kind::UINT16 => number.format(bytes.u16(WHAT)?),
            kind::INT32 => number.format(bytes.u32(WHAT)? as i32),
            kind::UINT32 => number.format(bytes.u32(WHAT)?),
            kind::INT64 => number.format(bytes.u64(WHAT)? as i64),
            kind::UINT64 => number.format(bytes.u64(WHAT)?),
            kind::DOUBLE => {
                double(f64::from_le_bytes(bytes.array(WHAT)?), self.out);
                ""
            }
            kind::STRING => {
                let string = sized(&mut bytes)?;
                self.burn(string.len())?;
                self.string(text(string, WHAT)?);
                ""
            }
            kind::OPAQUE => {
                self.opaque(&mut bytes)?;
                ""
            }
            _ => return Err(broken("a value of an unknown type")),
        };
        self.out.push_str(digits);
        Ok(())
    }

    fn container(&mut self, container: Container<'_>, depth: usize) -> Result<(), DecodeError> {
        self.burn(container.values_at() + container.count * (1 + container.wide))?;
        self.out.push(if container.is_object { '{' } else { '[' });
        for at in 0..container.count {
            if at > 0 {
                self.out.push(',');
            }
            if container.is_object {
                let name = container.name(at)?;
                self.burn(name.len())?;
                self.string(name);
                self.out.push(':');
            }
            self.value(container.value(at)?, depth + 1)?;
        }
        self.out.push(if container.is_object { '}' } else { ']' });
        Ok(())
    }

    /// A string in quotes, escaped as the server does it.
    pub fn string(&mut self, string: &str) {
        let out = &mut *self.out;
        out.push('"');
        let mut plain = 0;
        for (at, byte) in string.bytes().enumerate() {
            let escape = match byte {
                b'"' => "\\\"",
                b'\\' => "\\\\",
                0x08 => "\\b",
                b'\t' => "\\t",
                b'\n' => "\\n",
                0x0c => "\\f",
                b'\r' => "\\r",
                0..0x20 => "",
                _ => continue,
            };
            out.push_str(&string[plain..at]);
            plain = at + 1;
            if escape.is_empty() {
                let _ = write!(out, "\\u{byte:04x}");
            } else {
                out.push_str(escape);
            }
        }
        out.push_str(&string[plain..]);
        out.push('"');
    }

    /// A value of a SQL type that JSON does not have.
    fn opaque(&mut self, bytes: &mut Bytes<'_>) -> Result<(), DecodeError> {
        use crate::binlog::table_map::wire;
        let kind = bytes.u8(WHAT)?;
        let value = sized(bytes)?;
        self.burn(value.len())?;
        let mut content = Bytes::new(value);
        match kind {
            wire::NEWDECIMAL => {
                let shape = DecimalShape::new(content.u8(WHAT)?, content.u8(WHAT)?);
                shape.ok_or_else(|| broken("a DECIMAL that is none"))?.read(&mut content, self.out)?;
            }
            wire::DATE | wire::DATETIME | wire::TIMESTAMP => {
                let packed = content.u64(WHAT)?;
                let mut parts = temporal::unpack(packed >> 24 & 0xff_ffff_ffff);
                parts.micros = packed as u32 & 0xff_ffff;
                self.out.push('"');
                if kind == wire::DATE {
                    parts.write_date(self.out);
                } else {
                    parts.write_datetime(6, self.out);
                }
                self.out.push('"');
            }
            wire::TIME => {
                let packed = content.u64(WHAT)? as i64;
                let size = packed.unsigned_abs();
                let clock = (size >> 24) as u32;
                let sign = if packed < 0 { "-" } else { "" };
                let (hours, minutes, seconds) = (clock >> 12 & 0x3ff, clock >> 6 & 63, clock & 63);
                let _ = write!(self.out, "\"{sign}{hours:02}:{minutes:02}:{seconds:02}");
                temporal::write_fraction(size as u32 & 0xff_ffff, 6, self.out);
                self.out.push('"');
            }
            _ => {
                let _ = write!(self.out, "\"base64:type{kind}:");
                // The server breaks its lines after 76 characters, and escapes the breaks.
                for (at, line) in value.chunks(57).enumerate() {
                    if at > 0 {
                        self.out.push_str("\\n");
                    }
                    BASE64.encode_string(line, self.out);
                }
                self.out.push('"');
            }
        }
        Ok(())
    }
}

/// Bytes with their length before them, seven bits a byte, the lowest first.
fn sized<'a>(bytes: &mut Bytes<'a>) -> Result<&'a [u8], DecodeError> {
    let mut len = 0u64;
    for shift in (0..35).step_by(7) {
        let byte = bytes.u8(WHAT)?;
        len |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return bytes.take(len as usize, WHAT);
        }
    }
    Err(broken("a length that does not end"))
}

/// A double as the server prints it: the shortest digits that read back the same, without an exponent while the point
/// stands within or near them, and always to be told from an integer.
pub(super) fn double(value: f64, out: &mut String) {
    let mut buffer = ryu::Buffer::new();
    if !value.is_finite() {
        // JSON has none, and the server stores none.
        out.push_str("null");
        return;
    }
    let shortest = buffer.format_finite(value);
    let (sign, shortest) = shortest.strip_prefix('-').map_or(("", shortest), |rest| ("-", rest));
    let (mantissa, exponent) = shortest.split_once('e').unwrap_or((shortest, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut digits = [0u8; 40];
    let mut len = 0;
    for digit in whole.bytes().chain(fraction.bytes()) {
        if let Some(to) = digits.get_mut(len) {
            *to = digit;
            len += 1;
        }
    }
    let all = std::str::from_utf8(&digits[..len]).unwrap_or_default();
    // Where the point stands among the digits that matter.
    let leading = all.len() - all.trim_start_matches('0').len();
    let point = whole.len() as i32 + exponent.parse::<i32>().unwrap_or(0) - leading as i32;
    let all = all.trim_start_matches('0').trim_end_matches('0');
    out.push_str(sign);
    if all.is_empty() {
        out.push_str("0.0");
        return;
    }
    layout_double(all, point, out);
}

fn layout_double(all: &str, point: i32, out: &mut String) {
    let len = all.len() as i32;
    if point < -14 || (point > 15 && len <= point) {
        out.push_str(&all[..1]);
        if len > 1 {
            out.push('.');
            out.push_str(&all[1..]);
        }
        let _ = write!(out, "e{}", point - 1);
    } else if point <= 0 {
        out.push_str("0.");
        out.extend(std::iter::repeat_n('0', -point as usize));
        out.push_str(all);
    } else if point >= len {
        out.push_str(all);
        out.extend(std::iter::repeat_n('0', (point - len) as usize));
        out.push_str(".0");
    } else {
        out.push_str(&all[..point as usize]);
        out.push('.');
        out.push_str(&all[point as usize..]);
    }
}
