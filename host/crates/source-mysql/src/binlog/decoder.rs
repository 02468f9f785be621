//! What must be known from earlier events to read the next.

use std::sync::Arc;

use super::compressed;
use super::control::{self, Heartbeat, Rotate};
use super::event::{Body, Event};
use super::format::FormatDescription;
use super::header::{EventType, Header};
use super::payload::TransactionPayload;
use super::query::Query;
use super::rows::Rows;
use super::table_map::TableMap;
use super::transaction::{GtidEvent, MariaGtidEvent, XaPrepare};
use crate::bytes::Bytes;
use crate::error::DecodeError;
use crate::gtid::GtidSet;

/// What compressed content may take. Compressed lengths are bounded by the packet that brought them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of one event after decompression.
    pub max_event_bytes: usize,
    /// Largest window of zstd, as a power of two: that much memory is taken while a transaction is read.
    pub max_window_log: u32,
}

impl Default for Limits {
    fn default() -> Self {
        // Servers send no event above max_allowed_packet, 1 GiB; 27 is what zstd itself takes without being asked.
        Self { max_event_bytes: 1 << 30, max_window_log: 27 }
    }
}

/// Decodes the events of one log, in order.
#[derive(Debug, Clone)]
pub struct Decoder {
    format: Option<Arc<FormatDescription>>,
    checksums: bool,
    limits: Limits,
}

impl Decoder {
    /// Begins a stream. `checksums`: whether events before the first format description end with a CRC32, as agreed
    /// with the server by `@source_binlog_checksum`; a file begins with its format description, and this is not asked.
    pub fn new(checksums: bool, limits: Limits) -> Self {
        Self { format: None, checksums, limits }
    }

    /// For the events inside a compressed transaction, which have no checksums of their own.
    pub(crate) fn inner(&self) -> Self {
        Self { format: self.format.clone(), checksums: false, limits: self.limits }
    }

    /// The limits it holds.
    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    /// What the file being read says about itself.
    pub fn format(&self) -> Option<&FormatDescription> {
        self.format.as_deref()
    }

    /// Decodes one event: the bytes of a packet behind its status byte, or as they stand in a file. `scratch` holds
    /// what MariaDB's compressed events decompress to.
    ///
    /// # Errors
    ///
    /// See [`DecodeError`]; the decoder stays as it was.
    pub fn decode<'a>(
        &mut self,
        packet: &'a [u8],
        scratch: &'a mut Vec<u8>,
    ) -> Result<Event<'a>, DecodeError> {
        let mut bytes = Bytes::new(packet);
        let header = Header::read(&mut bytes)?;
        if header.size as usize != packet.len() {
            let why = format!("it says {} bytes and {} came", header.size, packet.len());
            return Err(DecodeError::corrupt("an event's header", why));
        }
        if header.kind == EventType::FORMAT_DESCRIPTION {
            let format = FormatDescription::read(bytes.rest())?;
            if format.checksums {
                verify(packet, header.flags)?;
            }
            self.checksums = format.checksums;
            let format = Arc::new(format);
            self.format = Some(format.clone());
            return Ok(Event { header, body: Body::FormatDescription(format) });
        }
        if self.checksums {
            verify(packet, 0)?;
            bytes = Bytes::new(&bytes.rest()[..bytes.len().saturating_sub(4)]);
        }
        let body = self.body(&header, bytes, scratch)?;
        Ok(Event { header, body })
    }

    fn body<'a>(
        &self,
        header: &Header,
        mut bytes: Bytes<'a>,
        scratch: &'a mut Vec<u8>,
    ) -> Result<Body<'a>, DecodeError> {
        let kind = header.kind;
        let head = |usual: usize| self.format.as_ref().and_then(|f| f.header_length(kind.0)).unwrap_or(usual);
        Ok(match kind {
            EventType::TABLE_MAP => {
                let mariadb = self.format.as_ref().is_some_and(|format| format.is_mariadb());
                Body::TableMap(TableMap::read(bytes, head(8), mariadb)?)
            }
            EventType::WRITE_ROWS_V1
            | EventType::UPDATE_ROWS_V1
            | EventType::DELETE_ROWS_V1
            | EventType::WRITE_ROWS
            | EventType::UPDATE_ROWS
            | EventType::DELETE_ROWS
            | EventType::PARTIAL_UPDATE_ROWS => Body::Rows(Rows::read(kind, bytes, head(10))?),
            EventType(166..=171) => {
                let most = self.limits.max_event_bytes;
                Body::Rows(Rows::read_compressed(kind, bytes, head(10), most, scratch)?)
            }
            EventType::QUERY => Body::Query(Query::read(bytes, head(13))?),
            EventType::MARIADB_QUERY_COMPRESSED => {
                let mut query = Query::read(bytes, head(13))?;
                compressed::inflate(query.sql, self.limits.max_event_bytes, scratch)?;
                query.sql = scratch;
                Body::Query(query)
            }
            EventType::XID => Body::Xid(bytes.u64("an XID event")?),
            EventType::XA_PREPARE => Body::XaPrepare(XaPrepare::read(bytes)?),
            EventType::GTID | EventType::ANONYMOUS_GTID => Body::Gtid(GtidEvent::read(kind, bytes)?),
            EventType::GTID_TAGGED => Body::Gtid(GtidEvent::read_tagged(bytes)?),
            EventType::MARIADB_GTID => Body::MariaGtid(MariaGtidEvent::read(header.server_id, bytes)?),
            EventType::PREVIOUS_GTIDS => Body::PreviousGtids(GtidSet::decode(bytes.rest())?),
            EventType::MARIADB_GTID_LIST => Body::GtidList(control::gtid_list(bytes)?),
            EventType::ROTATE => Body::Rotate(Rotate::read(bytes)?),
            EventType::TRANSACTION_PAYLOAD => Body::Payload(TransactionPayload::read(bytes)?),
            EventType::HEARTBEAT => Body::Heartbeat(Heartbeat::read(header, bytes)?),
            EventType::HEARTBEAT_V2 => Body::Heartbeat(Heartbeat::read_v2(bytes)?),
            EventType::ROWS_QUERY => {
                // The length before the text is that of its first 255 bytes at most: nobody goes by it.
                bytes.u8("a rows query")?;
                Body::RowsQuery(bytes.rest())
            }
            EventType::MARIADB_ANNOTATE_ROWS => Body::RowsQuery(bytes.rest()),
            EventType::STOP => Body::Stop,
            EventType::INTVAR
            | EventType::APPEND_BLOCK
            | EventType::DELETE_FILE
            | EventType::RAND
            | EventType::USER_VAR
            | EventType::BEGIN_LOAD_QUERY
            | EventType::EXECUTE_LOAD_QUERY => Body::Statement(kind),
            EventType::TRANSACTION_CONTEXT | EventType::VIEW_CHANGE | EventType::MARIADB_CHECKPOINT => {
                Body::Skipped(kind)
            }
            EventType::INCIDENT => return Err(control::incident(bytes)),
            // A server marks it as ignorable when it sends it, since it decrypts what follows.
            EventType::MARIADB_START_ENCRYPTION if !header.is_ignorable() => {
                return Err(DecodeError::Unsupported {
                    kind: kind.0,
                    advice: "the log file is encrypted; read from the server, which decrypts what it sends, not from files",
                });
            }
            _ if header.is_ignorable() => Body::Skipped(kind),
            EventType(20..=22) => {
                return Err(DecodeError::Unsupported {
                    kind: kind.0,
                    advice: "rows in the form of servers before MySQL 5.1.16; upgrade the server",
                });
            }
            _ => {
                return Err(DecodeError::Unsupported {
                    kind: kind.0,
                    advice: "it may hold changes; upgrade DeltaForge, or switch the server's option off that writes it",
                });
            }
        })
    }
}

/// Compares an event's checksum. `flags` without the in-use mark, which is set after the checksum was made.
fn verify(packet: &[u8], flags: u16) -> Result<(), DecodeError> {
    let Some((content, crc)) =
        packet.split_last_chunk::<4>().filter(|(content, _)| content.len() >= Header::LEN)
    else {
        return Err(DecodeError::Truncated { what: "a checksum", need: 4, have: packet.len() as u64 });
    };
    let found = u32::from_le_bytes(*crc);
    let computed = if flags & Header::IN_USE == 0 {
        crc32fast::hash(content)
    } else {
        let mut hash = crc32fast::Hasher::new();
        hash.update(&content[..17]);
        hash.update(&(flags & !Header::IN_USE).to_le_bytes());
        hash.update(&content[Header::LEN..]);
        hash.finalize()
    };
    if found == computed { Ok(()) } else { Err(DecodeError::Checksum { found, computed }) }
}
