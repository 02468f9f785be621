//! The 19 bytes that every event begins with (version 4 of the format, MySQL 5.0 and later).

use crate::bytes::Bytes;
use crate::error::DecodeError;

/// An event's type number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventType(pub u8);

#[allow(missing_docs)]
impl EventType {
    pub const QUERY: Self = Self(2);
    pub const STOP: Self = Self(3);
    pub const ROTATE: Self = Self(4);
    pub const INTVAR: Self = Self(5);
    pub const APPEND_BLOCK: Self = Self(9);
    pub const DELETE_FILE: Self = Self(11);
    pub const RAND: Self = Self(13);
    pub const USER_VAR: Self = Self(14);
    pub const FORMAT_DESCRIPTION: Self = Self(15);
    pub const XID: Self = Self(16);
    pub const BEGIN_LOAD_QUERY: Self = Self(17);
    pub const EXECUTE_LOAD_QUERY: Self = Self(18);
    pub const TABLE_MAP: Self = Self(19);
    pub const WRITE_ROWS_V1: Self = Self(23);
    pub const UPDATE_ROWS_V1: Self = Self(24);
    pub const DELETE_ROWS_V1: Self = Self(25);
    pub const INCIDENT: Self = Self(26);
    pub const HEARTBEAT: Self = Self(27);
    pub const ROWS_QUERY: Self = Self(29);
    pub const WRITE_ROWS: Self = Self(30);
    pub const UPDATE_ROWS: Self = Self(31);
    pub const DELETE_ROWS: Self = Self(32);
    pub const GTID: Self = Self(33);
    pub const ANONYMOUS_GTID: Self = Self(34);
    pub const PREVIOUS_GTIDS: Self = Self(35);
    pub const TRANSACTION_CONTEXT: Self = Self(36);
    pub const VIEW_CHANGE: Self = Self(37);
    pub const XA_PREPARE: Self = Self(38);
    pub const PARTIAL_UPDATE_ROWS: Self = Self(39);
    pub const TRANSACTION_PAYLOAD: Self = Self(40);
    pub const HEARTBEAT_V2: Self = Self(41);
    pub const GTID_TAGGED: Self = Self(42);
    pub const MARIADB_ANNOTATE_ROWS: Self = Self(160);
    pub const MARIADB_CHECKPOINT: Self = Self(161);
    pub const MARIADB_GTID: Self = Self(162);
    pub const MARIADB_GTID_LIST: Self = Self(163);
    pub const MARIADB_START_ENCRYPTION: Self = Self(164);
    pub const MARIADB_QUERY_COMPRESSED: Self = Self(165);
    pub const MARIADB_WRITE_ROWS_COMPRESSED_V1: Self = Self(166);
    pub const MARIADB_UPDATE_ROWS_COMPRESSED_V1: Self = Self(167);
    pub const MARIADB_DELETE_ROWS_COMPRESSED_V1: Self = Self(168);
    pub const MARIADB_WRITE_ROWS_COMPRESSED: Self = Self(169);
    pub const MARIADB_UPDATE_ROWS_COMPRESSED: Self = Self(170);
    pub const MARIADB_DELETE_ROWS_COMPRESSED: Self = Self(171);
}

/// What every event begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// When the statement began, seconds since the Unix epoch; 0 in events that the server makes up.
    pub timestamp_seconds: u32,
    /// The event's type.
    pub kind: EventType,
    /// The server that wrote it first.
    pub server_id: u32,
    /// Its bytes, this header and the checksum included.
    pub size: u32,
    /// Where the next event begins in its file; 0 in events that the server makes up, and inside of compressed transactions.
    pub next_pos: u32,
    /// See the constants.
    pub flags: u16,
}

impl Header {
    /// Bytes of a header.
    pub const LEN: usize = 19;
    /// The log file was not closed yet when this format description was written.
    pub const IN_USE: u16 = 0x1;
    /// The server made the event up; it stands in no file.
    pub const ARTIFICIAL: u16 = 0x20;
    /// Whoever does not know the event may pass over it.
    pub const IGNORABLE: u16 = 0x80;

    /// Reads the header of an event.
    pub(crate) fn read(bytes: &mut Bytes<'_>) -> Result<Self, DecodeError> {
        const WHAT: &str = "an event's header";
        Ok(Self {
            timestamp_seconds: bytes.u32(WHAT)?,
            kind: EventType(bytes.u8(WHAT)?),
            server_id: bytes.u32(WHAT)?,
            size: bytes.u32(WHAT)?,
            next_pos: bytes.u32(WHAT)?,
            flags: bytes.u16(WHAT)?,
        })
    }

    /// Whether the server made the event up.
    pub fn is_artificial(&self) -> bool {
        self.flags & Self::ARTIFICIAL != 0
    }

    /// Whether the event may be passed over by who does not know it.
    pub fn is_ignorable(&self) -> bool {
        self.flags & Self::IGNORABLE != 0
    }
}
