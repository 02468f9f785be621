//! Rows, one after the other.

use deltaforge_model::{Image, Op};

use crate::backend;
use crate::value::Value;

/// Some columns of every row; see [`crate::Batch::rows`].
pub struct Rows<'a>(pub(crate) backend::Rows<'a>);

impl<'a> Rows<'a> {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One row; `None`: the batch has none of that number.
    pub fn row(&self, index: usize) -> Option<RowView<'_, 'a>> {
        (index < self.len()).then_some(RowView { rows: self, index })
    }

    /// The rows in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = RowView<'_, 'a>> {
        (0..self.len()).map(|index| RowView { rows: self, index })
    }
}

/// One row.
#[derive(Clone, Copy)]
pub struct RowView<'r, 'a> {
    rows: &'r Rows<'a>,
    index: usize,
}

impl<'r> RowView<'r, '_> {
    /// Its number in the batch, as edits take it.
    pub fn index(&self) -> usize {
        self.index
    }

    /// What happened.
    pub fn op(&self) -> Op {
        self.rows.0.op(self.index)
    }

    /// Its table's index in [`crate::Batch::tables`].
    pub fn table(&self) -> usize {
        self.rows.0.table(self.index)
    }

    /// Whether the event has this image.
    pub fn has(&self, image: Image) -> bool {
        self.rows.0.has(self.index, image)
    }

    /// The cell of the `nth` column asked for; [`Value::Absent`] where there is none.
    pub fn get(&self, image: Image, nth: usize) -> Value<'r> {
        self.rows.0.get(self.index, image, nth)
    }

    /// The cell as it is now.
    pub fn after(&self, nth: usize) -> Value<'r> {
        self.get(Image::After, nth)
    }

    /// The cell as it was.
    pub fn before(&self, nth: usize) -> Value<'r> {
        self.get(Image::Before, nth)
    }
}
