//! What edits take, and what applying them takes.

use std::collections::BTreeMap;

use super::{Emit, NamedCells, Overlay, Patch, SideEdit, WHOLE_IMAGE};
use crate::batch::{Batch, Image};
use crate::value::CellKind;

/// Bytes that an edit of tags, headers and the like takes beside its texts, with its share of what comes of it.
const SIDE_EDIT: usize = 160;
/// Bytes that a value by name takes beside name and value.
const NAMED_CELL: usize = 80;
/// Bytes that an added event takes beside its values.
const EMIT: usize = 160;

/// Bytes of an image of so many columns beside its values.
pub const fn image_bytes(columns: usize) -> usize {
    8 + 5 * columns
}

/// Bytes of the values of an image by names.
pub fn cells_bytes(cells: &NamedCells) -> usize {
    cells.iter().map(|(name, cell)| NAMED_CELL + name.len() + cell.bytes.len()).sum()
}

impl SideEdit {
    /// Bytes it takes, with what comes of it on one row.
    pub fn byte_size(&self) -> usize {
        let texts = match self {
            Self::Tag(text) | Self::Synthetic(text) => text.len(),
            Self::Tags(tags) => tags.iter().flatten().map(|tag| 2 * size_of::<String>() + tag.len()).sum(),
            Self::Header(name, value) | Self::Field(name, value) => name.len() + value.len(),
            Self::Headers(headers) => {
                headers.iter().map(|(name, value)| 4 * size_of::<String>() + name.len() + value.len()).sum()
            }
            Self::Topic(text) | Self::Key(text) => text.as_ref().map_or(0, String::len),
        };
        SIDE_EDIT + texts
    }
}

impl Emit {
    /// Bytes it takes beside the images of its table's width that come of it.
    pub fn byte_size(&self) -> usize {
        let cells: usize = [&self.before, &self.after].into_iter().flatten().map(cells_bytes).sum();
        EMIT + cells + self.side.iter().map(SideEdit::byte_size).sum::<usize>()
    }

    /// How many images it has.
    pub fn images(&self) -> usize {
        [&self.before, &self.after].into_iter().flatten().count()
    }
}

impl Overlay {
    /// Bytes that applying the edits adds to the batch, at most, beside copies of the rows as they came.
    pub fn growth(&self, batch: &Batch) -> usize {
        // What a row's edits of tags and the like add, with the side it had: it may be shared no more.
        let mut sides = vec![0; if self.side_rows.is_empty() { 0 } else { batch.entries.len() }];
        let had = |row: u32| batch.sides[batch.entries[row as usize].side as usize].byte_size();
        let sizes: Vec<usize> = self.side_edits.iter().map(SideEdit::byte_size).collect();
        for (row, edit) in &self.side_rows {
            let side = &mut sides[*row as usize];
            *side += if *side == 0 { had(*row) } else { 0 } + sizes[*edit as usize];
        }
        let mut widths: Vec<usize> = batch.tables.iter().map(|table| table.columns().len()).collect();
        self.added.iter().for_each(|(table, _)| widths[*table as usize] += 1);
        let emits = self.emits.iter().map(|(row, emit)| {
            let table = batch.entries[*row as usize].table;
            let images = emit.images() * image_bytes(widths[table as usize]);
            let inherited = match sides.get(*row as usize) {
                _ if emit.side.is_empty() => 0,
                Some(side) if *side > 0 => *side,
                _ => had(*row),
            };
            emit.byte_size() + images + inherited
        });
        let added: usize = self.added.iter().map(|(_, column)| NAMED_CELL + column.name.len()).sum();
        let rejects = self.rejects.iter().map(|(_, code, reason)| EMIT + code.len() + reason.len());
        self.image_growth(batch)
            + sides.iter().sum::<usize>()
            + emits.sum::<usize>()
            + added
            + rejects.sum::<usize>()
    }

    /// The bytes of a row's images, of one that the edits make larger than `bound`; `None`: they make none.
    pub fn row_above(&self, batch: &Batch, bound: usize) -> Option<usize> {
        let patched: usize = self.patches.iter().map(|patch| patch.len as usize).sum();
        let widths = self.image_growth(batch) - patched;
        if self.emits.is_empty() && batch.row_bytes() + patched + widths <= bound {
            return None;
        }
        let mut of_row: BTreeMap<u32, Vec<&Patch>> = BTreeMap::new();
        for patch in &self.patches {
            of_row.entry(patch.row).or_default().push(patch);
        }
        let rows = of_row.into_iter().filter(|(row, _)| !self.is_gone(*row)).map(|(row, patches)| {
            let images = [Image::Before, Image::After];
            images.into_iter().map(|image| image_after(batch, row, image, &patches)).sum()
        });
        let emits = self.emits.iter().map(|(row, emit)| {
            let table = batch.entries[*row as usize].table;
            let width = batch.tables[table as usize].columns().len();
            let images = [&emit.before, &emit.after].into_iter().flatten();
            let cells = images.flatten().map(|(_, cell)| cell.bytes.len()).sum::<usize>();
            emit.images() * image_bytes(width) + cells
        });
        rows.chain(emits).find(|bytes| *bytes > bound)
    }

    /// The same for the images of rows.
    fn image_growth(&self, batch: &Batch) -> usize {
        let mut widths = vec![0u16; if self.patches.is_empty() { 0 } else { batch.entries.len() * 2 }];
        let mut bytes = 0;
        for patch in &self.patches {
            bytes += patch.len as usize;
            let width = &mut widths[patch.row as usize * 2 + usize::from(patch.image == Image::After)];
            // A whole image counts as one column: those that fill it follow.
            *width = (*width).max(patch.column.wrapping_add(1).max(1));
        }
        bytes
            + widths
                .iter()
                .filter(|width| **width > 0)
                .map(|width| image_bytes(*width as usize))
                .sum::<usize>()
    }
}

/// Bytes of a row's image once these patches are applied, which are the row's, in the order they were made.
fn image_after(batch: &Batch, row: u32, image: Image, patches: &[&Patch]) -> usize {
    let mut held = batch.row_at(batch.entries[row as usize].image(image));
    let (mut cells, mut gone) = (BTreeMap::new(), false);
    for patch in patches.iter().filter(|patch| patch.image == image) {
        if patch.column == WHOLE_IMAGE {
            (held, gone) = (None, patch.kind == CellKind::Absent);
            cells.clear();
        } else {
            cells.insert(patch.column as usize, patch.len as usize);
        }
    }
    if gone || (held.is_none() && cells.is_empty()) {
        return 0;
    }
    if let Some(row) = held {
        for column in 0..row.len() {
            cells.entry(column).or_insert_with(|| row.raw(column).1.len());
        }
    }
    let width = cells.last_key_value().map_or(0, |(column, _)| column + 1);
    image_bytes(width) + cells.values().sum::<usize>()
}
