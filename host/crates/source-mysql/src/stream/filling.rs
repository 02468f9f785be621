//! The batch that is being filled.

use std::sync::Arc;
use std::time::Duration;

use deltaforge_engine::batcher::{BatchLimits, Batcher};
use deltaforge_engine::source::{NEW_KEY_HEADER, OLD_KEY_HEADER};
use deltaforge_model::{
    BatchBuilder, Boundary, EventHead, EventId, Image, LogSpan, OUTBOX_MARK, Op, Position, Side,
    SnapshotMark, SourceBatch, SourceInfo, TableSchema,
};

use super::transaction::Open;
use crate::binlog::RowsKind;
use crate::error::DecodeError;
use crate::row::{RowCursor, Scratch};

/// The batch that is being filled, and where it begins.
#[derive(Debug)]
pub(super) struct Filling {
    info: Arc<SourceInfo>,
    limits: BatchLimits,
    batcher: Batcher,
    /// Where it begins.
    from: Position,
    scratch: Scratch,
}

/// Where a row of the log stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'a> {
    pub schema: &'a Arc<TableSchema>,
    pub kind: RowsKind,
    /// Whether its table is an outbox.
    pub outbox: bool,
    /// Where its event begins in the log file.
    pub pos: u64,
    /// The log file.
    pub file: &'a str,
}

impl Filling {
    /// A batch that begins behind `from`.
    pub fn new(info: Arc<SourceInfo>, limits: BatchLimits, from: Position) -> Self {
        let batcher = Batcher::new(BatchBuilder::new(info.clone()), limits, from.clone());
        Self { info, limits, batcher, from, scratch: Scratch::bounded(limits.hard_bytes) }
    }

    /// Another one begins behind `from`, in place of the one so far, which is empty.
    pub fn begin_behind(&mut self, from: Position) {
        self.batcher = Batcher::new(BatchBuilder::new(self.info.clone()), self.limits, from.clone());
        self.from = from;
    }

    /// Where it begins: behind the batch that was closed last.
    pub fn from(&self) -> &Position {
        &self.from
    }

    /// How many events it holds.
    pub fn len(&self) -> usize {
        self.batcher.builder.len()
    }

    /// Most bytes of a batch, and of a row.
    pub fn hard_bytes(&self) -> usize {
        self.limits.hard_bytes
    }

    /// Whether it must go before `more` bytes are added inside of a transaction; `in_pieces`: a part of that went already, so
    /// that there is nothing to keep together any more.
    pub fn has_no_room(&mut self, more: usize, in_pieces: bool) -> bool {
        let builder = &self.batcher.builder;
        !builder.is_empty()
            && (builder.row_bytes().saturating_add(more) > self.limits.hard_bytes
                || self.batcher.is_full(in_pieces, false))
    }

    /// Whether it should go, between transactions.
    pub fn is_full(&mut self) -> bool {
        self.batcher.is_full(true, false)
    }

    /// For how long its first event has waited.
    pub fn age(&self) -> Duration {
        self.batcher.age()
    }

    /// The transaction has ended: its last event is the last one here.
    pub fn mark_last(&mut self) {
        self.batcher.builder.mark_last();
    }

    /// Takes the last events back until `len` are left.
    pub fn take_back(&mut self, len: usize) {
        while self.len() > len {
            self.batcher.builder.undo();
        }
    }

    /// Ends it; another one begins behind `through`.
    pub fn close(&mut self, through: Position, boundary: Boundary) -> SourceBatch {
        let next = Batcher::new(BatchBuilder::new(self.info.clone()), self.limits, through.clone());
        self.from.clone_from(&through);
        let closed = std::mem::replace(&mut self.batcher, next).close(through, boundary);
        self.batcher.builder.make_room(&closed.batch);
        closed
    }

    /// Ends it inside of a transaction, which begins behind `before`: what came before that stands apart.
    ///
    /// `counted`: by what its rows are counted.
    pub fn cut(&mut self, tx: &mut Open, before: &Position, counted: &str) -> Vec<SourceBatch> {
        let mut batch = self.close(before.clone(), Boundary::Transaction);
        let mut batches = Vec::new();
        if tx.first > 0 {
            let piece = batch.batch.split_off(tx.first);
            let covers = LogSpan { from: before.clone(), through: before.clone() };
            let whole = std::mem::replace(
                &mut batch,
                SourceBatch { batch: piece, covers, boundary: Boundary::Transaction },
            );
            batches.push(whole);
        }
        if !batch.batch.is_empty() {
            tx.handed_out += batch.batch.len() as u64;
            let transaction = format!("{} {} {counted}", tx.name, tx.ts_us);
            batch.boundary = Boundary::Inside { transaction, rows_done: tx.handed_out };
            batches.push(batch);
        }
        (tx.first, tx.index) = (0, None);
        batches
    }

    /// Adds the next row of a cursor; answers its bytes.
    pub fn row(
        &mut self,
        tx: &mut Open,
        from: Source<'_>,
        cursor: &mut RowCursor<'_>,
    ) -> Result<usize, DecodeError> {
        let bytes = self.batcher.builder.row_bytes();
        let number = tx.ids.number(from.schema);
        let op = match from.kind {
            RowsKind::Write => Op::Create,
            RowsKind::Update => Op::Update,
            RowsKind::Delete => Op::Delete,
        };
        self.event(tx, from, op, number, 0);
        self.mark(from.outbox, None);
        let written = cursor.write(&mut self.batcher.builder, &mut self.scratch)?;
        if written.key_changed {
            self.batcher.builder.undo();
            tx.events -= 1;
            self.event(tx, from, Op::Delete, number, 0);
            self.mark(from.outbox, Some(NEW_KEY_HEADER));
            cursor.write_image(Image::Before, &mut self.batcher.builder, &mut self.scratch)?;
            self.event(tx, from, Op::Create, number, 1);
            self.mark(from.outbox, Some(OLD_KEY_HEADER));
            cursor.write_image(Image::After, &mut self.batcher.builder, &mut self.scratch)?;
        }
        Ok(self.batcher.builder.row_bytes() - bytes)
    }

    /// Adds what is no row: a statement, or that a table is empty.
    pub fn note(&mut self, tx: &mut Open, from: Source<'_>, op: Op, side: Side) {
        let number = tx.ids.number(from.schema);
        // Rows of the same table in the same transaction have other ids.
        self.event(tx, from, op, number, 2);
        self.batcher.builder.side(side);
    }

    /// Adds an event that carries progress only.
    pub fn heartbeat(&mut self) {
        let schema = TableSchema::new("", None, "_df_heartbeat", Vec::new(), &[]);
        let table = self.batcher.builder.table(&schema);
        self.batcher.builder.event(EventHead {
            id: EventId::derive(0, &[]),
            op: Op::Heartbeat,
            table,
            transaction: None,
            ordinal: 0,
            ts_us: 0,
            pos: 0,
            last: true,
            snapshot: SnapshotMark::No,
        });
    }

    fn event(&mut self, tx: &mut Open, from: Source<'_>, op: Op, number: u64, part: u8) {
        let builder = &mut self.batcher.builder;
        let index = match tx.index {
            Some(index) => index,
            None => builder.transaction(tx.described(from.file)),
        };
        tx.index = Some(index);
        let table = builder.table(from.schema);
        builder.event(EventHead {
            id: tx.ids.id(from.schema.qualified(), number, part),
            op,
            table,
            transaction: Some(index),
            ordinal: tx.events,
            ts_us: tx.ts_us,
            pos: from.pos,
            last: false,
            snapshot: SnapshotMark::No,
        });
        tx.events += 1;
    }

    /// Marks the event begun last as of an outbox, and as a half of a moved row.
    fn mark(&mut self, outbox: bool, half: Option<&str>) {
        if outbox || half.is_some() {
            let tags = outbox.then(|| vec![OUTBOX_MARK.to_owned()]);
            let headers = half.map(|header| (header.to_owned(), String::new())).into_iter().collect();
            self.batcher.builder.side(Side { tags, headers, ..Side::default() });
        }
    }
}
