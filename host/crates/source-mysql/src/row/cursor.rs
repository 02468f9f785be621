//! The rows of an event, one after the other, into a batch.

use deltaforge_model::{BatchBuilder, Cell, Image, RowWriter};

use super::codec::{Codec, Room, variable};
use super::json_diff;
use crate::binlog::rows::{Rows, RowsKind};
use crate::bytes::{Bits, Bytes};
use crate::error::DecodeError;
use crate::layout::TableLayout;

const WHAT: &str = "a row";

/// Reads the rows of one event.
#[derive(Debug)]
pub struct RowCursor<'a> {
    layout: &'a TableLayout,
    rows: Rows<'a>,
    /// Where the next row begins.
    at: usize,
    /// Where the images of the row written last begin.
    last: Starts,
    first: Which,
    second: Which,
    /// Whether the image as it is now may need cells of the one as it was.
    remember: bool,
    done: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Starts {
    first: usize,
    second: usize,
}

/// Which columns an image has.
#[derive(Debug, Clone, Copy)]
struct Which {
    count: usize,
    all: bool,
}

/// What was written of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Whether an update changed a column of the key.
    pub key_changed: bool,
}

/// Room that is used for every row, so that none of them allocates. One for a cursor at a time.
#[derive(Debug, Default)]
pub struct Scratch {
    room: Room,
    /// Where the cells of an image as it was stand in the event's rows, by column; `None`: not there.
    cells: Vec<Option<Span>>,
    /// The same of the key's columns, in column order.
    key: Vec<Option<Span>>,
}

/// Bytes of a cell in the event's rows; an empty one that is NULL is not one that is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    from: u32,
    to: u32,
    null: bool,
}

/// What an image is read for besides its cells.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Alone,
    /// Its cells are noted.
    Before,
    /// It lacks cells that are taken from those noted.
    After,
}

impl Scratch {
    /// Room for values of so many bytes at most, where the log has them compressed.
    pub fn bounded(most: usize) -> Self {
        let mut scratch = Self::default();
        scratch.room.most = Some(most);
        scratch
    }
}

impl<'a> RowCursor<'a> {
    /// Begins with the first row.
    ///
    /// # Errors
    ///
    /// When the event's rows have another number of columns than the layout.
    pub fn new(layout: &'a TableLayout, rows: Rows<'a>) -> Result<Self, DecodeError> {
        if layout.fields.len() != rows.columns {
            let why = format!("{} columns in a table of {}", rows.columns, layout.fields.len());
            return Err(DecodeError::corrupt("a row event", why));
        }
        let which = |image: Bits<'_>| {
            let count = image.count(rows.columns);
            Which { count, all: count == rows.columns }
        };
        let (first, second) = (which(rows.first), which(rows.second));
        // Rows of no columns have no bytes: servers write one such row in an event.
        let done = rows.data.is_empty() && first.count > 0;
        let remember = rows.kind == RowsKind::Update && (!second.all || rows.partial_json);
        Ok(Self { layout, rows, at: 0, last: Starts::default(), first, second, remember, done })
    }

    /// Whether all rows were written.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Writes the next row's images onto the event that was started last. Not to be called when done.
    ///
    /// # Errors
    ///
    /// When the row is broken. The event then holds a part of it: take it back ([`BatchBuilder::undo`]).
    pub fn write(
        &mut self,
        builder: &mut BatchBuilder,
        scratch: &mut Scratch,
    ) -> Result<Written, DecodeError> {
        let mut written = Written { key_changed: false };
        let start = self.at;
        match self.rows.kind {
            RowsKind::Write => self.at = self.image(start, Image::After, Role::Alone, builder, scratch)?.0,
            RowsKind::Delete => self.at = self.image(start, Image::Before, Role::Alone, builder, scratch)?.0,
            RowsKind::Update => {
                let (second, _) = self.image(start, Image::Before, Role::Before, builder, scratch)?;
                self.last = Starts { first: start, second };
                let (end, key_changed) = self.image(second, Image::After, Role::After, builder, scratch)?;
                (self.at, written.key_changed) = (end, key_changed);
            }
        }
        self.done = self.at >= self.rows.data.len();
        if self.at == start && !self.done {
            return Err(DecodeError::corrupt(WHAT, "it has no columns, and more bytes follow"));
        }
        Ok(written)
    }

    /// Writes one image of the update written last again, onto the event that was started last: for an update that
    /// goes out as a delete and a create. `scratch` is the one that [`RowCursor::write`] had.
    ///
    /// # Errors
    ///
    /// None after [`RowCursor::write`] succeeded.
    pub fn write_image(
        &self,
        image: Image,
        builder: &mut BatchBuilder,
        scratch: &mut Scratch,
    ) -> Result<(), DecodeError> {
        match image {
            Image::Before => self.image(self.last.first, image, Role::Before, builder, scratch)?,
            Image::After => self.image(self.last.second, image, Role::After, builder, scratch)?,
        };
        Ok(())
    }

    /// Writes the image that starts at `at`; answers where it ends, and whether its key differs from the one noted.
    fn image(
        &self,
        at: usize,
        image: Image,
        role: Role,
        builder: &mut BatchBuilder,
        scratch: &mut Scratch,
    ) -> Result<(usize, bool), DecodeError> {
        let data = self.rows.data;
        let mut bytes = Bytes::new(data.get(at..).unwrap_or_default());
        let (bits, which) =
            if role == Role::After { (self.rows.second, self.second) } else { (self.rows.first, self.first) };
        let diffs =
            if role == Role::After && self.rows.partial_json { self.diffs(&mut bytes)? } else { Bits(&[]) };
        let nulls = Bits(bytes.take(which.count.div_ceil(8), WHAT)?);
        if role == Role::Before {
            scratch.cells.clear();
            scratch.key.clear();
        }
        let mut key_changed = false;
        builder.image(image, |row| {
            // The usual case has nothing to note: every column is there, and no key may change.
            if which.all && role == Role::Alone {
                for (at, field) in self.layout.fields.iter().enumerate() {
                    if nulls.get(at) {
                        row.push(&Cell::Null);
                    } else {
                        field.codec.read(&mut bytes, row, &mut scratch.room)?;
                    }
                }
                return Ok(());
            }
            let (mut present, mut keys) = (0, 0);
            for (at, field) in self.layout.fields.iter().enumerate() {
                let span = if bits.get(at) {
                    let from = data.len() - bytes.len();
                    let null = nulls.get(present);
                    present += 1;
                    if null {
                        row.push(&Cell::Null);
                    } else if field.json.is_some_and(|number| diffs.get(number.into())) {
                        self.json_changes(at, &mut bytes, row, scratch)?;
                    } else {
                        field.codec.read(&mut bytes, row, &mut scratch.room)?;
                    }
                    Some(Span { from: from as u32, to: (data.len() - bytes.len()) as u32, null })
                } else {
                    if role == Role::After {
                        self.unchanged(at, &field.codec, row, scratch)?;
                    } else {
                        row.push(&Cell::Unavailable);
                    }
                    None
                };
                if role == Role::Before {
                    if self.remember {
                        scratch.cells.push(span);
                    }
                    if field.key {
                        scratch.key.push(span);
                    }
                } else if field.key && role == Role::After {
                    if let (Some(old), Some(new)) = (scratch.key.get(keys).copied().flatten(), span) {
                        key_changed |= old.null != new.null || slice(data, old) != slice(data, new);
                    }
                    keys += 1;
                }
            }
            Ok::<(), DecodeError>(())
        })?;
        Ok((data.len() - bytes.len(), key_changed))
    }

    /// Which JSON columns of the image have changes in place of a document.
    fn diffs(&self, bytes: &mut Bytes<'a>) -> Result<Bits<'a>, DecodeError> {
        const PARTIAL_JSON: u64 = 1;
        let options = bytes.lenenc(WHAT)?;
        if options & !PARTIAL_JSON != 0 {
            return Err(DecodeError::corrupt(WHAT, format!("options {options:#x} are not known")));
        }
        if options == 0 {
            return Ok(Bits(&[]));
        }
        let columns = self.layout.fields.iter().filter(|field| field.json.is_some()).count();
        bytes.take(columns.div_ceil(8), WHAT).map(Bits)
    }

    /// A column that the image as it is now lacks: as it was.
    fn unchanged(
        &self,
        at: usize,
        codec: &Codec,
        row: &mut RowWriter<'_>,
        scratch: &mut Scratch,
    ) -> Result<(), DecodeError> {
        match scratch.cells.get(at).copied().flatten() {
            None => row.push(&Cell::Unavailable),
            Some(Span { null: true, .. }) => row.push(&Cell::Null),
            Some(span) => {
                let mut cell = Bytes::new(slice(self.rows.data, span));
                return codec.read(&mut cell, row, &mut scratch.room);
            }
        };
        Ok(())
    }

    /// A JSON document as the changes of one as it was.
    fn json_changes(
        &self,
        at: usize,
        bytes: &mut Bytes<'a>,
        row: &mut RowWriter<'_>,
        scratch: &mut Scratch,
    ) -> Result<(), DecodeError> {
        let changes = variable(bytes, 4)?;
        let Some(old) = scratch.cells.get(at).copied().flatten() else {
            return Err(DecodeError::DocumentMissing { column: at });
        };
        if old.null {
            return Err(DecodeError::corrupt(WHAT, "there are changes of a document that is NULL"));
        }
        let document = variable(&mut Bytes::new(slice(self.rows.data, old)), 4)?;
        scratch.room.text.clear();
        json_diff::apply(document, changes, &mut scratch.room.text)?;
        row.push(&Cell::Json(&scratch.room.text));
        Ok(())
    }
}

#[inline]
fn slice(data: &[u8], span: Span) -> &[u8] {
    data.get(span.from as usize..span.to as usize).unwrap_or_default()
}
