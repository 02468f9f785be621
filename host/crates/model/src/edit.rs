//! What a stage changes. Kept beside the batch until the stage has answered `ok`, then applied whole.
//!
//! Every edit is checked when it is made, against the batch as it came, so [`Overlay::apply`] cannot fail
//! half-way. Edits of one cell: the later one wins. Row numbers are the view's.

use std::collections::HashMap;
use std::sync::Arc;

use crate::batch::{Batch, Entry, Image, NONE64, Op, Reject};
use crate::row::{Row, RowWriter};
use crate::schema::{Column as SchemaColumn, Kind, TableSchema};
use crate::value::{Cell, CellKind};
use crate::view::View;

mod apply;
mod columns;
mod growth;
mod rows;
mod sides;

pub use growth::{cells_bytes, image_bytes};

/// An edit that makes no sense; the call that made it fails and nothing of it is applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// There is no such row in the view.
    #[error("row {row} does not exist, the batch has {rows}")]
    NoRow {
        /// The row named.
        row: usize,
        /// How many there are.
        rows: usize,
    },
    /// The row was dropped or rejected by an earlier edit of the same call.
    #[error("row {row} was dropped or rejected before")]
    Dropped {
        /// The row named.
        row: usize,
    },
    /// The event has no such image (an insert has no `before`, a delete no `after`).
    #[error("row {row} has no {image:?} image")]
    NoImage {
        /// The row named.
        row: usize,
        /// The image named.
        image: Image,
    },
    /// The row's table has no such column.
    #[error("the table of row {row} has no column {column}")]
    NoColumn {
        /// The row named.
        row: usize,
        /// The column named.
        column: String,
    },
    /// A table would get more columns than it may have.
    #[error("column {column} would be one more than the {} a table may have", TableSchema::MAX_COLUMNS)]
    TooManyColumns {
        /// The column named.
        column: String,
    },
    /// Buffers do not fit the rows or each other, or a text is not UTF-8.
    #[error("{0}")]
    Malformed(String),
}

/// A value that owns its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedCell {
    kind: CellKind,
    bytes: Vec<u8>,
}

impl From<&Cell<'_>> for OwnedCell {
    fn from(cell: &Cell<'_>) -> Self {
        let mut bytes = Vec::new();
        cell.write(&mut bytes);
        Self { kind: cell.kind(), bytes }
    }
}

impl OwnedCell {
    /// The value.
    pub fn as_cell(&self) -> Cell<'_> {
        Cell::read(self.kind, &self.bytes)
    }
}

/// A row image by column names.
pub type NamedCells = Vec<(String, OwnedCell)>;

/// An event that a stage adds.
#[derive(Debug, Clone)]
pub struct Emit {
    /// What happened.
    pub op: Op,
    /// The row as it was.
    pub before: Option<NamedCells>,
    /// The row as it is.
    pub after: Option<NamedCells>,
    /// Changes to what it takes over from its parent's [`Side`].
    pub side: Vec<SideEdit>,
}

/// A change to what few events have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SideEdit {
    /// Adds a tag, unless it is there.
    Tag(String),
    /// Replaces all tags.
    Tags(Option<Vec<String>>),
    /// Sets a header.
    Header(String, String),
    /// Replaces all headers.
    Headers(Vec<(String, String)>),
    /// Sends the event elsewhere; `None`: where the sink says.
    Topic(Option<String>),
    /// Replaces the message key; `None`: the sink's own.
    Key(Option<String>),
    /// Sets a member on the wire: dotted path and JSON text; an empty text takes the member away.
    Field(String, String),
    /// Marks the event as made by this producer.
    Synthetic(String),
}

/// Where an event stands in a new order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// A row of the view.
    Row(u32),
    /// An added event, by the number that [`Overlay::emit`] answered.
    Emit(u32),
}

/// In place of a column: the image as a whole. A patch of kind absent takes it away, any other makes it an empty
/// one that the patches after it fill.
const WHOLE_IMAGE: u16 = u16::MAX;

#[derive(Debug, Clone, Copy)]
struct Patch {
    row: u32,
    image: Image,
    column: u16,
    kind: CellKind,
    at: u64,
    len: u64,
}

/// A new order of a view's rows.
#[derive(Debug)]
struct Reorder {
    rows: Arc<[u32]>,
    slots: Vec<Slot>,
    /// Events added up to then; those that the order does not name are taken back.
    emits: u32,
}

/// The edits of one stage on one batch.
#[derive(Debug, Default)]
pub struct Overlay {
    values: Vec<u8>,
    patches: Vec<Patch>,
    added: Vec<(u16, SchemaColumn)>,
    ops: Vec<(u32, Op)>,
    side_edits: Vec<SideEdit>,
    side_rows: Vec<(u32, u32)>,
    gone: Vec<bool>,
    drops: Vec<u32>,
    rejects: Vec<(u32, String, String)>,
    emits: Vec<(u32, Emit)>,
    orders: Vec<Reorder>,
}

/// How far an overlay had come; see [`Overlay::rollback`].
#[derive(Debug, Clone, Copy)]
pub struct Savepoint {
    values: usize,
    patches: usize,
    added: usize,
    ops: usize,
    side_edits: usize,
    side_rows: usize,
    drops: usize,
    rejects: usize,
    emits: usize,
    orders: usize,
}

/// What applying an overlay did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Applied {
    /// Events dropped.
    pub dropped: usize,
    /// Events rejected.
    pub rejected: usize,
    /// Events added.
    pub added: usize,
}

impl Overlay {
    /// No edits.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether there is nothing to apply.
    pub fn is_empty(&self) -> bool {
        self.patches.is_empty()
            && self.ops.is_empty()
            && self.side_rows.is_empty()
            && self.drops.is_empty()
            && self.rejects.is_empty()
            && self.emits.is_empty()
            && self.orders.is_empty()
    }

    /// Bytes held, for limits.
    pub fn byte_size(&self) -> usize {
        self.values.len()
            + self.patches.len() * size_of::<Patch>()
            + self.ops.len() * size_of::<(u32, Op)>()
            + self.side_rows.len() * size_of::<(u32, u32)>()
            + self.side_edits.iter().map(SideEdit::byte_size).sum::<usize>()
            + self.rejects.iter().map(|(_, code, reason)| 56 + code.len() + reason.len()).sum::<usize>()
            + self.added.iter().map(|(_, column)| 64 + column.name.len()).sum::<usize>()
            + self.orders.iter().map(|order| order.slots.len() * size_of::<Slot>()).sum::<usize>()
            + self.emits.iter().map(|(_, emit)| emit.byte_size()).sum::<usize>()
    }

    /// How many events were added so far.
    pub fn emitted(&self) -> usize {
        self.emits.len()
    }

    /// Events rejected so far: batch row, code, reason.
    pub fn rejects(&self) -> &[(u32, String, String)] {
        &self.rejects
    }

    /// Turns every reject into a drop; answers how many there were.
    pub fn drop_rejects(&mut self) -> usize {
        let rejects = std::mem::take(&mut self.rejects);
        self.drops.extend(rejects.iter().map(|(row, ..)| *row));
        rejects.len()
    }

    /// Takes over the edits of an overlay over other rows of the same batch.
    ///
    /// # Errors
    ///
    /// When a table would get too many columns; then nothing is taken over.
    pub fn absorb(&mut self, batch: &Batch, other: Self) -> Result<(), EditError> {
        let start = self.added.len();
        let (values, side_edits, emits) =
            (self.values.len() as u64, self.side_edits.len() as u32, self.emits.len() as u32);
        // A column that both overlays added is one column, and may have another number here.
        let mut columns: HashMap<(u16, u16), u16> = HashMap::new();
        for (table, column) in &other.added {
            let there = other.column_of(batch, *table, &column.name);
            let here = self
                .column_or_add(batch, *table, &column.name, column.kind)
                .inspect_err(|_| self.added.truncate(start))?;
            columns.extend(there.map(|there| ((*table, there), here)));
        }
        self.values.extend_from_slice(&other.values);
        self.patches.extend(other.patches.into_iter().map(|patch| {
            let mut column = patch.column;
            if !columns.is_empty() {
                let table = batch.entries[patch.row as usize].table;
                column = columns.get(&(table, column)).copied().unwrap_or(column);
            }
            Patch { at: patch.at + values, column, ..patch }
        }));
        self.ops.extend(other.ops);
        self.side_edits.extend(other.side_edits);
        self.side_rows.extend(other.side_rows.into_iter().map(|(row, edit)| (row, edit + side_edits)));
        self.gone.resize(self.gone.len().max(other.gone.len()), false);
        self.gone.iter_mut().zip(&other.gone).for_each(|(here, there)| *here |= there);
        self.drops.extend(other.drops);
        self.rejects.extend(other.rejects);
        self.emits.extend(other.emits);
        self.orders.extend(other.orders.into_iter().map(|order| {
            let moved = |slot| match slot {
                Slot::Emit(k) => Slot::Emit(k + emits),
                row => row,
            };
            let slots = order.slots.into_iter().map(moved).collect();
            Reorder { rows: order.rows, slots, emits: order.emits + emits }
        }));
        Ok(())
    }

    /// Marks how far the edits have come.
    pub fn savepoint(&self) -> Savepoint {
        Savepoint {
            values: self.values.len(),
            patches: self.patches.len(),
            added: self.added.len(),
            ops: self.ops.len(),
            side_edits: self.side_edits.len(),
            side_rows: self.side_rows.len(),
            drops: self.drops.len(),
            rejects: self.rejects.len(),
            emits: self.emits.len(),
            orders: self.orders.len(),
        }
    }

    /// Takes back every edit made since the savepoint. What [`Overlay::drop_rejects`] made of rejects is one.
    pub fn rollback(&mut self, to: Savepoint) {
        let dropped = self.drops.drain(to.drops.min(self.drops.len())..);
        let rejected = self.rejects.drain(to.rejects.min(self.rejects.len())..).map(|(row, ..)| row);
        for row in dropped.chain(rejected) {
            self.gone[row as usize] = false;
        }
        self.values.truncate(to.values);
        self.patches.truncate(to.patches);
        self.added.truncate(to.added);
        self.ops.truncate(to.ops);
        self.side_edits.truncate(to.side_edits);
        self.side_rows.truncate(to.side_rows);
        self.emits.truncate(to.emits);
        self.orders.truncate(to.orders);
    }

    fn row(&self, view: &View, row: usize) -> Result<u32, EditError> {
        let at = view.batch_row(row).ok_or(EditError::NoRow { row, rows: view.len() })?;
        if self.is_gone(at) { Err(EditError::Dropped { row }) } else { Ok(at) }
    }

    fn is_gone(&self, at: u32) -> bool {
        self.gone.get(at as usize).copied().unwrap_or(false)
    }

    fn set_gone(&mut self, view: &View, at: u32) {
        self.gone.resize(view.batch().len(), false);
        self.gone[at as usize] = true;
    }

    #[inline]
    fn patch(&mut self, row: u32, image: Image, column: u16, kind: CellKind, bytes: &[u8]) {
        let at = self.values.len() as u64;
        self.values.extend_from_slice(bytes);
        self.patches.push(Patch { row, image, column, kind, at, len: bytes.len() as u64 });
    }

    /// Sets a cell of an existing image, by column name.
    ///
    /// # Errors
    ///
    /// When there is no such row, image or column, or the row was dropped before.
    pub fn set(
        &mut self,
        view: &View,
        row: usize,
        image: Image,
        column: &str,
        cell: &Cell<'_>,
    ) -> Result<(), EditError> {
        let at = self.row(view, row)?;
        let entry = &view.batch().entries[at as usize];
        let column = self
            .column_of(view.batch(), entry.table, column)
            .ok_or_else(|| EditError::NoColumn { row, column: column.to_owned() })?;
        self.set_at(view, row, image, column, cell)
    }

    /// Sets a cell of an existing image, by the column's index in its table.
    ///
    /// # Errors
    ///
    /// As [`Overlay::set`].
    pub fn set_at(
        &mut self,
        view: &View,
        row: usize,
        image: Image,
        column: u16,
        cell: &Cell<'_>,
    ) -> Result<(), EditError> {
        let at = self.row(view, row)?;
        let entry = &view.batch().entries[at as usize];
        if usize::from(column) >= self.columns(view.batch(), entry.table) {
            return Err(EditError::NoColumn { row, column: format!("#{column}") });
        }
        if entry.image(image) == NONE64 {
            return Err(EditError::NoImage { row, image });
        }
        let start = self.values.len();
        cell.write(&mut self.values);
        let len = (self.values.len() - start) as u64;
        self.patches.push(Patch { row: at, image, column, kind: cell.kind(), at: start as u64, len });
        Ok(())
    }

    /// Puts a whole new image in place of the one there is, or of none; `None` takes the image away. Columns
    /// that the table lacks are added to it.
    ///
    /// # Errors
    ///
    /// When there is no such row, it was dropped before, or its table would get too many columns.
    pub fn set_image(
        &mut self,
        view: &View,
        row: usize,
        image: Image,
        cells: Option<&NamedCells>,
    ) -> Result<(), EditError> {
        let at = self.row(view, row)?;
        let Some(cells) = cells else {
            self.patch(at, image, WHOLE_IMAGE, CellKind::Absent, &[]);
            return Ok(());
        };
        let start = self.savepoint();
        self.patch(at, image, WHOLE_IMAGE, CellKind::Null, &[]);
        let table = view.batch().entries[at as usize].table;
        for (name, cell) in cells {
            match self.column_or_add(view.batch(), table, name, Kind::Any) {
                Ok(column) => self.patch(at, image, column, cell.kind, &cell.bytes),
                Err(error) => {
                    self.rollback(start);
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}
