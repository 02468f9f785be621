//! One row image: `len: u32 | cells: u32 | kinds: [u8] | ends: [u32] | bytes`, all little-endian.
//!
//! `ends[i]` is where cell `i` stops in `bytes`; it starts where the one before it stops. A cell of more than
//! [`LARGE`] bytes lies in the batch's large-cell section: its kind byte has [`LARGE_BIT`] set and its 16
//! bytes here are `at: u64, len: u64`.

use crate::value::{ArrayRef, Cell, CellKind, check};

/// Cells longer than this go to the large-cell section.
pub(crate) const LARGE: usize = 1 << 20;
/// Once an image is this long, every further cell that gains by it goes there too: `len` has 32 bits.
const FULL: usize = 1 << 30;
const LARGE_BIT: u8 = 0x80;
const HEAD: usize = 8;

/// One row image, borrowed from its batch.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    kinds: &'a [u8],
    ends: &'a [u8],
    bytes: &'a [u8],
    large: &'a [u8],
}

impl<'a> Row<'a> {
    /// The image that starts at `at`. Only for images that this crate wrote or checked.
    #[inline]
    pub(crate) fn at(rows: &'a [u8], at: u64, large: &'a [u8]) -> Self {
        let image = &rows[at as usize..];
        let len = u32_at(image, 0) as usize;
        let cells = u32_at(image, 4) as usize;
        let (kinds, rest) = image[HEAD..len].split_at(cells);
        let (ends, bytes) = rest.split_at(cells * 4);
        Self { kinds, ends, bytes, large }
    }

    /// How many cells the image has. Columns beyond them are absent.
    #[inline]
    pub fn len(&self) -> usize {
        self.kinds.len()
    }

    /// Whether the image has no cells.
    pub fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }

    #[inline]
    fn start(&self, column: usize) -> usize {
        if column == 0 { 0 } else { u32_at(self.ends, (column - 1) * 4) as usize }
    }

    /// A cell's kind and bytes.
    #[inline]
    pub fn raw(&self, column: usize) -> (CellKind, &'a [u8]) {
        let Some(&byte) = self.kinds.get(column) else { return (CellKind::Absent, &[]) };
        let bytes = &self.bytes[self.start(column)..u32_at(self.ends, column * 4) as usize];
        self.resolve(byte, bytes)
    }

    #[inline]
    fn resolve(&self, byte: u8, bytes: &'a [u8]) -> (CellKind, &'a [u8]) {
        let kind = CellKind::from_byte(byte & !LARGE_BIT).unwrap_or(CellKind::Absent);
        if byte & LARGE_BIT == 0 {
            return (kind, bytes);
        }
        let at = u64_at(bytes, 0) as usize;
        (kind, &self.large[at..at + u64_at(bytes, 8) as usize])
    }

    /// The cell of a column; [`Cell::Absent`] where the image has none.
    #[inline]
    pub fn cell(&self, column: usize) -> Cell<'a> {
        let (kind, bytes) = self.raw(column);
        Cell::read(kind, bytes)
    }

    /// The cells in column order.
    #[inline]
    pub fn cells(&self) -> impl ExactSizeIterator<Item = Cell<'a>> + use<'a> {
        let row = *self;
        let mut start = 0;
        row.kinds.iter().zip(row.ends.chunks_exact(4)).map(move |(&byte, end)| {
            let end = u32_at(end, 0) as usize;
            let (kind, bytes) = row.resolve(byte, &row.bytes[start..end]);
            start = end;
            Cell::read(kind, bytes)
        })
    }

    /// Bytes of the image, its large cells included.
    pub fn byte_size(&self) -> usize {
        let inline = HEAD + self.kinds.len() * 5 + self.bytes.len();
        if self.kinds.iter().all(|byte| byte & LARGE_BIT == 0) {
            return inline;
        }
        let large = (0..self.len()).filter(|at| self.kinds[*at] & LARGE_BIT != 0);
        inline + large.map(|at| self.raw(at).1.len()).sum::<usize>()
    }

    /// Where the first of its large cells starts in the large-cell section.
    pub(crate) fn large_start(&self) -> Option<usize> {
        let at = self.kinds.iter().position(|byte| byte & LARGE_BIT != 0)?;
        Some(u64_at(self.bytes, self.start(at)) as usize)
    }

    /// Appends a copy of this image to other sections; answers where it starts.
    pub(crate) fn copy_to(&self, rows: &mut Vec<u8>, large: &mut Vec<u8>) -> u64 {
        if self.kinds.iter().all(|byte| byte & LARGE_BIT == 0) {
            let at = rows.len();
            let len = HEAD + self.kinds.len() * 5 + self.bytes.len();
            rows.reserve(len);
            rows.extend_from_slice(&(len as u32).to_le_bytes());
            rows.extend_from_slice(&(self.kinds.len() as u32).to_le_bytes());
            rows.extend_from_slice(self.kinds);
            rows.extend_from_slice(self.ends);
            rows.extend_from_slice(self.bytes);
            return at as u64;
        }
        let mut writer = RowWriter::begin(rows, large, self.len());
        for column in 0..self.len() {
            let (kind, bytes) = self.raw(column);
            writer.push_raw(kind, bytes);
        }
        writer.finish()
    }

    /// Whether every cell equals the other image's.
    pub fn same(&self, other: &Row<'_>) -> bool {
        (0..self.len().max(other.len())).all(|at| self.raw(at) == other.raw(at))
    }
}

impl std::fmt::Debug for Row<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.cells()).finish()
    }
}

/// Appends one row image, cell by cell in column order. Cells that are not written are absent.
#[derive(Debug)]
pub struct RowWriter<'a> {
    rows: &'a mut Vec<u8>,
    large: &'a mut Vec<u8>,
    start: usize,
    cells: usize,
    next: usize,
    data: usize,
}

impl<'a> RowWriter<'a> {
    #[inline]
    pub(crate) fn begin(rows: &'a mut Vec<u8>, large: &'a mut Vec<u8>, cells: usize) -> Self {
        let start = rows.len();
        let data = start + HEAD + cells * 5;
        rows.resize(data, 0);
        Self { rows, large, start, cells, next: 0, data }
    }

    /// Writes the next cell.
    ///
    /// # Panics
    ///
    /// If more cells are written than the table has columns.
    #[inline]
    pub fn push(&mut self, cell: &Cell<'_>) -> &mut Self {
        match cell {
            Cell::Text(s) | Cell::Decimal(s) | Cell::Json(s) | Cell::Enum(s) | Cell::Set(s) => {
                return self.push_raw(cell.kind(), s.as_bytes());
            }
            Cell::Bytes(b) => return self.push_raw(CellKind::Bytes, b),
            Cell::Array(a) => return self.push_raw(CellKind::Array, ArrayRef::as_bytes(a)),
            _ => cell.write(self.rows),
        }
        self.close(cell.kind() as u8)
    }

    /// Writes the next cell from bytes that are known to be a value of `kind`.
    #[inline]
    pub(crate) fn push_raw(&mut self, kind: CellKind, bytes: &[u8]) -> &mut Self {
        let mut byte = kind as u8;
        if bytes.len() > LARGE || (self.rows.len() - self.start > FULL && bytes.len() > 16) {
            byte |= LARGE_BIT;
            self.rows.extend_from_slice(&(self.large.len() as u64).to_le_bytes());
            self.rows.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
            self.large.extend_from_slice(bytes);
        } else {
            self.rows.extend_from_slice(bytes);
        }
        self.close(byte)
    }

    /// Writes the next cells as copies of an image in the same sections: its cells from the one that is next
    /// here up to `to`. Large cells are not copied, both images point at them.
    pub(crate) fn copy_until(&mut self, image: u64, to: usize) {
        let (image, from) = (image as usize, self.next);
        let cells = u32_at(self.rows, image + 4) as usize;
        let (kinds, ends) = (image + HEAD, image + HEAD + cells);
        let data = ends + cells * 4;
        let held = to.min(cells);
        let end_of = |rows: &[u8], column: usize| match column {
            0 => 0,
            column => u32_at(rows, ends + (column - 1) * 4) as usize,
        };
        if from < held {
            let (start, end) = (end_of(self.rows, from), end_of(self.rows, held));
            if self.rows.len() - self.start + end - start > 3 * FULL {
                for column in from..held {
                    let byte = self.rows[kinds + column];
                    let cell = data + end_of(self.rows, column)..data + end_of(self.rows, column + 1);
                    if let (0, Some(kind)) = (byte & LARGE_BIT, CellKind::from_byte(byte)) {
                        let value = self.rows[cell].to_vec();
                        self.push_raw(kind, &value);
                    } else {
                        self.rows.extend_from_within(cell);
                        self.close(byte);
                    }
                }
            } else {
                self.rows.copy_within(kinds + from..kinds + held, self.start + HEAD + from);
                let shift = ((self.rows.len() - self.data) as u32).wrapping_sub(start as u32);
                for column in from..held {
                    let end = u32_at(self.rows, ends + column * 4).wrapping_add(shift);
                    let at = self.start + HEAD + self.cells + column * 4;
                    self.rows[at..at + 4].copy_from_slice(&end.to_le_bytes());
                }
                self.rows.extend_from_within(data + start..data + end);
                self.next = held;
            }
        }
        self.absent_until(to);
    }

    /// Leaves the next cells out, up to `to`.
    pub(crate) fn absent_until(&mut self, to: usize) {
        while self.next < to {
            self.close(CellKind::Absent as u8);
        }
    }

    #[inline]
    fn close(&mut self, byte: u8) -> &mut Self {
        assert!(self.next < self.cells, "a row has no more cells than its table has columns");
        self.rows[self.start + HEAD + self.next] = byte;
        self.next += 1;
        let end = (self.rows.len() - self.data) as u32;
        let at = self.start + HEAD + self.cells + (self.next - 1) * 4;
        self.rows[at..at + 4].copy_from_slice(&end.to_le_bytes());
        self
    }

    /// Ends the image; answers where it starts.
    pub(crate) fn finish(mut self) -> u64 {
        self.absent_until(self.cells);
        let len = u32::try_from(self.rows.len() - self.start).expect("large cells keep an image below 4 GiB");
        self.rows[self.start..self.start + 4].copy_from_slice(&len.to_le_bytes());
        self.rows[self.start + 4..self.start + HEAD].copy_from_slice(&(self.cells as u32).to_le_bytes());
        self.start as u64
    }
}

/// The length of the well-formed image that starts `image`; `None` if there is none. For bytes that nobody
/// vouches for. Its large cells must follow each other from `large_at` on, which moves past them: so no byte is
/// looked at twice, whatever the image says.
pub(crate) fn check_image(
    image: &[u8],
    large: &[u8],
    large_at: &mut usize,
    max_cells: usize,
) -> Option<usize> {
    if image.len() < HEAD {
        return None;
    }
    let (len, cells) = (u32_at(image, 0) as usize, u32_at(image, 4) as usize);
    if cells > max_cells || len > image.len() || len < HEAD + cells * 5 {
        return None;
    }
    let (kinds, rest) = image[HEAD..len].split_at(cells);
    let (ends, bytes) = rest.split_at(cells * 4);
    let mut start = 0;
    for (byte, end) in kinds.iter().zip(ends.chunks_exact(4)) {
        let end = u32_at(end, 0) as usize;
        let inline = bytes.get(start..end)?;
        start = end;
        let kind = CellKind::from_byte(byte & !LARGE_BIT)?;
        let value = if byte & LARGE_BIT == 0 {
            inline
        } else {
            if inline.len() != 16 {
                return None;
            }
            let at = usize::try_from(u64_at(inline, 0)).ok()?;
            let len = usize::try_from(u64_at(inline, 8)).ok()?;
            if at != *large_at {
                return None;
            }
            *large_at = at.checked_add(len)?;
            large.get(at..*large_at)?
        };
        if !check(kind, value) {
            return None;
        }
    }
    (start == bytes.len()).then_some(len)
}

#[inline]
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[inline]
fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
