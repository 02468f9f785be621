//! The batch: an index of events over row images.

use std::collections::HashMap;
use std::sync::Arc;

use crate::event_id::EventId;
use crate::row::Row;
use crate::schema::TableSchema;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Op {
    /// A row was inserted.
    Create = 0,
    /// A row was changed.
    Update = 1,
    /// A row was deleted.
    Delete = 2,
    /// A row was read by a snapshot.
    Read = 3,
    /// A table was emptied.
    Truncate = 4,
    /// A table's definition changed.
    Ddl = 5,
    /// The application wrote a message into the log.
    Message = 6,
    /// Progress only; no stage and no sink ever sees it.
    Heartbeat = 7,
}

impl Op {
    /// The operation with this number.
    pub fn from_byte(byte: u8) -> Option<Self> {
        use Op::{Create, Ddl, Delete, Heartbeat, Message, Read, Truncate, Update};
        [Create, Update, Delete, Read, Truncate, Ddl, Message, Heartbeat].get(byte as usize).copied()
    }

    /// The code on the wire.
    pub fn code(self) -> &'static str {
        match self {
            Self::Create => "c",
            Self::Update => "u",
            Self::Delete => "d",
            Self::Read => "r",
            Self::Truncate => "t",
            Self::Ddl => "ddl",
            Self::Message => "m",
            Self::Heartbeat => "h",
        }
    }

    /// The operation with this wire code.
    pub fn from_code(code: &str) -> Option<Self> {
        (0..8).filter_map(Self::from_byte).find(|op| op.code() == code)
    }
}

/// Which of an event's two row images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Image {
    /// The row as it was.
    Before,
    /// The row as it is now.
    After,
}

impl Image {
    /// Both, in the order of time.
    pub const BOTH: [Self; 2] = [Self::Before, Self::After];
}

/// Where an event stands in a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotMark {
    /// Not of a snapshot.
    No,
    /// The snapshot's first row.
    First,
    /// One of its rows.
    True,
    /// Its last row; the log follows.
    Last,
}

/// What all events of a batch have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceInfo {
    /// `mysql`, `postgresql`, `sqlite`.
    pub connector: String,
    /// Our version, as events state it.
    pub version: String,
    /// The pipeline.
    pub pipeline: String,
    /// The tenant.
    pub tenant: String,
    /// The source's id in the pipeline.
    pub source_id: String,
    /// What [`Event::pos`] is called in `source`, such as `pos` or `sequence`; empty: not shown.
    pub pos_name: String,
    /// Whether the position prints as a PostgreSQL LSN (`16/B374D848`) and not as a number.
    pub pos_is_lsn: bool,
}

/// One transaction of the source.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Transaction {
    /// The source's name for it (GTID, xid).
    pub id: String,
    /// More members of `source`, such as `gtid`, `file`, `txId`: name and JSON text, in order.
    pub source: Vec<(String, String)>,
}

impl Transaction {
    fn byte_size(&self) -> usize {
        let texts = self.source.iter().map(|(name, json)| 2 * size_of::<String>() + name.len() + json.len());
        size_of::<Self>() + self.id.capacity() + texts.sum::<usize>()
    }
}

/// The mark of an event that a source took from a transactional outbox.
pub const OUTBOX_MARK: &str = "__outbox";
/// The mark of an event whose message is its `after` alone, without an envelope.
pub const RAW_MARK: &str = "__raw";

/// Whether a tag is a mark inside of the host: it begins with two underscores. No message shows marks, and who
/// replaces an event's tags takes none of them away.
pub fn is_mark(tag: &str) -> bool {
    tag.starts_with("__")
}

/// What few events have: tags, headers, routing and the like. Equal ones are stored once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Side {
    /// Tags; `None`: the event has no `tags` at all.
    pub tags: Option<Vec<String>>,
    /// Message headers.
    pub headers: Vec<(String, String)>,
    /// Topic, stream, subject or URL to go to, in place of the sink's own.
    pub topic: Option<String>,
    /// Message key, in place of the sink's own.
    pub key: Option<String>,
    /// A DDL statement and the database it ran in.
    pub ddl: Option<(String, String)>,
    /// Content of a log message.
    pub message: Option<String>,
    /// Who made this event, when no source did.
    pub synthetic: Option<String>,
    /// Members set by a script: dotted path (`table`, `source.shard`) and JSON text; an empty text takes the
    /// member away.
    pub fields: Vec<(String, String)>,
}

impl Side {
    /// Whether the event has this tag or mark.
    pub fn has_tag(&self, tag: &str) -> bool {
        self.tags.iter().flatten().any(|held| held == tag)
    }

    /// Bytes held in memory.
    pub(crate) fn byte_size(&self) -> usize {
        let pairs = self.headers.iter().chain(&self.fields).chain(&self.ddl);
        let texts = [&self.topic, &self.key, &self.message, &self.synthetic];
        size_of::<Self>()
            + self.tags.iter().flatten().map(|tag| size_of::<String>() + tag.len()).sum::<usize>()
            + pairs.map(|(a, b)| 2 * size_of::<String>() + a.len() + b.len()).sum::<usize>()
            + texts.into_iter().flatten().map(String::len).sum::<usize>()
    }
}

/// No image, no transaction: the offset that points nowhere.
pub(crate) const NONE64: u64 = u64::MAX;
pub(crate) const NONE32: u32 = u32::MAX;
pub(crate) const FLAG_LAST: u8 = 1;
pub(crate) const SNAPSHOT_SHIFT: u8 = 1;

/// One event's fixed-size entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub id: EventId,
    pub before: u64,
    pub after: u64,
    pub ts_us: i64,
    pub pos: u64,
    pub ordinal: u32,
    pub row: u32,
    pub tx: u32,
    pub side: u32,
    pub table: u16,
    pub op: Op,
    pub flags: u8,
}

impl Entry {
    pub(crate) fn image(&self, image: Image) -> u64 {
        match image {
            Image::Before => self.before,
            Image::After => self.after,
        }
    }

    pub(crate) fn set_image(&mut self, image: Image, at: u64) {
        match image {
            Image::Before => self.before = at,
            Image::After => self.after = at,
        }
    }
}

/// An event that a stage or an encoder would not let through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    pub(crate) entry: Entry,
    /// The stage that rejected it.
    pub stage: String,
    /// A stable code, such as `plugin_rejected` or `plugin_trap`.
    pub code: String,
    /// Why, in the rejecter's words.
    pub reason: String,
}

/// Change events in commit order, of one source, of one or several tables.
///
/// Cheap to look at in place; changed only through an [`crate::Overlay`]. Rows that nobody changes are never
/// copied; a changed row is written anew at the end, and [`Batch::byte_size`] tells what both hold.
#[derive(Debug, Clone)]
pub struct Batch {
    pub(crate) info: Arc<SourceInfo>,
    pub(crate) tables: Vec<Arc<TableSchema>>,
    pub(crate) transactions: Vec<Transaction>,
    pub(crate) sides: Vec<Side>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) rows: Vec<u8>,
    pub(crate) large: Vec<u8>,
    pub(crate) rejects: Vec<Reject>,
}

impl Batch {
    /// How many events it holds.
    #[inline]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it holds no events.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What all its events share.
    pub fn info(&self) -> &Arc<SourceInfo> {
        &self.info
    }

    /// The table schemas that events refer to by index. Two versions of one table can stand side by side.
    pub fn tables(&self) -> &[Arc<TableSchema>] {
        &self.tables
    }

    /// Bytes of rows, as [`crate::BatchBuilder::row_bytes`] counted them.
    pub fn row_bytes(&self) -> usize {
        self.rows.len() + self.large.len()
    }

    /// Bytes held in memory, for the budget.
    pub fn byte_size(&self) -> usize {
        self.rows.capacity()
            + self.large.capacity()
            + self.entries.capacity() * size_of::<Entry>()
            + self.transactions.iter().map(Transaction::byte_size).sum::<usize>()
            + self.sides.iter().map(Side::byte_size).sum::<usize>()
            + self.rejects.iter().map(|reject| size_of::<Reject>() + reject.reason.len()).sum::<usize>()
            + size_of::<Self>()
    }

    /// The event at `index`.
    ///
    /// # Panics
    ///
    /// If there is none.
    #[inline]
    pub fn event(&self, index: usize) -> Event<'_> {
        Event { batch: self, entry: &self.entries[index] }
    }

    /// The events in order.
    #[inline]
    pub fn events(&self) -> impl ExactSizeIterator<Item = Event<'_>> {
        self.entries.iter().map(|entry| Event { batch: self, entry })
    }

    /// Events that stages rejected, with the reason.
    pub fn rejects(&self) -> impl ExactSizeIterator<Item = (Event<'_>, &Reject)> {
        self.rejects.iter().map(|reject| (Event { batch: self, entry: &reject.entry }, reject))
    }

    /// The rejected events as a batch of their own, in the order they were rejected.
    pub fn rejects_as_batch(&self) -> Self {
        self.with_entries(self.rejects.iter().map(|reject| reject.entry).collect())
    }

    /// Forgets the rejected events, once they are safe elsewhere.
    pub fn clear_rejects(&mut self) {
        self.rejects.clear();
    }

    /// Moves events to the rejects. For encoders that meet an event they cannot write.
    ///
    /// # Panics
    ///
    /// If one of the rows does not exist.
    pub fn reject_events(&mut self, rows: &[usize], stage: &str, code: &str, reason: &str) {
        let mut gone = vec![false; self.entries.len()];
        for &row in rows {
            if std::mem::replace(&mut gone[row], true) {
                continue;
            }
            self.rejects.push(Reject {
                entry: self.entries[row],
                stage: stage.to_owned(),
                code: code.to_owned(),
                reason: reason.to_owned(),
            });
        }
        let mut gone = gone.into_iter();
        self.entries.retain(|_| gone.next() == Some(false));
    }

    /// Splits off the events from `at` on, with all they refer to. Rejects stay here.
    pub fn split_off(&mut self, at: usize) -> Self {
        let tail = self.entries.split_off(at);
        self.with_entries(tail)
    }

    /// A copy of these events, with what they refer to and nothing else.
    ///
    /// # Panics
    ///
    /// If one of the rows does not exist.
    pub fn pick(&self, rows: &[usize]) -> Self {
        self.with_entries(rows.iter().map(|row| self.entries[*row]).collect())
    }

    /// A batch of these entries of ours, with copies of what they refer to and of nothing else.
    fn with_entries(&self, mut entries: Vec<Entry>) -> Self {
        let (mut rows, mut large) = (Vec::new(), Vec::new());
        let (mut sides, mut transactions) = (vec![Side::default()], Vec::new());
        let (mut moved_sides, mut moved_transactions) = (HashMap::from([(0, 0)]), HashMap::new());
        for entry in &mut entries {
            for image in Image::BOTH {
                if let Some(row) = self.row_at(entry.image(image)) {
                    entry.set_image(image, row.copy_to(&mut rows, &mut large));
                }
            }
            entry.side = *moved_sides.entry(entry.side).or_insert_with_key(|side| {
                sides.push(self.sides[*side as usize].clone());
                sides.len() as u32 - 1
            });
            entry.tx = *moved_transactions.entry(entry.tx).or_insert_with_key(|tx| {
                let Some(transaction) = self.transactions.get(*tx as usize) else { return NONE32 };
                transactions.push(transaction.clone());
                transactions.len() as u32 - 1
            });
        }
        Self {
            info: self.info.clone(),
            tables: self.tables.clone(),
            transactions,
            sides,
            entries,
            rows,
            large,
            rejects: Vec::new(),
        }
    }

    #[inline]
    pub(crate) fn row_at(&self, at: u64) -> Option<Row<'_>> {
        (at != NONE64).then(|| Row::at(&self.rows, at, &self.large))
    }
}

/// One event, borrowed from its batch.
#[derive(Clone, Copy)]
pub struct Event<'a> {
    batch: &'a Batch,
    entry: &'a Entry,
}

impl<'a> Event<'a> {
    /// The batch it is in.
    pub fn batch(&self) -> &'a Batch {
        self.batch
    }

    /// Its stable id.
    pub fn id(&self) -> EventId {
        self.entry.id
    }

    /// What happened.
    pub fn op(&self) -> Op {
        self.entry.op
    }

    /// The table, as of this event.
    pub fn table(&self) -> &'a Arc<TableSchema> {
        &self.batch.tables[self.entry.table as usize]
    }

    /// The table's index in [`Batch::tables`].
    pub fn table_index(&self) -> usize {
        self.entry.table as usize
    }

    /// What it shares with the whole batch.
    pub fn info(&self) -> &'a SourceInfo {
        &self.batch.info
    }

    /// The source's time of the change, microseconds since the Unix epoch.
    pub fn ts_us(&self) -> i64 {
        self.entry.ts_us
    }

    /// The source's own number for the change; [`SourceInfo::pos_name`] says what it is.
    pub fn pos(&self) -> u64 {
        self.entry.pos
    }

    /// Its number among all rows of its transaction, before any filter.
    pub fn ordinal(&self) -> u32 {
        self.entry.ordinal
    }

    /// Its number in the batch as the source handed it out; an added event has its parent's.
    pub fn source_row(&self) -> u32 {
        self.entry.row
    }

    /// Its transaction, where the source knows one.
    pub fn transaction(&self) -> Option<&'a Transaction> {
        self.batch.transactions.get(self.entry.tx as usize)
    }

    /// A number that events of one transaction share and neighbours of another do not.
    pub fn transaction_index(&self) -> Option<u32> {
        (self.entry.tx != NONE32).then_some(self.entry.tx)
    }

    /// Whether the source said that this row ends its transaction.
    pub fn is_last(&self) -> bool {
        self.entry.flags & FLAG_LAST != 0
    }

    /// Where it stands in a snapshot.
    pub fn snapshot(&self) -> SnapshotMark {
        match (self.entry.flags >> SNAPSHOT_SHIFT) & 3 {
            0 => SnapshotMark::No,
            1 => SnapshotMark::First,
            2 => SnapshotMark::True,
            _ => SnapshotMark::Last,
        }
    }

    /// The row as it was.
    #[inline]
    pub fn before(&self) -> Option<Row<'a>> {
        self.batch.row_at(self.entry.before)
    }

    /// The row as it is now.
    #[inline]
    pub fn after(&self) -> Option<Row<'a>> {
        self.batch.row_at(self.entry.after)
    }

    /// One of the two images.
    #[inline]
    pub fn image(&self, image: Image) -> Option<Row<'a>> {
        self.batch.row_at(self.entry.image(image))
    }

    /// The image that says what the row is: after, or before where there is no after.
    pub fn latest(&self) -> Option<Row<'a>> {
        self.after().or_else(|| self.before())
    }

    /// Bytes of its images and of what few events have.
    pub fn byte_size(&self) -> usize {
        let images = [self.before(), self.after()].into_iter().flatten();
        images.map(|row| row.byte_size()).sum::<usize>() + self.side().byte_size()
    }

    /// Tags, headers, routing and the like.
    pub fn side(&self) -> &'a Side {
        &self.batch.sides[self.entry.side as usize]
    }

    /// The same text on every delivery of this change: `tenant|db.table|transaction|event_id`, with `_` for no
    /// tenant and nothing for no transaction.
    pub fn idempotency_key(&self) -> String {
        let (info, table) = (self.info(), self.table());
        let tenant = if info.tenant.is_empty() { "_" } else { &info.tenant };
        let transaction = self.transaction().map_or("", |transaction| &transaction.id);
        format!("{tenant}|{}.{}|{transaction}|{}", table.database(), table.name(), self.id())
    }

    /// A number that events of this batch with equal [`Event::side`] share; 0: nothing there.
    pub fn side_index(&self) -> u32 {
        self.entry.side
    }
}

impl std::fmt::Debug for Event<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Event")
            .field("id", &self.id())
            .field("op", &self.op())
            .field("table", &self.table().qualified())
            .field("before", &self.before())
            .field("after", &self.after())
            .field("side", self.side())
            .finish_non_exhaustive()
    }
}
