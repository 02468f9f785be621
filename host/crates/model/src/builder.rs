//! How a source fills a batch.

use std::sync::Arc;

use crate::batch::{
    Batch, Entry, Event, FLAG_LAST, Image, NONE32, NONE64, Op, SNAPSHOT_SHIFT, Side, SnapshotMark,
    SourceInfo, Transaction,
};
use crate::event_id::EventId;
use crate::row::RowWriter;
use crate::schema::TableSchema;

/// What a source says of an event besides its row images.
#[derive(Debug, Clone, Copy)]
pub struct EventHead {
    /// Its stable id.
    pub id: EventId,
    /// What happened.
    pub op: Op,
    /// The table, from [`BatchBuilder::table`].
    pub table: u16,
    /// The transaction, from [`BatchBuilder::transaction`].
    pub transaction: Option<u32>,
    /// Number among all rows of the transaction.
    pub ordinal: u32,
    /// Source time, microseconds since the Unix epoch.
    pub ts_us: i64,
    /// The source's own number of the change.
    pub pos: u64,
    /// Whether it ends its transaction.
    pub last: bool,
    /// Where it stands in a snapshot.
    pub snapshot: SnapshotMark,
}

/// Appends events to a batch. Strings are copied once, from the source's buffer into the row.
#[derive(Debug)]
pub struct BatchBuilder {
    batch: Batch,
    /// Bytes of rows, and events, that there is to be room for once the first one comes.
    room: (usize, usize),
}

/// Most bytes that room is made for ahead. It counts as the batch's own, however small that becomes.
const MOST_AHEAD: usize = 4 << 20;

impl BatchBuilder {
    /// An empty batch of one source.
    pub fn new(info: Arc<SourceInfo>) -> Self {
        Self {
            batch: Batch {
                info,
                tables: Vec::new(),
                transactions: Vec::new(),
                sides: vec![Side::default()],
                entries: Vec::new(),
                rows: Vec::new(),
                large: Vec::new(),
                rejects: Vec::new(),
            },
            room: (0, 0),
        }
    }

    /// The first event makes room for as much as a batch before this one has, and a little more: no growing, and what is freed
    /// fits again.
    pub fn make_room(&mut self, before: &Batch) {
        let more = |many: usize, most: usize| (many + many / 16).min(most);
        let rows = more(before.rows.len(), MOST_AHEAD);
        self.room = (rows, more(before.entries.len(), MOST_AHEAD / size_of::<Entry>()));
    }

    /// The index of a table schema, added on first use. Cheap for the table used last.
    ///
    /// # Panics
    ///
    /// If the batch would hold more than 65,536 schemas.
    pub fn table(&mut self, schema: &Arc<TableSchema>) -> u16 {
        let known = self.batch.tables.iter().rposition(|known| Arc::ptr_eq(known, schema));
        let at = known.unwrap_or_else(|| {
            self.batch.tables.push(schema.clone());
            self.batch.tables.len() - 1
        });
        u16::try_from(at).expect("a batch holds at most 65,536 schemas")
    }

    /// Adds a transaction; its events name it by the number this answers.
    pub fn transaction(&mut self, transaction: Transaction) -> u32 {
        self.batch.transactions.push(transaction);
        self.batch.transactions.len() as u32 - 1
    }

    /// Starts an event; its images follow.
    pub fn event(&mut self, head: EventHead) {
        let snapshot = match head.snapshot {
            SnapshotMark::No => 0,
            SnapshotMark::First => 1,
            SnapshotMark::True => 2,
            SnapshotMark::Last => 3,
        };
        if self.batch.entries.is_empty() {
            self.batch.rows.reserve(self.room.0);
            self.batch.entries.reserve(self.room.1);
        }
        self.batch.entries.push(Entry {
            id: head.id,
            before: NONE64,
            after: NONE64,
            ts_us: head.ts_us,
            pos: head.pos,
            ordinal: head.ordinal,
            row: self.batch.entries.len() as u32,
            tx: head.transaction.unwrap_or(NONE32),
            side: 0,
            table: head.table,
            op: head.op,
            flags: (u8::from(head.last) * FLAG_LAST) | snapshot << SNAPSHOT_SHIFT,
        });
    }

    /// Writes one image of the event started last: `fill` pushes its cells in column order.
    ///
    /// # Panics
    ///
    /// If no event was started, or `fill` pushes more cells than the table has columns.
    #[inline]
    pub fn image<R>(&mut self, image: Image, fill: impl FnOnce(&mut RowWriter<'_>) -> R) -> R {
        let Batch { entries, tables, rows, large, .. } = &mut self.batch;
        let entry = entries.last_mut().expect("an image belongs to an event");
        let cells = tables[entry.table as usize].columns().len();
        let mut writer = RowWriter::begin(rows, large, cells);
        let result = fill(&mut writer);
        entry.set_image(image, writer.finish());
        result
    }

    /// Sets what few events have, on the event started last.
    pub fn side(&mut self, side: Side) {
        let at = self.batch.sides.iter().rposition(|known| *known == side).unwrap_or_else(|| {
            self.batch.sides.push(side);
            self.batch.sides.len() - 1
        });
        if let Some(entry) = self.batch.entries.last_mut() {
            entry.side = at as u32;
        }
    }

    /// Marks the event started last as its transaction's last.
    pub fn mark_last(&mut self) {
        if let Some(entry) = self.batch.entries.last_mut() {
            entry.flags |= FLAG_LAST;
        }
    }

    /// Marks the event started last as the snapshot's last row.
    pub fn mark_snapshot_last(&mut self) {
        if let Some(entry) = self.batch.entries.last_mut() {
            entry.flags |= 3 << SNAPSHOT_SHIFT;
        }
    }

    /// Takes back the event started last, with its images.
    pub fn undo(&mut self) {
        let Some(entry) = self.batch.entries.pop() else { return };
        let images = [entry.before, entry.after].into_iter().filter(|at| *at != NONE64);
        let large = images.clone().filter_map(|at| self.batch.row_at(at)?.large_start()).min();
        if let Some(at) = images.min() {
            self.batch.rows.truncate(at as usize);
        }
        if let Some(at) = large {
            self.batch.large.truncate(at);
        }
    }

    /// The event that was started last.
    pub fn last(&self) -> Option<Event<'_>> {
        self.batch.entries.len().checked_sub(1).map(|at| self.batch.event(at))
    }

    /// How many events it holds so far.
    pub fn len(&self) -> usize {
        self.batch.entries.len()
    }

    /// Whether it holds none yet.
    pub fn is_empty(&self) -> bool {
        self.batch.entries.is_empty()
    }

    /// Bytes of rows so far, for deciding when the batch is full.
    pub fn row_bytes(&self) -> usize {
        self.batch.row_bytes()
    }

    /// The finished batch.
    pub fn finish(self) -> Batch {
        self.batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{Column, Kind};
    use crate::value::{Cell, CellKind};

    fn builder() -> BatchBuilder {
        BatchBuilder::new(Arc::new(SourceInfo {
            connector: String::new(),
            version: String::new(),
            pipeline: String::new(),
            tenant: String::new(),
            source_id: String::new(),
            pos_name: String::new(),
            pos_is_lsn: false,
        }))
    }

    /// Of a table with two texts.
    fn schema() -> Arc<TableSchema> {
        let column = |name: &str| Column::new(name, Kind::Of(CellKind::Text), "TEXT");
        TableSchema::new("d", None, "t", vec![column("a"), column("b")], &[])
    }

    fn head(table: u16) -> EventHead {
        EventHead {
            id: EventId([0; 16]),
            op: Op::Update,
            table,
            transaction: None,
            ordinal: 0,
            ts_us: 0,
            pos: 0,
            last: true,
            snapshot: SnapshotMark::No,
        }
    }

    #[test]
    fn a_batch_begins_with_room_for_what_the_one_before_took_and_no_more_than_is_worth_it() {
        let text = "x".repeat(1_000);
        let fill = |rows: usize, before: Option<&Batch>| {
            let mut builder = builder();
            before.into_iter().for_each(|before| builder.make_room(before));
            assert_eq!(builder.batch.rows.capacity(), 0, "nothing is held for an event that may not come");
            let table = builder.table(&schema());
            for _ in 0..rows {
                builder.event(head(table));
                builder.image(Image::After, |row| {
                    row.push(&Cell::Text(&text)).push(&Cell::Text("small"));
                });
            }
            builder.finish()
        };
        let small = fill(3, None);
        let next = fill(3, Some(&small));
        assert!(next.byte_size() <= small.byte_size() && next.rows.capacity() < next.rows.len() * 5 / 4);
        let large = fill(20_000, None);
        assert!(large.rows.len() > 4 * MOST_AHEAD);
        assert!(fill(1, Some(&large)).byte_size() < 3 * MOST_AHEAD);
    }

    #[test]
    fn an_event_taken_back_leaves_nothing_in_either_section() {
        let mut builder = builder();
        let table = builder.table(&schema());
        let head = head(table);
        let large = "x".repeat(crate::row::LARGE + 1);
        builder.event(head);
        builder.image(Image::After, |row| {
            row.push(&Cell::Text(&large)).push(&Cell::Text("small"));
        });
        let kept = builder.row_bytes();
        builder.event(head);
        builder.image(Image::Before, |row| {
            row.push(&Cell::Text("small")).push(&Cell::Text(&large));
        });
        builder.image(Image::After, |row| {
            row.push(&Cell::Text(&large)).push(&Cell::Text(&large));
        });
        builder.undo();
        assert_eq!(builder.row_bytes(), kept);
        assert_eq!(builder.finish().event(0).after().map(|row| row.cell(0)), Some(Cell::Text(&large)));
    }
}
