//! Compression of MariaDB: of events (`log_bin_compress`) and of columns (`COMPRESSED`).

use std::io::Read;

use flate2::read::{DeflateDecoder, ZlibDecoder};

use crate::bytes::{Bytes, big_endian};
use crate::error::DecodeError;

/// Decompresses the content of an event into `out`, in place of what that holds.
///
/// A byte says by its high half how it is compressed (8: zlib) and by its three lowest bits how many bytes of length
/// follow, the highest first.
pub(crate) fn inflate(content: &[u8], most: usize, out: &mut Vec<u8>) -> Result<(), DecodeError> {
    const WHAT: &str = "a compressed event";
    let mut bytes = Bytes::new(content);
    let head = bytes.u8(WHAT)?;
    if head & 0xf0 != 0x80 {
        return Err(DecodeError::corrupt(WHAT, format!("{head:#04x} names no known compression")));
    }
    let len = bytes.take(usize::from(head & 0x07), WHAT)?;
    out.clear();
    fill(WHAT, ZlibDecoder::new(bytes.rest()), big_endian(len), most, out)
}

/// Decompresses a column's value into `out`, in place of what that holds.
///
/// As for events, with two more forms: a first byte of zero says that the value is not compressed, its fourth bit
/// that zlib's own frame is left out. An empty value has no first byte.
pub(crate) fn inflate_column(value: &[u8], most: usize, out: &mut Vec<u8>) -> Result<(), DecodeError> {
    const WHAT: &str = "a compressed column";
    out.clear();
    let Some((head, rest)) = value.split_first() else { return Ok(()) };
    if *head == 0 {
        out.extend_from_slice(rest);
        return Ok(());
    }
    if head & 0xf0 != 0x80 {
        return Err(DecodeError::corrupt(WHAT, format!("{head:#04x} names no known compression")));
    }
    let mut bytes = Bytes::new(rest);
    let len = big_endian(bytes.take(usize::from(head & 0x07), WHAT)?);
    if head & 0x08 == 0 {
        fill(WHAT, ZlibDecoder::new(bytes.rest()), len, most, out)
    } else {
        fill(WHAT, DeflateDecoder::new(bytes.rest()), len, most, out)
    }
}

/// Reads `len` bytes exactly. Memory grows with what comes, not with what is promised.
fn fill(
    what: &'static str,
    from: impl Read,
    len: u64,
    most: usize,
    out: &mut Vec<u8>,
) -> Result<(), DecodeError> {
    if len > most as u64 {
        return Err(DecodeError::TooLarge { what, size: len, most: most as u64 });
    }
    from.take(len + 1)
        .read_to_end(out)
        .map_err(|error| DecodeError::Compression { what, why: error.to_string() })?;
    if out.len() as u64 != len {
        let why = format!("{len} bytes were promised and {} came", out.len());
        return Err(DecodeError::Compression { what, why });
    }
    Ok(())
}
