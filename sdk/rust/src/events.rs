//! What a batch says of its tables and events besides their cells.

use std::borrow::Cow;
use std::ops::Deref;
use std::sync::Arc;

use deltaforge_model::{EventId, Op, TableSchema};

use crate::Value;

/// A table of the batch, as of the events that refer to it: its name and columns.
#[derive(Debug, Clone)]
pub struct Table {
    pub(crate) schema: Arc<TableSchema>,
    /// As the host counts it: a component makes its own copy of the schema.
    pub(crate) fingerprint: u64,
}

impl Table {
    /// Changes whenever the table's definition changes.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// The schema where the source knows such a thing, else the database: what stands before the dot.
    pub fn qualifier(&self) -> &str {
        self.schema.schema().unwrap_or_else(|| self.schema.database())
    }
}

impl Deref for Table {
    type Target = TableSchema;

    fn deref(&self) -> &TableSchema {
        &self.schema
    }
}

/// What all events of a batch have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// `mysql`, `postgresql`, `sqlite`.
    pub connector: String,
    /// The pipeline.
    pub pipeline: String,
    /// The tenant.
    pub tenant: String,
    /// The source's id in the pipeline.
    pub id: String,
}

/// Where an event comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin<'a> {
    /// Its stable id: a replay gives the same one.
    pub event_id: EventId,
    /// The source's time of the change, microseconds since 1970-01-01T00:00Z.
    pub ts_us: i64,
    /// The source's name for its transaction (GTID, xid), where it knows one.
    pub transaction: Option<Cow<'a, str>>,
    /// Its number among all rows of its transaction.
    pub ordinal: u32,
    /// The source's own number for the change.
    pub position: u64,
}

/// What few events have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extras {
    /// Tags.
    pub tags: Vec<String>,
    /// Message headers.
    pub headers: Vec<(String, String)>,
    /// Where the event goes in place of the sink's own topic, stream, subject or URL.
    pub topic: Option<String>,
    /// The message key in place of the sink's own.
    pub key: Option<String>,
    /// A DDL statement and the database it ran in.
    pub ddl: Option<(String, String)>,
    /// The content of a log message.
    pub message: Option<String>,
    /// Who made this event, when no source did.
    pub synthetic: Option<String>,
}

/// Where an event shall go; what is `None` or empty stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Route {
    /// Topic, stream, subject or URL.
    pub topic: Option<String>,
    /// The message key.
    pub key: Option<String>,
    /// Headers to set.
    pub headers: Vec<(String, String)>,
}

/// A row image by column names.
pub type NamedValues = Vec<(String, Value<'static>)>;

/// An event to add. It takes over its row's origin, table and extras, and its id is made from that row's.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEvent {
    /// The row that it stands right after; it may have been dropped.
    pub at: usize,
    /// What happened.
    pub op: Op,
    /// The row as it was.
    pub before: Option<NamedValues>,
    /// The row as it is.
    pub after: Option<NamedValues>,
    /// Tags beside those it takes over.
    pub tags: Vec<String>,
    /// Routing beside what it takes over.
    pub route: Route,
}

impl NewEvent {
    /// An event without images, to fill in.
    pub fn new(at: usize, op: Op) -> Self {
        Self { at, op, before: None, after: None, tags: Vec::new(), route: Route::default() }
    }
}

/// A column by name, for calls on single cells: good for every table of the batch until the call ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ColumnId(pub(crate) u32);
