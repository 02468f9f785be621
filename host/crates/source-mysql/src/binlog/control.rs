//! Events that say where the log stands.

use super::header::Header;
use crate::bytes::{Bytes, text};
use crate::error::DecodeError;
use crate::gtid::MariaGtid;

/// The log goes on in another file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotate<'a> {
    /// Where in it the next event begins.
    pub position: u64,
    /// Its name.
    pub file: &'a str,
}

impl<'a> Rotate<'a> {
    pub(super) fn read(mut bytes: Bytes<'a>) -> Result<Self, DecodeError> {
        const WHAT: &str = "a rotation";
        Ok(Self { position: bytes.u64(WHAT)?, file: text(bytes.rest(), WHAT)? })
    }
}

/// Where the log ends while nothing happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heartbeat<'a> {
    /// The file that the server reads.
    pub file: &'a str,
    /// Where in it.
    pub position: u64,
}

impl<'a> Heartbeat<'a> {
    const WHAT: &'static str = "a heartbeat";

    /// MariaDB puts a position beyond 4 GiB before the name, and 0 into the header.
    pub(super) fn read(header: &Header, mut bytes: Bytes<'a>) -> Result<Self, DecodeError> {
        let position = match header.next_pos {
            0 => bytes.u64(Self::WHAT)?,
            position => u64::from(position),
        };
        Ok(Self { file: text(bytes.rest(), Self::WHAT)?, position })
    }

    /// Fields as type, length and value; type 0 ends them.
    pub(super) fn read_v2(mut bytes: Bytes<'a>) -> Result<Self, DecodeError> {
        let (mut file, mut position) = ("", 0);
        while !bytes.is_empty() {
            match bytes.lenenc(Self::WHAT)? {
                0 => break,
                1 => file = text(bytes.lenenc_bytes(Self::WHAT)?, Self::WHAT)?,
                2 => position = Bytes::new(bytes.lenenc_bytes(Self::WHAT)?).lenenc(Self::WHAT)?,
                _ => {
                    bytes.lenenc_bytes(Self::WHAT)?;
                }
            }
        }
        Ok(Self { file, position })
    }
}

/// MariaDB's state at the beginning of a file.
pub(super) fn gtid_list(mut bytes: Bytes<'_>) -> Result<Vec<MariaGtid>, DecodeError> {
    const WHAT: &str = "a GTID list";
    const ENTRY: usize = 16;
    // The four highest bits are flags.
    let count = (bytes.u32(WHAT)? & 0x0fff_ffff) as usize;
    if bytes.len() / ENTRY < count {
        return Err(DecodeError::Truncated {
            what: WHAT,
            need: count as u64 * ENTRY as u64,
            have: bytes.len() as u64,
        });
    }
    (0..count)
        .map(|_| {
            Ok(MariaGtid { domain: bytes.u32(WHAT)?, server: bytes.u32(WHAT)?, sequence: bytes.u64(WHAT)? })
        })
        .collect()
}

/// INCIDENT: the server knows that events are missing. Always an error.
pub(super) fn incident(mut bytes: Bytes<'_>) -> DecodeError {
    const WHAT: &str = "an incident";
    let number = bytes.u16(WHAT).unwrap_or_default();
    let words = bytes.u8(WHAT).ok().and_then(|len| bytes.take(len.into(), WHAT).ok()).unwrap_or_default();
    DecodeError::Incident { message: format!("number {number}, {}", String::from_utf8_lossy(words)) }
}
