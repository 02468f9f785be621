//! Events that begin and end transactions.

use std::fmt;

use super::header::EventType;
use super::serialization::{self, Fields};
use crate::bytes::{Bytes, text};
use crate::error::DecodeError;
use crate::gtid::{Gtid, MariaGtid, Tag, Tsid, Uuid};

/// MySQL: a transaction begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GtidEvent {
    /// Its identity; `None`: an anonymous transaction, of a server without `gtid_mode`.
    pub gtid: Option<Gtid>,
    /// Whether statements may be in it, and not rows alone.
    pub may_have_statements: bool,
    /// Logical clock of the transaction that it must wait for.
    pub last_committed: i64,
    /// Its own logical clock.
    pub sequence_number: i64,
    /// When this server committed it, microseconds since the Unix epoch; 0: unknown (before MySQL 8).
    pub committed_us: u64,
    /// When the server committed it where it was made; 0: unknown.
    pub originally_committed_us: u64,
    /// Bytes of all its events in the log, this one included; 0: unknown.
    pub length_bytes: u64,
    /// The server version where it was made, as 80407; 0: unknown.
    pub original_server_version: u32,
}

impl GtidEvent {
    const WHAT: &'static str = "a GTID event";

    pub(super) fn read(kind: EventType, mut bytes: Bytes<'_>) -> Result<Self, DecodeError> {
        let what = Self::WHAT;
        let flags = bytes.u8(what)?;
        let uuid = Uuid(bytes.array(what)?);
        let number = bytes.u64(what)?;
        let mut event = Self { may_have_statements: flags & 1 != 0, ..Self::default() };
        if kind == EventType::GTID {
            event.gtid = Some(gtid(uuid, Tag::default(), number)?);
        }
        // What follows came version by version: 5.7 the clocks, 8.0 the rest.
        if bytes.is_empty() || bytes.u8(what)? != 2 {
            return Ok(event);
        }
        event.last_committed = bytes.u64(what)? as i64;
        event.sequence_number = bytes.u64(what)? as i64;
        if bytes.len() < 7 {
            return Ok(event);
        }
        const ORIGINAL_FOLLOWS: u64 = 1 << 55;
        let committed = bytes.uint(7, what)?;
        event.committed_us = committed & !ORIGINAL_FOLLOWS;
        event.originally_committed_us =
            if committed & ORIGINAL_FOLLOWS != 0 { bytes.uint(7, what)? } else { event.committed_us };
        if bytes.is_empty() {
            return Ok(event);
        }
        event.length_bytes = bytes.lenenc(what)?;
        if bytes.len() < 4 {
            return Ok(event);
        }
        const VERSION_FOLLOWS: u32 = 1 << 31;
        let version = bytes.u32(what)?;
        event.original_server_version = version & !VERSION_FOLLOWS;
        if version & VERSION_FOLLOWS != 0 {
            event.original_server_version = bytes.u32(what)?;
        }
        Ok(event)
    }

    /// GTID_TAGGED_LOG_EVENT. Its fields: 0 flags, 1 UUID (each byte a variable-length integer), 2 number (signed), 3 tag,
    /// 4 last committed, 5 sequence number (both signed), 6 and 7 commit times, 8 length, 9 and 10 server versions,
    /// 11 group commit ticket. 7 and 10 are there only when they differ from the one before.
    pub(super) fn read_tagged(mut bytes: Bytes<'_>) -> Result<Self, DecodeError> {
        let what = Self::WHAT;
        let mut fields = Fields::read(&mut bytes, what)?;
        let mut event = Self::default();
        let (mut uuid, mut tag, mut number) = (Uuid([0; 16]), Tag::default(), 0);
        let (mut original, mut version) = (None, None);
        while let Some((field, value)) = fields.next()? {
            match field {
                0 => event.may_have_statements = serialization::unsigned(value, what)? & 1 != 0,
                1 => {
                    for byte in &mut uuid.0 {
                        let wide = serialization::unsigned(value, what)?;
                        *byte = u8::try_from(wide)
                            .map_err(|_| DecodeError::corrupt(what, format!("{wide} in a UUID")))?;
                    }
                }
                2 => number = serialization::signed(value, what)?,
                3 => {
                    let len = usize::try_from(serialization::unsigned(value, what)?).unwrap_or(usize::MAX);
                    tag = Tag::new(text(value.take(len, what)?, what)?)
                        .ok_or_else(|| DecodeError::corrupt(what, "its tag is none"))?;
                }
                4 => event.last_committed = serialization::signed(value, what)?,
                5 => event.sequence_number = serialization::signed(value, what)?,
                6 => event.committed_us = serialization::unsigned(value, what)?,
                7 => original = Some(serialization::unsigned(value, what)?),
                8 => event.length_bytes = serialization::unsigned(value, what)?,
                9 => event.original_server_version = serialization::unsigned(value, what)? as u32,
                10 => version = Some(serialization::unsigned(value, what)? as u32),
                other => {
                    fields.unknown(other)?;
                    break;
                }
            }
        }
        event.originally_committed_us = original.unwrap_or(event.committed_us);
        event.original_server_version = version.unwrap_or(event.original_server_version);
        let number = u64::try_from(number).unwrap_or_default();
        event.gtid = Some(gtid(uuid, tag, number)?);
        Ok(event)
    }
}

fn gtid(uuid: Uuid, tag: Tag, number: u64) -> Result<Gtid, DecodeError> {
    if !(1..=crate::gtid::Interval::MAX).contains(&number) {
        return Err(DecodeError::corrupt(GtidEvent::WHAT, format!("{number} numbers no transaction")));
    }
    Ok(Gtid { tsid: Tsid { uuid, tag }, number })
}

/// MariaDB: a transaction begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MariaGtidEvent<'a> {
    /// Its identity.
    pub gtid: MariaGtid,
    /// See the constants.
    pub flags: u8,
    /// Transactions of one group commit share this number.
    pub commit_id: Option<u64>,
    /// The XA transaction that is prepared or completed here.
    pub xid: Option<Xid<'a>>,
    /// The phase of an ALTER TABLE that is logged in two (`binlog_alter_two_phase`); `None`: it is logged once, or none.
    pub alter: Option<AlterPhase>,
}

/// A phase of an ALTER TABLE that is logged when it begins and when it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlterPhase {
    /// It has begun; nothing has changed yet.
    Start,
    /// The one that began under this sequence number is done.
    Commit(u64),
    /// The one that began under this sequence number is taken back.
    Rollback(u64),
}

impl<'a> MariaGtidEvent<'a> {
    /// One statement that commits by itself, such as DDL: no COMMIT follows.
    pub const STANDALONE: u8 = 0x01;
    const GROUP_COMMIT_ID: u8 = 0x02;
    /// It is DDL.
    pub const DDL: u8 = 0x20;
    /// The first phase of an XA transaction.
    pub const PREPARED_XA: u8 = 0x40;
    /// XA COMMIT or XA ROLLBACK.
    pub const COMPLETED_XA: u8 = 0x80;

    pub(super) fn read(server: u32, mut bytes: Bytes<'a>) -> Result<Self, DecodeError> {
        const WHAT: &str = "a MariaDB GTID event";
        let sequence = bytes.u64(WHAT)?;
        let domain = bytes.u32(WHAT)?;
        let flags = bytes.u8(WHAT)?;
        let commit_id = (flags & Self::GROUP_COMMIT_ID != 0).then(|| bytes.u64(WHAT)).transpose()?;
        let xid = if flags & (Self::PREPARED_XA | Self::COMPLETED_XA) != 0 {
            let format = bytes.u32(WHAT)?;
            let (gtrid, bqual) = (bytes.u8(WHAT)?, bytes.u8(WHAT)?);
            Some(Xid {
                format,
                gtrid: bytes.take(gtrid.into(), WHAT)?,
                bqual: bytes.take(bqual.into(), WHAT)?,
            })
        } else {
            None
        };
        let alter = AlterPhase::read(&mut bytes)?;
        Ok(Self { gtid: MariaGtid { domain, server, sequence }, flags, commit_id, xid, alter })
    }

    /// Whether the transaction is one statement without an end of its own.
    pub fn is_standalone(&self) -> bool {
        self.flags & Self::STANDALONE != 0
    }
}

impl AlterPhase {
    /// Reads what may stand at the end of a GTID event: more flags, and what they announce. Older servers fill the room up
    /// with zeros, or end.
    fn read(bytes: &mut Bytes<'_>) -> Result<Option<Self>, DecodeError> {
        const WHAT: &str = "a MariaDB GTID event's flags";
        const SEVERAL_ENGINES: u8 = 0x01;
        const START: u8 = 0x02;
        const COMMIT: u8 = 0x04;
        const ROLLBACK: u8 = 0x08;
        let Ok(flags) = bytes.u8(WHAT) else { return Ok(None) };
        if flags & SEVERAL_ENGINES != 0 {
            bytes.u8(WHAT)?;
        }
        Ok(if flags & START != 0 {
            Some(Self::Start)
        } else if flags & COMMIT != 0 {
            Some(Self::Commit(bytes.u64(WHAT)?))
        } else if flags & ROLLBACK != 0 {
            Some(Self::Rollback(bytes.u64(WHAT)?))
        } else {
            None
        })
    }
}

/// An XA transaction's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Xid<'a> {
    /// The format's number.
    pub format: u32,
    /// The global part.
    pub gtrid: &'a [u8],
    /// The branch.
    pub bqual: &'a [u8],
}

impl fmt::Display for Xid<'_> {
    /// As statements in the log have it: `X'6162',X'',1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in [self.gtrid, self.bqual] {
            f.write_str("X'")?;
            part.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
            f.write_str("',")?;
        }
        self.format.fmt(f)
    }
}

/// The first phase of an XA transaction has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct XaPrepare<'a> {
    /// XA COMMIT … ONE PHASE: it is committed, no second phase follows.
    pub one_phase: bool,
    /// The transaction.
    pub xid: Xid<'a>,
}

impl<'a> XaPrepare<'a> {
    pub(super) fn read(mut bytes: Bytes<'a>) -> Result<Self, DecodeError> {
        const WHAT: &str = "an XA event";
        let one_phase = bytes.u8(WHAT)? != 0;
        let format = bytes.u32(WHAT)?;
        let (gtrid, bqual) = (bytes.u32(WHAT)? as usize, bytes.u32(WHAT)? as usize);
        let xid = Xid { format, gtrid: bytes.take(gtrid, WHAT)?, bqual: bytes.take(bqual, WHAT)? };
        Ok(Self { one_phase, xid })
    }
}
