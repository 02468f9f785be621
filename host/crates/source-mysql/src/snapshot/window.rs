//! What changes in the log between the opening of a view and its mark.

use std::collections::HashSet;

use deltaforge_model::{Batch, Op, Row, TableSchema};
use xxhash_rust::xxh3::xxh3_128;

use crate::ddl::TableName;

/// Keys that the log has said something of. Of a key 16 bytes of its hash are kept.
#[derive(Debug, Default)]
pub(crate) struct Window {
    tables: HashSet<TableName>,
    keys: HashSet<u128>,
    /// Tables without a key of which some row changed, and those that changed as a whole.
    whole: HashSet<TableName>,
    scratch: Vec<u8>,
}

impl Window {
    /// Looks out for changes of these tables.
    pub fn of(tables: impl IntoIterator<Item = TableName>) -> Self {
        Self { tables: tables.into_iter().collect(), ..Self::default() }
    }

    /// Takes in a batch of the log.
    pub fn note(&mut self, batch: &Batch) {
        for event in batch.events() {
            let schema = event.table();
            let name = TableName::new(schema.database(), schema.name());
            if matches!(event.op(), Op::Heartbeat) || !self.tables.contains(&name) {
                continue;
            }
            let is_row = matches!(event.op(), Op::Create | Op::Update | Op::Delete);
            if !is_row || schema.key().is_empty() {
                self.whole.insert(name);
                continue;
            }
            for row in [event.before(), event.after()].into_iter().flatten() {
                let key = self.hash(schema, &row);
                self.keys.insert(key);
            }
        }
    }

    /// Whether the log has said something of a row.
    pub fn has(&mut self, schema: &TableSchema, row: &Row<'_>) -> bool {
        !self.keys.is_empty() && !schema.key().is_empty() && {
            let key = self.hash(schema, row);
            self.keys.contains(&key)
        }
    }

    /// A table of which more changed than rows that have names: a view from before is of no use for it.
    pub fn changed_as_a_whole(&self) -> Option<&TableName> {
        self.whole.iter().next()
    }

    /// How many keys are kept.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    fn hash(&mut self, schema: &TableSchema, row: &Row<'_>) -> u128 {
        self.scratch.clear();
        self.scratch.extend_from_slice(schema.qualified().as_bytes());
        for column in schema.key() {
            let (kind, bytes) = row.raw(usize::from(*column));
            self.scratch.push(kind as u8);
            self.scratch.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
            self.scratch.extend_from_slice(bytes);
        }
        xxh3_128(&self.scratch)
    }
}
