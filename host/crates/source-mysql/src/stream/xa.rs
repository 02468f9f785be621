//! XA transactions between their two phases.
//!
//! The first phase is in the log with all its rows, as a transaction of its own; whether they ever come to be is told by
//! another one later. Until then their events are kept here as they came.

use std::collections::HashSet;

use crate::binlog::{Body, Decoder};
use crate::config::Captured;
use crate::position::Place;

use super::transaction::Ids;

/// What the number of a table takes among those that are passed by.
const NUMBER: usize = 2 * size_of::<u64>();

/// The first phase of an XA transaction.
pub(super) struct Prepared {
    /// As statements in the log name it.
    name: String,
    /// What reads its events.
    decoder: Decoder,
    /// Its row events and their table maps, in order, of captured tables; or the one that has all of them, compressed.
    events: Vec<Vec<u8>>,
    /// Memory that it takes.
    bytes: usize,
    /// Numbers of tables that nobody captures.
    passed: HashSet<u64>,
    /// Whether rows of a captured table are among the compressed ones.
    pub wanted: bool,
    /// There was no room for its events.
    forgotten: bool,
    /// What its rows' ids are made from.
    pub ids: Ids,
    /// Where it begins.
    before: Place,
}

/// All XA transactions that are neither committed nor rolled back, the oldest first.
#[derive(Default)]
pub(super) struct AllPrepared {
    all: Vec<Prepared>,
    /// Memory that they take.
    bytes: usize,
}

/// Memory that an event takes.
fn room_of(packet: &[u8]) -> usize {
    size_of::<Vec<u8>>() + packet.len()
}

impl Prepared {
    /// A first phase begins behind `before`.
    pub fn begin(name: String, decoder: Decoder, ids: Ids, before: Place) -> Self {
        let bytes = size_of::<Self>() + name.len();
        Self {
            name,
            decoder,
            events: Vec::new(),
            bytes,
            passed: HashSet::new(),
            wanted: false,
            forgotten: false,
            ids,
            before,
        }
    }

    /// Keeps an event, unless it is of a table that nobody captures.
    pub fn keep(&mut self, body: &Body<'_>, packet: &[u8], captured: &Captured) {
        match body {
            Body::TableMap(map) if !captured.has(map.database, map.table) => {
                if self.passed.insert(map.table_id) {
                    self.bytes += NUMBER;
                }
                return;
            }
            Body::TableMap(map) => {
                self.passed.remove(&map.table_id);
            }
            Body::Rows(rows) if self.passed.contains(&rows.table_id) => return,
            _ => {}
        }
        self.push(packet);
    }

    /// Keeps an event, whatever is in it.
    pub fn push(&mut self, packet: &[u8]) {
        if self.forgotten {
            return;
        }
        self.bytes += room_of(packet);
        self.events.push(packet.to_vec());
    }

    /// Gives its room back.
    pub fn forget(&mut self) {
        self.truncate(0);
        self.forgotten = true;
    }

    /// Whether its events were forgotten.
    pub fn is_forgotten(&self) -> bool {
        self.forgotten
    }

    /// How many events are kept.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Drops the events behind the first `kept`: they are rolled back.
    pub fn truncate(&mut self, kept: usize) {
        let dropped = self.events.drain(kept.min(self.events.len())..);
        self.bytes -= dropped.map(|event| room_of(&event)).sum::<usize>();
    }

    /// What its rows' ids are made from, what reads its events, and those, in order.
    pub fn into_parts(self) -> (Ids, Decoder, Vec<Vec<u8>>) {
        (self.ids, self.decoder, self.events)
    }

    /// Memory that it takes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl AllPrepared {
    /// A first phase has ended.
    pub fn add(&mut self, prepared: Prepared) {
        // Who reads it again, after a broken connection, has it once.
        drop(self.take(&prepared.name));
        self.bytes += prepared.bytes;
        self.all.push(prepared);
    }

    /// Takes the one with this name.
    pub fn take(&mut self, name: &str) -> Option<Prepared> {
        let at = self.all.iter().position(|prepared| prepared.name == name)?;
        let prepared = self.all.remove(at);
        self.bytes -= prepared.bytes;
        Some(prepared)
    }

    /// Gives the room of the newest back.
    pub fn forget_newest(&mut self) {
        let Some(newest) = self.all.last_mut() else { return };
        self.bytes -= newest.bytes;
        newest.forget();
        self.bytes += newest.bytes;
    }

    /// Where the oldest one begins.
    pub fn oldest(&self) -> Option<&Place> {
        self.all.first().map(|prepared| &prepared.before)
    }

    /// Memory that they take.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}
