//! XA transactions between their two phases.
//!
//! The first phase is in the log with all its rows, as a transaction of its own; whether they ever come to be is told by
//! another one later. Until then their events are kept here as they came.

use std::collections::HashSet;

use crate::binlog::transaction::Xid;
use crate::binlog::{Body, Decoder};
use crate::config::Captured;
use crate::position::Place;

use super::transaction::Ids;

/// The first phase of an XA transaction.
pub(super) struct Prepared {
    /// As statements in the log name it.
    name: String,
    /// What reads its events.
    pub decoder: Decoder,
    /// Its row events and their table maps, in order, of captured tables; or the one that has all of them, compressed.
    pub events: Vec<Vec<u8>>,
    /// Numbers of tables that nobody captures.
    passed: HashSet<u64>,
    /// Whether rows of a captured table are among the compressed ones.
    pub wanted: bool,
    /// What its rows' ids are made from.
    pub ids: Ids,
    /// Where it begins.
    before: Place,
}

/// All XA transactions that are neither committed nor rolled back, the oldest first.
#[derive(Default)]
pub(super) struct AllPrepared {
    all: Vec<Prepared>,
}

impl Prepared {
    /// A first phase begins behind `before`.
    pub fn begin(name: String, decoder: Decoder, ids: Ids, before: Place) -> Self {
        Self { name, decoder, events: Vec::new(), passed: HashSet::new(), wanted: false, ids, before }
    }

    /// Keeps an event, unless it is of a table that nobody captures.
    pub fn keep(&mut self, body: &Body<'_>, packet: &[u8], captured: &Captured) {
        match body {
            Body::TableMap(map) if !captured.has(map.database, map.table) => {
                self.passed.insert(map.table_id);
                return;
            }
            Body::TableMap(map) => {
                self.passed.remove(&map.table_id);
            }
            Body::Rows(rows) if self.passed.contains(&rows.table_id) => return,
            _ => {}
        }
        self.events.push(packet.to_vec());
    }

    fn bytes(&self) -> usize {
        let events: usize = self.events.iter().map(Vec::len).sum();
        events + size_of_val(self.name.as_str()) + self.passed.len() * size_of::<u64>() * 2
    }
}

impl AllPrepared {
    /// A first phase has ended.
    pub fn add(&mut self, prepared: Prepared) {
        // Who reads it again, after a broken connection, has it once.
        self.all.retain(|known| known.name != prepared.name);
        self.all.push(prepared);
    }

    /// Takes the one with this name.
    pub fn take(&mut self, name: &str) -> Option<Prepared> {
        let at = self.all.iter().position(|prepared| prepared.name == name)?;
        Some(self.all.remove(at))
    }

    /// Where the oldest one begins.
    pub fn oldest(&self) -> Option<&Place> {
        self.all.first().map(|prepared| &prepared.before)
    }

    /// Bytes that are kept.
    pub fn bytes(&self) -> usize {
        self.all.iter().map(Prepared::bytes).sum()
    }
}

/// An XA transaction's name as statements in the log have it: `X'6162',X'',1`.
pub(super) fn name_of(xid: &Xid<'_>) -> String {
    use std::fmt::Write;
    let mut name = String::new();
    for part in [xid.gtrid, xid.bqual] {
        name.push_str("X'");
        for byte in part {
            let _ = write!(name, "{byte:02x}");
        }
        name.push_str("',");
    }
    let _ = write!(name, "{}", xid.format);
    name
}
