//! FORMAT_DESCRIPTION_EVENT: the server's version, the events' header lengths, and whether they carry checksums.

use crate::bytes::{Bytes, text};
use crate::error::DecodeError;

/// What a log file says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormatDescription {
    /// The server that wrote the file, such as `9.7.4` or `10.11.19-MariaDB-log`.
    pub server_version: String,
    /// When the file was begun, seconds since the Unix epoch; not 0 only in the first one after the server started.
    pub created_seconds: u32,
    /// Whether all events end with a CRC32.
    pub checksums: bool,
    /// Bytes of the fixed part of each event type, from type 1 on.
    header_lengths: Vec<u8>,
}

impl FormatDescription {
    /// Bytes after the header lengths: which checksum, and the checksum of this event.
    const TAIL: usize = 1 + 4;

    pub(crate) fn read(body: &[u8]) -> Result<Self, DecodeError> {
        const WHAT: &str = "a format description";
        let Some((body, tail)) = body.split_at_checked(body.len().saturating_sub(Self::TAIL)) else {
            return Err(DecodeError::corrupt(WHAT, "it is too short"));
        };
        let mut bytes = Bytes::new(body);
        let version = bytes.u16(WHAT)?;
        if version != 4 {
            return Err(DecodeError::corrupt(
                WHAT,
                format!("version {version} of the log format; 4 is known"),
            ));
        }
        let server = bytes.take(50, WHAT)?;
        let server = server.split(|byte| *byte == 0).next().unwrap_or_default();
        let created_seconds = bytes.u32(WHAT)?;
        if bytes.u8(WHAT)? != 19 {
            return Err(DecodeError::corrupt(WHAT, "events begin with 19 bytes since MySQL 5.0"));
        }
        Ok(Self {
            server_version: text(server, WHAT)?.to_owned(),
            created_seconds,
            checksums: match tail.first() {
                Some(0) => false,
                Some(1) => true,
                other => {
                    let why =
                        format!("checksums of kind {other:?} are not known; servers before 5.6 write none");
                    return Err(DecodeError::corrupt(WHAT, why));
                }
            },
            header_lengths: bytes.rest().to_vec(),
        })
    }

    /// Bytes of the fixed part of an event type, where the server told.
    pub(crate) fn header_length(&self, kind: u8) -> Option<usize> {
        let at = usize::from(kind).checked_sub(1)?;
        self.header_lengths.get(at).map(|len| usize::from(*len))
    }

    /// Whether MariaDB wrote the file.
    pub fn is_mariadb(&self) -> bool {
        self.server_version.contains("MariaDB")
    }
}
