//! What an event can be.

use std::sync::Arc;

use super::control::{Heartbeat, Rotate};
use super::format::FormatDescription;
use super::header::{EventType, Header};
use super::payload::TransactionPayload;
use super::query::Query;
use super::rows::Rows;
use super::table_map::TableMap;
use super::transaction::{GtidEvent, MariaGtidEvent, XaPrepare};
use crate::gtid::{GtidSet, MariaGtid};

/// One event.
#[derive(Debug, Clone)]
pub struct Event<'a> {
    /// Its header.
    pub header: Header,
    /// What it says.
    pub body: Body<'a>,
}

/// What an event says.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Body<'a> {
    /// A log file begins; the decoder has taken it in.
    FormatDescription(Arc<FormatDescription>),
    /// The log goes on in another file.
    Rotate(Rotate<'a>),
    /// All transactions in earlier files.
    PreviousGtids(GtidSet),
    /// MariaDB: the state at the file's beginning, within a domain the last written last.
    GtidList(Vec<MariaGtid>),
    /// A transaction begins, with or without a GTID, a tag.
    Gtid(GtidEvent),
    /// MariaDB: a transaction begins.
    MariaGtid(MariaGtidEvent<'a>),
    /// A statement: BEGIN, COMMIT, XA and SAVEPOINT words, DDL.
    Query(Query<'a>),
    /// The text of the statement whose rows follow.
    RowsQuery(&'a [u8]),
    /// What the rows that follow look like.
    TableMap(TableMap<'a>),
    /// Rows.
    Rows(Rows<'a>),
    /// A compressed transaction, all of it behind its GTID.
    Payload(TransactionPayload<'a>),
    /// A transaction has ended.
    Xid(u64),
    /// The first phase of an XA transaction has ended.
    XaPrepare(XaPrepare<'a>),
    /// The server has nothing to say.
    Heartbeat(Heartbeat<'a>),
    /// The server stopped; the log goes on in another file.
    Stop,
    /// A part of a statement that is logged as such: its rows are not in the log (`binlog_format` is not ROW).
    Statement(EventType),
    /// What the source of changes need not know: group communication, checkpoints, ignorable events.
    Skipped(EventType),
}
