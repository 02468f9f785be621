//! Tables and their rows.

use deltaforge_model::TableSchema;
use tokio::time::Instant;

use super::super::End;
use super::super::filling::Source;
use super::super::outlet::Outlet;
use super::Log;
use crate::binlog::{Rows, TableMap};
use crate::ddl::TableName;
use crate::error::{DecodeError, LayoutError};
use crate::failure::MysqlError;
use crate::layout::TableLayout;
use crate::row::RowCursor;

impl Log {
    pub(super) async fn table(&mut self, map: &TableMap<'_>) -> Result<(), MysqlError> {
        if self.layouts.has(map) || self.tx.as_ref().is_some_and(|tx| tx.known) {
            return Ok(());
        }
        if !self.captured.has(map.database, map.table) {
            // The rows of an XA transaction may be older than the server's last start, which numbers tables anew.
            self.layouts.pass(map.table_id);
            return Ok(());
        }
        let behind = self.behind();
        let known = self.definitions.of(&TableName::new(map.database, map.table), &behind).await?;
        let layout = self.layouts.of_map(map, || TableLayout::best(map, known.as_deref()));
        layout.map(drop).map_err(|cause| self.unreadable(cause))
    }

    pub(super) async fn rows(&mut self, rows: Rows<'_>, starts: u64, outlet: &mut Outlet) -> Result<(), End> {
        if self.tx.as_ref().is_some_and(|tx| tx.known) {
            return Ok(());
        }
        if let Some(layout) = self.layouts.of_table(rows.table_id).cloned() {
            self.rows_of_table(&layout, rows, starts, outlet).await?;
        } else if !self.layouts.is_passed(rows.table_id) {
            let why = format!("nothing was said of table {}", rows.table_id);
            return Err(self.broken(DecodeError::corrupt("a row event", why)).into());
        }
        if rows.ends_statement {
            self.layouts.end_statement();
        }
        Ok(())
    }

    async fn rows_of_table(
        &mut self,
        layout: &TableLayout,
        rows: Rows<'_>,
        starts: u64,
        outlet: &mut Outlet,
    ) -> Result<(), End> {
        let schema = layout.schema();
        let outbox = !self.outboxes.is_empty() && self.outboxes.matches(schema.database(), schema.name());
        let mut cursor = RowCursor::new(layout, rows).map_err(|cause| self.broken(cause))?;
        let mut expected = rows.data.len();
        while !cursor.is_done() {
            let in_pieces = self.tx.as_ref().is_some_and(|tx| tx.handed_out > 0);
            if self.filling.has_no_room(expected, in_pieces) {
                self.cut(outlet).await?;
            }
            expected = 0;
            let Some(tx) = &mut self.tx else {
                return Err(self
                    .broken(DecodeError::corrupt("a row event", "it stands in no transaction"))
                    .into());
            };
            let from = Source { schema, kind: rows.kind, outbox, pos: starts, file: &self.here.file };
            match self.filling.row(tx, from, &mut cursor) {
                Ok(size) if size > self.filling.hard_bytes() => {
                    return Err(self.row_too_large(schema, size).into());
                }
                Ok(_) => {}
                Err(DecodeError::TooLarge { size, .. }) => {
                    return Err(self.row_too_large(schema, size as usize).into());
                }
                Err(DecodeError::DocumentMissing { column }) => {
                    let (table, column) =
                        (schema.qualified().to_owned(), schema.columns()[column].name.clone());
                    return Err(self.unreadable(LayoutError::DocumentMissing { table, column }).into());
                }
                Err(cause) => return Err(self.broken(cause).into()),
            }
        }
        Ok(())
    }

    /// Hands out what is there of a transaction that is too large for one batch.
    pub(super) async fn cut(&mut self, outlet: &mut Outlet) -> Result<(), End> {
        let Some(tx) = &mut self.tx else { return Ok(()) };
        for batch in self.filling.cut(tx, &self.at.position(), &self.counted) {
            outlet.give(batch).await?;
        }
        (self.moved, self.told, self.given) = (false, Instant::now(), Instant::now());
        Ok(())
    }

    #[cold]
    fn unreadable(&self, cause: LayoutError) -> MysqlError {
        MysqlError::Layout { at: self.place(), cause }
    }

    #[cold]
    fn row_too_large(&self, schema: &TableSchema, size: usize) -> MysqlError {
        MysqlError::RowTooLarge(format!(
            "a change of {} at {} takes {size} bytes; a row may take {}, a quarter of spec.max_memory_bytes: raise it, or \
             leave the table out",
            schema.qualified(),
            self.place(),
            self.filling.hard_bytes()
        ))
    }
}
