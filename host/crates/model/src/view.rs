//! The rows of a batch that a stage sees, and whole columns of them as flat buffers.

use std::sync::Arc;

use crate::batch::{Batch, Event, Image};
use crate::row::Row;
use crate::value::{Cell, CellKind};

/// How a cell crosses to a plugin, one byte a row.
pub mod presence {
    /// No such image, or no such column. As input to a setter: leave the cell as it is.
    pub const NONE: u8 = 0;
    /// A value.
    pub const VALUE: u8 = 1;
    /// NULL.
    pub const NULL: u8 = 2;
    /// The source did not log it. As input to a setter: leave the cell as it is.
    pub const UNAVAILABLE: u8 = 3;
    /// A value of another type than asked for; ask by cell. As input to a setter: leave the cell as it is.
    pub const OTHER: u8 = 4;
}

/// A column of fixed-width values: `values[i]` means something where `present[i]` is [`presence::VALUE`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Column<T> {
    /// One [`presence`] byte a row.
    pub present: Vec<u8>,
    /// One value a row.
    pub values: Vec<T>,
}

/// A column of texts or bytes: row `i` is `data[ends[i-1]..ends[i]]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flat {
    /// One [`presence`] byte a row.
    pub present: Vec<u8>,
    /// Where each row's bytes end in `data`.
    pub ends: Vec<u32>,
    /// All rows' bytes.
    pub data: Vec<u8>,
}

impl Flat {
    /// Appends a row. One that would take the data beyond the 4 GiB that `ends` can tell is
    /// [`presence::OTHER`] instead.
    pub fn push(&mut self, presence: u8, bytes: &[u8]) {
        let fits = self.data.len() as u64 + bytes.len() as u64 <= u64::from(u32::MAX);
        self.present.push(if fits { presence } else { presence::OTHER });
        self.data.extend_from_slice(if fits { bytes } else { &[] });
        self.ends.push(self.data.len() as u32);
    }

    /// A row's bytes; `None` when the buffers do not fit together (they may come from a plugin).
    pub fn get(&self, row: usize) -> Option<&[u8]> {
        let start = if row == 0 { 0 } else { *self.ends.get(row - 1)? as usize };
        self.data.get(start..*self.ends.get(row)? as usize)
    }

    /// A row's text; `None` where it has no value or the value is not UTF-8.
    pub fn text(&self, row: usize) -> Option<&str> {
        let present = self.present.get(row) == Some(&presence::VALUE);
        present.then(|| self.get(row).and_then(|bytes| std::str::from_utf8(bytes).ok()))?
    }
}

/// Some rows of a batch, in order. What a stage is called with; row numbers are the view's own, from 0.
#[derive(Debug, Clone)]
pub struct View {
    batch: Arc<Batch>,
    rows: Arc<[u32]>,
}

impl View {
    /// Looks at the given rows, which must be ascending.
    ///
    /// # Panics
    ///
    /// If a row does not exist or the order is not ascending.
    pub fn new(batch: Arc<Batch>, rows: Arc<[u32]>) -> Self {
        assert!(rows.windows(2).all(|w| w[0] < w[1]), "a view's rows ascend");
        assert!(rows.last().is_none_or(|last| (*last as usize) < batch.len()), "a view's rows exist");
        Self { batch, rows }
    }

    /// Looks at all rows.
    pub fn all(batch: Arc<Batch>) -> Self {
        let rows = (0..batch.len() as u32).collect();
        Self { batch, rows }
    }

    /// The whole batch.
    pub fn batch(&self) -> &Batch {
        &self.batch
    }

    /// The batch rows in view.
    pub fn rows(&self) -> &Arc<[u32]> {
        &self.rows
    }

    /// Part of this view.
    pub fn slice(&self, range: std::ops::Range<usize>) -> Self {
        Self { batch: self.batch.clone(), rows: self.rows[range].into() }
    }

    /// The rows of this view that `wanted` answers true for.
    pub fn retain(&self, mut wanted: impl FnMut(Event<'_>) -> bool) -> Self {
        let rows = self.rows.iter().copied().filter(|row| wanted(self.batch.event(*row as usize))).collect();
        Self { batch: self.batch.clone(), rows }
    }

    /// How many rows are in view.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether no row is in view.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The batch row behind a row of the view.
    pub fn batch_row(&self, row: usize) -> Option<u32> {
        self.rows.get(row).copied()
    }

    /// An event in view.
    ///
    /// # Panics
    ///
    /// If the view has no such row.
    pub fn event(&self, row: usize) -> Event<'_> {
        self.batch.event(self.rows[row] as usize)
    }

    /// The events in view, in order.
    pub fn events(&self) -> impl ExactSizeIterator<Item = Event<'_>> {
        self.rows.iter().map(|row| self.batch.event(*row as usize))
    }

    /// A column's index in each table of the batch.
    pub fn column_indexes(&self, name: &str) -> Vec<Option<u16>> {
        self.batch.tables.iter().map(|table| table.column(name)).collect()
    }

    /// The cells of a column, absent where a row has no such image or its table no such column.
    fn column<'a>(&'a self, image: Image, name: &str) -> impl Iterator<Item = (CellKind, &'a [u8])> {
        let indexes = self.column_indexes(name);
        let Batch { entries, rows, large, .. } = &*self.batch;
        self.rows.iter().map(move |row| {
            let entry = &entries[*row as usize];
            let at = entry.image(image);
            match indexes[entry.table as usize] {
                Some(column) if at != crate::batch::NONE64 => Row::at(rows, at, large).raw(column as usize),
                _ => (CellKind::Absent, &[][..]),
            }
        })
    }

    /// A column of integers, and of all that is an integer inside: booleans (0, 1), dates (days), times,
    /// datetimes and timestamps (microseconds). An unsigned value beyond `i64` is [`presence::OTHER`].
    pub fn ints(&self, image: Image, name: &str) -> Column<i64> {
        self.fixed(image, name, |kind, bytes| match Cell::read(kind, bytes) {
            Cell::Int(v) | Cell::Time(v) | Cell::DateTime(v) | Cell::Timestamp(v) => Some(v),
            Cell::UInt(v) => i64::try_from(v).ok(),
            Cell::Bool(v) => Some(i64::from(v)),
            Cell::Date(v) => Some(i64::from(v)),
            _ => None,
        })
    }

    /// A column of floats, single or double.
    pub fn floats(&self, image: Image, name: &str) -> Column<f64> {
        self.fixed(image, name, |kind, bytes| match Cell::read(kind, bytes) {
            Cell::Float64(v) => Some(v),
            Cell::Float32(v) => Some(f64::from(v)),
            _ => None,
        })
    }

    fn fixed<T: Default>(
        &self,
        image: Image,
        name: &str,
        read: impl Fn(CellKind, &[u8]) -> Option<T>,
    ) -> Column<T> {
        let mut column =
            Column { present: Vec::with_capacity(self.len()), values: Vec::with_capacity(self.len()) };
        for (kind, bytes) in self.column(image, name) {
            let (present, value) = match kind {
                CellKind::Absent => (presence::NONE, None),
                CellKind::Null => (presence::NULL, None),
                CellKind::Unavailable => (presence::UNAVAILABLE, None),
                kind => match read(kind, bytes) {
                    Some(value) => (presence::VALUE, Some(value)),
                    None => (presence::OTHER, None),
                },
            };
            column.present.push(present);
            column.values.push(value.unwrap_or_default());
        }
        column
    }

    /// A column of texts, decimals, JSON, enum and set labels, or bytes.
    pub fn flats(&self, image: Image, name: &str) -> Flat {
        let mut flat = Flat {
            present: Vec::with_capacity(self.len()),
            ends: Vec::with_capacity(self.len()),
            data: Vec::new(),
        };
        for (kind, bytes) in self.column(image, name) {
            match kind {
                CellKind::Absent => flat.push(presence::NONE, &[]),
                CellKind::Null => flat.push(presence::NULL, &[]),
                CellKind::Unavailable => flat.push(presence::UNAVAILABLE, &[]),
                kind if kind.is_text() || kind == CellKind::Bytes => flat.push(presence::VALUE, bytes),
                _ => flat.push(presence::OTHER, &[]),
            }
        }
        flat
    }

    /// One cell.
    pub fn cell(&self, row: usize, image: Image, column: &str) -> Cell<'_> {
        let event = self.event(row);
        match (event.image(image), event.table().column(column)) {
            (Some(image), Some(column)) => image.cell(column as usize),
            _ => Cell::Absent,
        }
    }

    /// Gives back the batch, copying it only if somebody still looks at it.
    pub fn into_batch(self) -> Batch {
        Arc::unwrap_or_clone(self.batch)
    }
}
