//! What changes in the log between the opening of a view and its mark.

use std::collections::HashSet;

use deltaforge_model::value::CellKind;
use deltaforge_model::{Batch, Op, Row, TableSchema};
use xxhash_rust::xxh3::xxh3_128;

use crate::ddl::TableName;

/// Most keys that are kept. A view during which more change is opened anew.
const MOST_KEYS: usize = 1 << 18;

/// Keys that the log has said something of. Of a key 16 bytes of its hash are kept.
#[derive(Debug, Default)]
pub(crate) struct Window {
    tables: HashSet<TableName>,
    keys: HashSet<u128>,
    /// Tables without a key of which some row changed, those that changed as a whole, and those of which the log does not
    /// say all of a row.
    whole: HashSet<TableName>,
    scratch: Vec<u8>,
}

impl Window {
    /// Looks out for changes of these tables.
    pub fn of(tables: impl IntoIterator<Item = TableName>) -> Self {
        Self { tables: tables.into_iter().collect(), ..Self::default() }
    }

    /// Looks out for changes of these tables too.
    pub fn watch(&mut self, tables: impl IntoIterator<Item = TableName>) {
        self.tables.extend(tables);
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
            // `binlog_row_image`, of the server or of one session: what the log says of the row is not all of it.
            let partial = event.after().is_some_and(|row| {
                (0..schema.columns().len()).any(|at| row.raw(at).0 == CellKind::Unavailable)
            });
            if partial {
                self.whole.insert(name);
                continue;
            }
            for row in [event.before(), event.after()].into_iter().flatten() {
                // The log may have any number of them before the mark.
                if !self.is_too_large() {
                    let key = self.hash(schema, &row);
                    self.keys.insert(key);
                }
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

    /// Tables of which more changed than rows that have names: a view from before is of no use for them.
    pub fn changed_as_a_whole(&self) -> impl Iterator<Item = &TableName> {
        self.whole.iter()
    }

    /// Whether more keys changed than are kept: some are missing here.
    pub fn is_too_large(&self) -> bool {
        self.keys.len() > MOST_KEYS
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use deltaforge_model::value::CellKind;
    use deltaforge_model::{
        BatchBuilder, Cell, Column, EventHead, EventId, Image, Kind, SnapshotMark, SourceInfo,
    };

    use super::*;

    fn update(keys: std::ops::Range<i64>, cell: &Cell<'_>) -> Batch {
        let column = |name: &str| Column {
            name: name.into(),
            kind: Kind::Of(CellKind::Int),
            source_type: "int".into(),
            nullable: true,
        };
        let schema = TableSchema::new("d", None, "t", vec![column("id"), column("v")], &["id"]);
        let mut builder = BatchBuilder::new(Arc::new(SourceInfo {
            connector: String::new(),
            version: String::new(),
            pipeline: String::new(),
            tenant: String::new(),
            source_id: String::new(),
            pos_name: String::new(),
            pos_is_lsn: false,
        }));
        let table = builder.table(&schema);
        for key in keys {
            builder.event(EventHead {
                id: EventId::derive(0, &[]),
                op: Op::Update,
                table,
                transaction: None,
                ordinal: 0,
                ts_us: 0,
                pos: 0,
                last: true,
                snapshot: SnapshotMark::No,
            });
            builder.image(Image::After, |row| {
                row.push(&Cell::Int(key)).push(cell);
            });
        }
        builder.finish()
    }

    #[test]
    fn a_row_that_the_log_has_a_part_of_is_not_left_to_it() {
        let table = || TableName::new("d", "t");
        let mut window = Window::of([table()]);
        window.note(&update(0..1, &Cell::Null));
        assert_eq!((window.keys.len(), window.changed_as_a_whole().next()), (1, None));
        window.note(&update(0..1, &Cell::Unavailable));
        assert_eq!(window.changed_as_a_whole().next(), Some(&table()));
    }

    #[test]
    fn what_is_kept_of_a_long_way_to_a_mark_is_bounded() {
        let mut window = Window::of([TableName::new("d", "t")]);
        let most = MOST_KEYS as i64;
        window.note(&update(0..most, &Cell::Null));
        assert!(!window.is_too_large());
        window.note(&update(most..2 * most, &Cell::Null));
        assert!(window.is_too_large());
        assert_eq!(window.keys.len(), MOST_KEYS + 1);
    }
}
