//! Edits of whole columns, and of which columns there are.

use super::{EditError, Overlay, Patch};
use crate::batch::{Batch, Image, NONE64};
use crate::row::Row;
use crate::schema::{Column as SchemaColumn, Kind, TableSchema};
use crate::value::{Cell, CellKind, check};
use crate::view::{Column, Flat, View, presence};

impl Overlay {
    /// Sets one value in every row that has the image and the column.
    ///
    /// # Errors
    ///
    /// Never for now; callers pass plugins' input and should not depend on it.
    pub fn fill(
        &mut self,
        view: &View,
        image: Image,
        column: &str,
        cell: &Cell<'_>,
    ) -> Result<(), EditError> {
        let indexes = self.indexes(view, column);
        let at = self.values.len() as u64;
        cell.write(&mut self.values);
        let len = self.values.len() as u64 - at;
        for row in view.rows().iter() {
            let entry = &view.batch().entries[*row as usize];
            if let Some(column) = indexes[entry.table as usize]
                && entry.image(image) != NONE64
                && !self.is_gone(*row)
            {
                self.patches.push(Patch { row: *row, image, column, kind: cell.kind(), at, len });
            }
        }
        Ok(())
    }

    /// Sets a column of integers. A cell that held a boolean, date, time or timestamp stays one; otherwise the
    /// column's declared kind decides, and where that is none of them the cell becomes an integer.
    ///
    /// # Errors
    ///
    /// When the buffers do not have one entry a row, or a value does not fit its date or boolean.
    pub fn set_ints(
        &mut self,
        view: &View,
        image: Image,
        column: &str,
        values: &Column<i64>,
    ) -> Result<(), EditError> {
        self.set_fixed(view, image, column, values, |kind, value| {
            Ok(match kind {
                CellKind::Bool if matches!(value, 0 | 1) => Cell::Bool(*value == 1),
                CellKind::Bool => return Err(EditError::Malformed(format!("{value} is no boolean"))),
                CellKind::Date => Cell::Date(
                    i32::try_from(*value).map_err(|_| EditError::Malformed(format!("{value} is no date")))?,
                ),
                CellKind::Time => Cell::Time(*value),
                CellKind::DateTime => Cell::DateTime(*value),
                CellKind::Timestamp => Cell::Timestamp(*value),
                CellKind::UInt if *value >= 0 => Cell::UInt(*value as u64),
                _ => Cell::Int(*value),
            })
        })
    }

    /// Sets a column of floats. Cells that are single precision stay so.
    ///
    /// # Errors
    ///
    /// When the buffers do not have one entry a row.
    pub fn set_floats(
        &mut self,
        view: &View,
        image: Image,
        column: &str,
        values: &Column<f64>,
    ) -> Result<(), EditError> {
        self.set_fixed(view, image, column, values, |kind, value| {
            Ok(if kind == CellKind::Float32 { Cell::Float32(*value as f32) } else { Cell::Float64(*value) })
        })
    }

    fn set_fixed<T>(
        &mut self,
        view: &View,
        image: Image,
        column: &str,
        values: &Column<T>,
        make: impl Fn(CellKind, &T) -> Result<Cell<'static>, EditError>,
    ) -> Result<(), EditError> {
        let rows = view.len();
        if values.present.len() != rows || values.values.len() != rows {
            return Err(EditError::Malformed(format!("column {column}: the batch has {rows} rows")));
        }
        let indexes = self.indexes(view, column);
        self.patches.reserve(rows);
        self.all_or_nothing(|edits| {
            for (k, (present, value)) in values.present.iter().zip(&values.values).enumerate() {
                let Some((at, column, kind)) = edits.target(view, k, image, &indexes, *present)? else {
                    continue;
                };
                let cell = if *present == presence::NULL { Cell::Null } else { make(kind, value)? };
                let start = edits.values.len() as u64;
                cell.write(&mut edits.values);
                let len = edits.values.len() as u64 - start;
                edits.patches.push(Patch { row: at, image, column, kind: cell.kind(), at: start, len });
            }
            Ok(())
        })
    }

    /// Takes back the patches of a setter that fails half-way.
    fn all_or_nothing(
        &mut self,
        edit: impl FnOnce(&mut Self) -> Result<(), EditError>,
    ) -> Result<(), EditError> {
        let (values, patches) = (self.values.len(), self.patches.len());
        edit(self).inspect_err(|_| {
            self.values.truncate(values);
            self.patches.truncate(patches);
        })
    }

    /// Sets a column of texts or bytes. A cell that held a decimal, JSON, label or bytes stays one; otherwise
    /// the column's declared kind decides, and where that is none of them the cell becomes text.
    ///
    /// # Errors
    ///
    /// When the buffers do not fit the rows or each other, or a text is not UTF-8.
    pub fn set_flats(
        &mut self,
        view: &View,
        image: Image,
        column: &str,
        values: &Flat,
    ) -> Result<(), EditError> {
        let rows = view.len();
        if values.present.len() != rows || values.ends.len() != rows {
            return Err(EditError::Malformed(format!("column {column}: the batch has {rows} rows")));
        }
        let indexes = self.indexes(view, column);
        self.patches.reserve(rows);
        self.all_or_nothing(|edits| {
            for (k, present) in values.present.iter().enumerate() {
                let bytes = values.get(k).ok_or_else(|| {
                    EditError::Malformed(format!("column {column}: row {k} lies outside its data"))
                })?;
                let Some((at, index, kind)) = edits.target(view, k, image, &indexes, *present)? else {
                    continue;
                };
                if *present == presence::NULL {
                    edits.patch(at, image, index, CellKind::Null, &[]);
                    continue;
                }
                let kind = if kind.is_text() || kind == CellKind::Bytes { kind } else { CellKind::Text };
                if !check(kind, bytes) {
                    return Err(EditError::Malformed(format!("column {column}: row {k} is not UTF-8")));
                }
                edits.patch(at, image, index, kind, bytes);
            }
            Ok(())
        })
    }

    /// The cell that entry `k` of a column setter is for, and the kind it should have; `None`: leave it.
    fn target(
        &self,
        view: &View,
        k: usize,
        image: Image,
        indexes: &[Option<u16>],
        present: u8,
    ) -> Result<Option<(u32, u16, CellKind)>, EditError> {
        match present {
            presence::NONE | presence::UNAVAILABLE | presence::OTHER => return Ok(None),
            presence::VALUE | presence::NULL => {}
            other => return Err(EditError::Malformed(format!("row {k}: {other} is no presence"))),
        }
        let at = view.rows()[k];
        let entry = &view.batch().entries[at as usize];
        let Some(column) = indexes[entry.table as usize] else { return Ok(None) };
        if entry.image(image) == NONE64 || self.is_gone(at) {
            return Ok(None);
        }
        let batch = view.batch();
        let held = Row::at(&batch.rows, entry.image(image), &batch.large).raw(column as usize).0;
        let kind = match held {
            CellKind::Absent | CellKind::Null | CellKind::Unavailable => {
                match batch.tables[entry.table as usize].columns().get(column as usize).map(|c| c.kind) {
                    Some(Kind::Of(kind)) => kind,
                    _ => self.added_kind(entry.table, column, batch).unwrap_or(CellKind::Null),
                }
            }
            held => held,
        };
        Ok(Some((at, column, kind)))
    }

    fn added_kind(&self, table: u16, column: u16, batch: &Batch) -> Option<CellKind> {
        let nth = usize::from(column).checked_sub(batch.tables[table as usize].columns().len())?;
        match self.added.iter().filter(|(of, _)| *of == table).nth(nth)?.1.kind {
            Kind::Of(kind) => Some(kind),
            Kind::Any => None,
        }
    }

    /// Takes a column out of every row in view.
    pub fn remove_column(&mut self, view: &View, column: &str) {
        let indexes = self.indexes(view, column);
        for row in view.rows().iter() {
            let entry = view.batch().entries[*row as usize];
            let Some(column) = indexes[entry.table as usize] else { continue };
            for image in [Image::Before, Image::After] {
                if entry.image(image) != NONE64 && !self.is_gone(*row) {
                    self.patches.push(Patch {
                        row: *row,
                        image,
                        column,
                        kind: CellKind::Absent,
                        at: 0,
                        len: 0,
                    });
                }
            }
        }
    }

    /// Adds a column to every table in view that lacks it. Its cells are absent until they are set.
    ///
    /// # Errors
    ///
    /// When one of the tables has as many columns as it may have; then no table gets it.
    pub fn add_column(&mut self, view: &View, name: &str, kind: Kind) -> Result<(), EditError> {
        let start = self.added.len();
        let mut seen = vec![false; view.batch().tables.len()];
        for row in view.rows().iter() {
            let table = view.batch().entries[*row as usize].table;
            if !std::mem::replace(&mut seen[table as usize], true) {
                self.column_or_add(view.batch(), table, name, kind)
                    .inspect_err(|_| self.added.truncate(start))?;
            }
        }
        Ok(())
    }

    /// The column's index in a table of the batch, as [`Overlay::set_at`] takes it, added columns included.
    pub fn column_of(&self, batch: &Batch, table: u16, name: &str) -> Option<u16> {
        let schema = &batch.tables[table as usize];
        schema.column(name).or_else(|| {
            let nth = self.added.iter().filter(|(of, _)| *of == table).position(|(_, c)| c.name == name)?;
            Some((schema.columns().len() + nth) as u16)
        })
    }

    /// How many columns a table has, with those added so far.
    pub fn columns(&self, batch: &Batch, table: u16) -> usize {
        batch.tables[table as usize].columns().len()
            + self.added.iter().filter(|(of, _)| *of == table).count()
    }

    /// As [`Overlay::column_of`], adding the column where the table lacks it.
    ///
    /// # Errors
    ///
    /// When the table has as many columns as it may have.
    pub fn column_or_add(
        &mut self,
        batch: &Batch,
        table: u16,
        name: &str,
        kind: Kind,
    ) -> Result<u16, EditError> {
        if let Some(column) = self.column_of(batch, table, name) {
            return Ok(column);
        }
        let at = self.columns(batch, table);
        if at >= TableSchema::MAX_COLUMNS {
            return Err(EditError::TooManyColumns { column: name.to_owned() });
        }
        self.added.push((table, SchemaColumn::new(name, kind, "")));
        Ok(at as u16)
    }

    fn indexes(&self, view: &View, column: &str) -> Vec<Option<u16>> {
        (0..view.batch().tables.len())
            .map(|table| self.column_of(view.batch(), table as u16, column))
            .collect()
    }
}
