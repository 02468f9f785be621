//! How a column's cells are read. Made once a table.

use std::net::{Ipv4Addr, Ipv6Addr};

use deltaforge_model::value::ArrayWriter;
use deltaforge_model::{Cell, RowWriter};

use super::decimal::DecimalShape;
use super::{json, temporal};
use crate::binlog::compressed::inflate_column;
use crate::bytes::{Bytes, big_endian};
use crate::charset::Charset;
use crate::error::DecodeError;

/// Bytes of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Width {
    One,
    Two,
    Three,
    Four,
    Eight,
}

/// How a column's cells are read. `prefix` is how many bytes of length a value has before it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Codec {
    Null,
    Int(Width),
    UInt(Width),
    Float32,
    Float64,
    Decimal(DecimalShape),
    Bit {
        bytes: u8,
    },
    Year,
    Date,
    Time {
        digits: u8,
    },
    DateTime {
        digits: u8,
    },
    Timestamp {
        digits: u8,
    },
    OldTime,
    OldDateTime,
    OldTimestamp,
    Text {
        prefix: u8,
        charset: Charset,
    },
    Bytes {
        prefix: u8,
    },
    /// Zeros at its end are not in the log.
    Padded {
        prefix: u8,
        len: u16,
    },
    /// MariaDB's COMPRESSED columns.
    Compressed {
        prefix: u8,
        charset: Charset,
    },
    Enum {
        bytes: u8,
        labels: Box<[Box<str>]>,
    },
    Set {
        bytes: u8,
        labels: Box<[Box<str>]>,
    },
    Json {
        prefix: u8,
    },
    /// JSON of MariaDB, which is text.
    JsonText {
        prefix: u8,
        charset: Charset,
    },
    Geometry {
        prefix: u8,
    },
    Vector {
        prefix: u8,
    },
    Uuid {
        prefix: u8,
    },
    Inet4 {
        prefix: u8,
    },
    Inet6 {
        prefix: u8,
    },
}

/// Room for what is made of values on their way into a batch.
#[derive(Debug, Default)]
pub(crate) struct Room {
    pub text: String,
    pub bytes: Vec<u8>,
    array: ArrayWriter,
}

/// What a compressed value of a column may take: servers hold no longer ones.
const MOST_COLUMN_BYTES: usize = u32::MAX as usize;

impl Codec {
    /// Reads the next value into the row.
    #[inline]
    pub fn read(
        &self,
        bytes: &mut Bytes<'_>,
        row: &mut RowWriter<'_>,
        room: &mut Room,
    ) -> Result<(), DecodeError> {
        match self {
            Self::Null => row.push(&Cell::Null),
            Self::Int(width) => row.push(&Cell::Int(signed(bytes, *width)?)),
            Self::UInt(width) => row.push(&Cell::UInt(unsigned(bytes, *width)?)),
            Self::Float32 => row.push(&Cell::Float32(f32::from_le_bytes(bytes.array("a FLOAT")?))),
            Self::Float64 => row.push(&Cell::Float64(f64::from_le_bytes(bytes.array("a DOUBLE")?))),
            Self::Decimal(shape) => {
                room.text.clear();
                shape.read(bytes, &mut room.text)?;
                row.push(&Cell::Decimal(&room.text))
            }
            Self::Text { prefix, charset } => {
                push_text(variable(bytes, *prefix)?, *charset, row, &mut room.text)
            }
            Self::Bytes { prefix } => row.push(&Cell::Bytes(variable(bytes, *prefix)?)),
            Self::Date => return temporal::date(bytes, row, &mut room.text),
            Self::Time { digits } => return temporal::time2(bytes, *digits, row),
            Self::DateTime { digits } => return temporal::datetime2(bytes, *digits, row, &mut room.text),
            Self::Timestamp { digits } => {
                return temporal::timestamp(bytes, Some(*digits), row, &mut room.text);
            }
            Self::Json { prefix } => return push_json(variable(bytes, *prefix)?, row, room),
            other => return other.read_rare(bytes, row, room),
        };
        Ok(())
    }

    fn read_rare(
        &self,
        bytes: &mut Bytes<'_>,
        row: &mut RowWriter<'_>,
        room: &mut Room,
    ) -> Result<(), DecodeError> {
        match self {
            Self::Bit { bytes: width } => {
                row.push(&Cell::UInt(big_endian(bytes.take(usize::from(*width), "a BIT")?)))
            }
            Self::Year => {
                let year = i64::from(bytes.u8("a YEAR")?);
                row.push(&Cell::Int(if year == 0 { 0 } else { 1900 + year }))
            }
            Self::OldTime => return temporal::old_time(bytes, row),
            Self::OldDateTime => return temporal::old_datetime(bytes, row, &mut room.text),
            Self::OldTimestamp => return temporal::timestamp(bytes, None, row, &mut room.text),
            Self::Padded { prefix, len } => {
                row.push(&Cell::Bytes(padded(bytes, *prefix, *len, &mut room.bytes)?))
            }
            Self::Compressed { prefix, charset } => {
                inflate_column(variable(bytes, *prefix)?, MOST_COLUMN_BYTES, &mut room.bytes)?;
                push_text(&room.bytes, *charset, row, &mut room.text)
            }
            Self::Enum { bytes: width, labels } => {
                let index = bytes.uint(usize::from(*width), "an ENUM")?;
                let label = match index.checked_sub(1) {
                    None => "",
                    Some(at) => labels.get(at as usize).ok_or_else(|| {
                        let why = format!("its index is {index} and the column has {} labels", labels.len());
                        DecodeError::corrupt("an ENUM", why)
                    })?,
                };
                row.push(&Cell::Enum(label))
            }
            Self::Set { bytes: width, labels } => {
                let set = bytes.uint(usize::from(*width), "a SET")?;
                if labels.len() < 64 && set >> labels.len() != 0 {
                    let why = format!("its members are {set:#b} and the column has {} labels", labels.len());
                    return Err(DecodeError::corrupt("a SET", why));
                }
                room.text.clear();
                for (at, label) in labels.iter().enumerate().take(64) {
                    if set >> at & 1 == 1 {
                        if !room.text.is_empty() {
                            room.text.push(',');
                        }
                        room.text.push_str(label);
                    }
                }
                row.push(&Cell::Set(&room.text))
            }
            Self::JsonText { prefix, charset } => {
                let value = variable(bytes, *prefix)?;
                match charset.decode(value, &mut room.text) {
                    Some(text) => row.push(&Cell::Json(text)),
                    None => row.push(&Cell::Bytes(value)),
                }
            }
            Self::Geometry { prefix } => push_geometry(variable(bytes, *prefix)?, row, &mut room.bytes),
            Self::Vector { prefix } => {
                let value = variable(bytes, *prefix)?;
                let (floats, rest) = value.as_chunks::<4>();
                if !rest.is_empty() {
                    let why = format!("{} bytes are no array of floats", value.len());
                    return Err(DecodeError::corrupt("a VECTOR", why));
                }
                room.array.clear();
                for float in floats {
                    room.array.push(&Cell::Float32(f32::from_le_bytes(*float)));
                }
                row.push(&room.array.as_cell())
            }
            Self::Uuid { prefix } => {
                let stored = *fixed::<16>(bytes, *prefix, &mut room.bytes)?;
                row.push(&Cell::Uuid(stored))
            }
            Self::Inet4 { prefix } => {
                let address = *fixed::<4>(bytes, *prefix, &mut room.bytes)?;
                room.text.clear();
                push_display(Ipv4Addr::from(address), &mut room.text);
                row.push(&Cell::Text(&room.text))
            }
            Self::Inet6 { prefix } => {
                let address = *fixed::<16>(bytes, *prefix, &mut room.bytes)?;
                room.text.clear();
                inet6(address, &mut room.text);
                row.push(&Cell::Text(&room.text))
            }
            // All others are read where values are common.
            _ => row.push(&Cell::Null),
        };
        Ok(())
    }
}

#[inline]
fn unsigned(bytes: &mut Bytes<'_>, width: Width) -> Result<u64, DecodeError> {
    const WHAT: &str = "an integer";
    Ok(match width {
        Width::One => u64::from(bytes.u8(WHAT)?),
        Width::Two => u64::from(bytes.u16(WHAT)?),
        Width::Three => bytes.uint(3, WHAT)?,
        Width::Four => u64::from(bytes.u32(WHAT)?),
        Width::Eight => bytes.u64(WHAT)?,
    })
}

#[inline]
fn signed(bytes: &mut Bytes<'_>, width: Width) -> Result<i64, DecodeError> {
    let value = unsigned(bytes, width)? as i64;
    let unused = match width {
        Width::One => 56,
        Width::Two => 48,
        Width::Three => 40,
        Width::Four => 32,
        Width::Eight => 0,
    };
    Ok(value << unused >> unused)
}

/// The next value with its length before it.
#[inline]
pub(super) fn variable<'a>(bytes: &mut Bytes<'a>, prefix: u8) -> Result<&'a [u8], DecodeError> {
    const WHAT: &str = "a value of variable length";
    let len = match prefix {
        1 => usize::from(bytes.u8(WHAT)?),
        2 => usize::from(bytes.u16(WHAT)?),
        _ => bytes.uint(prefix.into(), WHAT)? as usize,
    };
    bytes.take(len, WHAT)
}

/// The next value of a fixed length, whose zeros at the end are not in the log.
fn padded<'a>(
    bytes: &mut Bytes<'_>,
    prefix: u8,
    len: u16,
    room: &'a mut Vec<u8>,
) -> Result<&'a [u8], DecodeError> {
    room.clear();
    room.extend_from_slice(variable(bytes, prefix)?);
    if room.len() > usize::from(len) {
        return Err(DecodeError::corrupt("a BINARY", format!("{} bytes in a BINARY({len})", room.len())));
    }
    room.resize(len.into(), 0);
    Ok(room)
}

fn fixed<'a, const N: usize>(
    bytes: &mut Bytes<'_>,
    prefix: u8,
    room: &'a mut Vec<u8>,
) -> Result<&'a [u8; N], DecodeError> {
    let whole = padded(bytes, prefix, N as u16, room)?;
    whole.first_chunk().ok_or_else(|| DecodeError::corrupt("a BINARY", "it is too short"))
}

#[inline]
fn push_text<'r, 'w>(
    value: &[u8],
    charset: Charset,
    row: &'r mut RowWriter<'w>,
    text: &mut String,
) -> &'r mut RowWriter<'w> {
    match charset.decode(value, text) {
        Some(text) => row.push(&Cell::Text(text)),
        None => row.push(&Cell::Bytes(value)),
    }
}

/// A document that is none to us keeps its bytes out of the batch: it is an error, since the server checks what it stores.
fn push_json(document: &[u8], row: &mut RowWriter<'_>, room: &mut Room) -> Result<(), DecodeError> {
    room.text.clear();
    json::write(document, &mut room.text)?;
    row.push(&Cell::Json(&room.text));
    Ok(())
}

/// Four bytes of SRID, then WKB: what the server keeps. Without an SRID that is WKB. With one it moves into the
/// extended form, which has a flag in the type and the SRID behind it.
pub(crate) fn push_geometry<'r, 'w>(
    value: &[u8],
    row: &'r mut RowWriter<'w>,
    room: &mut Vec<u8>,
) -> &'r mut RowWriter<'w> {
    const HAS_SRID: u32 = 0x2000_0000;
    let Some((srid, wkb)) = value.split_first_chunk::<4>() else { return row.push(&Cell::Bytes(value)) };
    if *srid == [0; 4] {
        return row.push(&Cell::Bytes(wkb));
    }
    let Some(([1, kind @ ..], rest)) = wkb.split_first_chunk::<5>() else {
        return row.push(&Cell::Bytes(value));
    };
    room.clear();
    room.push(1);
    room.extend_from_slice(&(u32::from_le_bytes(*kind) | HAS_SRID).to_le_bytes());
    room.extend_from_slice(srid);
    room.extend_from_slice(rest);
    row.push(&Cell::Bytes(room))
}

fn push_display(value: impl std::fmt::Display, out: &mut String) {
    use std::fmt::Write;
    let _ = write!(out, "{value}");
}

/// As the server prints it: the first of the longest runs of zeros is left out, also a single zero; what is left of an
/// address that carries one of IPv4 is printed as that.
fn inet6(address: [u8; 16], out: &mut String) {
    let groups = Ipv6Addr::from(address).segments();
    let zeros = |from: usize| groups[from..].iter().take_while(|group| **group == 0).count();
    let longest = (0..8).rev().max_by_key(|from| zeros(*from)).unwrap_or(0);
    let gap = longest..longest + zeros(longest);
    let v4 = gap == (0..6) || (gap == (0..5) && groups[5] == 0xffff);
    let end = if v4 { 6 } else { 8 };
    let mut colon = false;
    for (at, group) in groups.iter().enumerate().take(end) {
        if gap.contains(&at) {
            if at == gap.start {
                out.push_str("::");
            }
            colon = false;
            continue;
        }
        if colon {
            out.push(':');
        }
        push_display(format_args!("{group:x}"), out);
        colon = true;
    }
    if v4 {
        if colon {
            out.push(':');
        }
        let [.., a, b, c, d] = address;
        push_display(Ipv4Addr::new(a, b, c, d), out);
    }
}
