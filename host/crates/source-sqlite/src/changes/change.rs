//! One row of the log to one event, or two.

use deltaforge_engine::batcher::Batcher;
use deltaforge_engine::source::{NEW_KEY_HEADER, OLD_KEY_HEADER};
use deltaforge_model::{EventHead, Image, Op, SnapshotMark};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};

use super::{Decoder, HEAD, Shape, id, integer};
use crate::decode;
use crate::error::{Doing, SqliteError};
use crate::log::{PART, op};
use crate::outbox;

/// One row of the log that is a change.
pub(super) struct Change<'a> {
    pub db: &'a Connection,
    pub row: &'a Row<'a>,
    pub sequence: i64,
    pub op: i64,
    pub decoder: &'a Decoder,
    pub identity: &'a [u8],
}

impl Change<'_> {
    /// Appends the events.
    pub fn write(&self, batcher: &mut Batcher, scratch: &mut String) -> Result<(), SqliteError> {
        let layout = self.decoder.layout;
        match self.op {
            op::CREATE => {
                self.event(batcher, Op::Create, 0);
                self.mark(batcher, None);
                self.image(batcher, Image::After, 0, scratch)
            }
            op::DELETE => {
                self.event(batcher, Op::Delete, 0);
                self.mark(batcher, None);
                self.image(batcher, Image::Before, 0, scratch)
            }
            op::UPDATE if !self.key_changed()? => {
                self.event(batcher, Op::Update, 0);
                self.mark(batcher, None);
                self.image(batcher, Image::Before, 0, scratch)?;
                self.image(batcher, Image::After, layout.after(), scratch)
            }
            op::UPDATE => {
                self.event(batcher, Op::Delete, 0);
                self.mark(batcher, Some(NEW_KEY_HEADER));
                self.image(batcher, Image::Before, 0, scratch)?;
                self.event(batcher, Op::Create, 1);
                self.mark(batcher, Some(OLD_KEY_HEADER));
                self.image(batcher, Image::After, layout.after(), scratch)
            }
            other => Err(SqliteError::Unsupported(format!(
                "change {} in the log has the unknown operation {other}",
                self.sequence
            ))),
        }
    }

    fn shape(&self) -> &Shape {
        match &self.decoder.late {
            Some((after, shape)) if self.sequence > *after => shape,
            _ => &self.decoder.own,
        }
    }

    fn event(&self, batcher: &mut Batcher, op: Op, ordinal: u32) {
        let ts_ms = integer(self.row, 3).unwrap_or_default();
        let table = batcher.builder.table(&self.shape().schema);
        batcher.builder.event(EventHead {
            id: id(ts_ms, self.identity, self.sequence, ordinal),
            op,
            table,
            transaction: None,
            ordinal,
            ts_us: ts_ms.saturating_mul(1_000),
            pos: self.sequence as u64,
            last: true,
            snapshot: SnapshotMark::No,
        });
    }

    /// Marks the event begun last as of an outbox, and as a half of a moved row.
    fn mark(&self, batcher: &mut Batcher, half: Option<&str>) {
        let headers = half.map(|header| (header.to_owned(), String::new())).into_iter().collect();
        outbox::side(batcher, self.decoder.is_outbox, headers);
    }

    fn image(
        &self,
        batcher: &mut Batcher,
        image: Image,
        first: usize,
        scratch: &mut String,
    ) -> Result<(), SqliteError> {
        let forms = &self.shape().forms;
        let columns = self.decoder.layout.columns;
        batcher.builder.image(image, |writer| {
            for (part, range) in self.decoder.layout.parts(first) {
                if part == 0 {
                    for column in range {
                        let value = self.row.get_ref(HEAD + first + column).doing(|| self.action())?;
                        decode::push(writer, forms[column], value, scratch);
                    }
                } else {
                    self.wide(part, |row| {
                        for column in range {
                            let value = row.get_ref((first + column) % PART).doing(|| self.action())?;
                            decode::push(writer, forms[column], value, scratch);
                        }
                        Ok(())
                    })?;
                }
            }
            for _ in columns..forms.len() {
                writer.push(&deltaforge_model::Cell::Unavailable);
            }
            Ok(())
        })
    }

    fn action(&self) -> String {
        format!("read change {}", self.sequence)
    }

    fn wide<T>(
        &self,
        part: usize,
        read: impl FnOnce(&Row<'_>) -> Result<T, SqliteError>,
    ) -> Result<T, SqliteError> {
        let cells: Vec<String> = (0..PART).map(|cell| format!("c{cell}")).collect();
        let sql =
            format!("SELECT {} FROM _df_cdc_log_wide WHERE sequence = ?1 AND part = ?2", cells.join(", "));
        let mut statement = self.db.prepare_cached(&sql).doing(|| self.action())?;
        let mut rows = statement.query([self.sequence, part as i64]).doing(|| self.action())?;
        match rows.next().doing(|| self.action())? {
            Some(row) => read(row),
            None => Err(SqliteError::PositionLost(format!(
                "change {} is in the log, but part {part} of it is not",
                self.sequence
            ))),
        }
    }

    fn with_cell<T>(&self, cell: usize, read: impl FnOnce(ValueRef<'_>) -> T) -> Result<T, SqliteError> {
        if cell < PART {
            return self.row.get_ref(HEAD + cell).map(read).doing(|| self.action());
        }
        self.wide(cell / PART, |row| row.get_ref(cell % PART).map(read).doing(|| self.action()))
    }

    fn key_changed(&self) -> Result<bool, SqliteError> {
        let after = self.decoder.layout.after();
        for column in self.decoder.own.schema.key() {
            let column = usize::from(*column);
            let same = self.with_cell(column, |old| self.with_cell(after + column, |new| old == new))??;
            if !same {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
