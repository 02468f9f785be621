//! The transaction that is being read.

use std::fmt::Write as _;
use std::sync::Arc;

use deltaforge_model::{EventId, TableSchema, Transaction};

use super::savepoints::Savepoints;
use crate::definitions::Redefined;
use crate::position::Name;

/// A transaction of the log, from its first event to its last.
#[derive(Debug)]
pub(super) struct Open {
    /// What it is called.
    pub name: Name,
    /// What its rows' ids are made from: its name, or that of the first phase of an XA transaction.
    pub ids: Ids,
    /// The server that it was made on.
    pub server_id: u32,
    /// When it was committed where it was made, microseconds since the Unix epoch. Of MariaDB, when its first rows were changed.
    pub ts_us: i64,
    /// Its first rows are still to say that.
    pub is_untimed: bool,
    /// Whether it was read before: only the rows of XA transactions are of interest.
    pub known: bool,
    /// Whether BEGIN, or what stands for it, came.
    pub begun: bool,
    /// Whether its statement changed nothing: a phase of an ALTER TABLE that is logged in two.
    pub passes: bool,
    /// Where its events begin in the batch that is being filled.
    pub first: usize,
    /// Its number in that batch; `None`: none of its rows are there yet.
    pub index: Option<u32>,
    /// Events of it in this batch and those before.
    pub events: u32,
    /// Events of it in batches that were handed out.
    pub handed_out: u64,
    pub savepoints: Savepoints,
    /// What its statement did to definitions.
    pub redefined: Vec<Redefined>,
}

impl Open {
    pub fn new(name: Name, ids: Ids, server_id: u32, ts_us: i64, known: bool, first: usize) -> Self {
        Self {
            name,
            ids,
            server_id,
            ts_us,
            is_untimed: false,
            known,
            begun: false,
            passes: false,
            first,
            index: None,
            events: 0,
            handed_out: 0,
            savepoints: Savepoints::default(),
            redefined: Vec::new(),
        }
    }

    /// What batches say of it. `file`: the log file that it stands in. Once for each transaction, which may have one row only: every
    /// text is made in one piece.
    pub fn described(&self, file: &str) -> Transaction {
        let mut id = String::with_capacity(64);
        let _ = write!(id, "{}", self.name);
        let mut source = Vec::with_capacity(3);
        source.push(("server_id".to_owned(), self.server_id.to_string()));
        if !matches!(self.name, Name::At(..)) {
            // Letters, digits, dashes and colons.
            source.push(("gtid".to_owned(), ["\"", &id, "\""].concat()));
        }
        source.push(("file".to_owned(), serde_json::to_string(file).unwrap_or_default()));
        Transaction { id, source }
    }
}

/// Makes the ids of a transaction's rows: of its name, the table, and the row's number among those of its table. So they
/// are the same on every server, and whatever other tables are captured.
#[derive(Debug)]
pub(super) struct Ids {
    ts_ms: i64,
    name: String,
    /// How many rows of each table there were.
    rows: Vec<(Arc<TableSchema>, u64)>,
    /// The table of the last row.
    table: usize,
}

impl Ids {
    /// `identity`: the server, where the name alone does not tell the transaction from those of other servers.
    pub fn new(name: &Name, identity: &str, ts_us: i64) -> Self {
        let name = match name {
            Name::At(..) => format!("{identity} {name}"),
            name => {
                let mut text = String::with_capacity(64);
                let _ = write!(text, "{name}");
                text
            }
        };
        let mut ids = Self { ts_ms: 0, name, rows: Vec::new(), table: 0 };
        ids.at(ts_us);
        ids
    }

    /// They are of that time.
    pub fn at(&mut self, ts_us: i64) {
        self.ts_ms = ts_us.div_euclid(1_000);
    }

    /// When they are from.
    pub fn ts_us(&self) -> i64 {
        self.ts_ms * 1_000
    }

    /// The number of the next row of this table.
    pub fn number(&mut self, schema: &Arc<TableSchema>) -> u64 {
        let is =
            |known: &Arc<TableSchema>| Arc::ptr_eq(known, schema) || known.qualified() == schema.qualified();
        if !self.rows.get(self.table).is_some_and(|(known, _)| Arc::ptr_eq(known, schema)) {
            self.table = self.rows.iter().position(|(known, _)| is(known)).unwrap_or_else(|| {
                self.rows.push((schema.clone(), 0));
                self.rows.len() - 1
            });
        }
        let (_, next) = &mut self.rows[self.table];
        *next += 1;
        *next - 1
    }

    /// The id of what a row became: `part` counts what one row becomes several of.
    pub fn id(&self, table: &str, number: u64, part: u8) -> EventId {
        EventId::derive(self.ts_ms, &[self.name.as_bytes(), table.as_bytes(), &number.to_le_bytes(), &[part]])
    }
}
