//! One call into a guest: the batch it is shown and the edits it makes. The same for every interface version.

use deltaforge_engine::stage::{EditBudget, StageLimits, TooMany};
use deltaforge_model::edit::{Emit, NamedCells, SideEdit, cells_bytes, image_bytes};
use deltaforge_model::schema::Kind;
use deltaforge_model::value::CellKind;
use deltaforge_model::view::{Column, Flat, presence};
use deltaforge_model::{Cell, Event, Image, Op, Overlay, View};

use crate::error::{Ended, REJECTED, cut};
use crate::limits::MAX_ADDED_COLUMNS;

/// Bytes that an edit takes beside its value.
const EDIT: usize = 40;

/// A column by name, for the calls on single cells.
struct NamedColumn {
    name: String,
    /// Its index in each table of the batch.
    indexes: Vec<Option<u16>>,
}

/// What a guest is working on.
pub(crate) struct Call {
    pub(crate) view: View,
    pub(crate) edits: Overlay,
    /// Per row, whether it is its transaction's last; only formatters are told.
    tx_end: Option<Vec<u8>>,
    columns: Vec<NamedColumn>,
    budget: EditBudget,
    most_emitted: TooMany,
    emitted: usize,
    added: usize,
}

impl Call {
    /// A processor's call.
    pub(crate) fn editing(view: View, edits: Overlay, limits: &StageLimits) -> Self {
        let (columns, budget) = (Vec::new(), EditBudget::new(limits));
        let most_emitted = TooMany::events(limits);
        Self { view, edits, tx_end: None, columns, budget, most_emitted, emitted: 0, added: 0 }
    }

    /// A formatter's call.
    pub(crate) fn formatting(view: View, tx_end: &[bool], limits: &StageLimits) -> Self {
        let tx_end = Some(tx_end.iter().copied().map(u8::from).collect());
        Self { tx_end, ..Self::editing(view, Overlay::new(), limits) }
    }

    /// Gives back the edits.
    pub(crate) fn into_edits(self) -> Overlay {
        self.edits
    }

    fn len(&self) -> usize {
        self.view.len()
    }

    /// Counts bytes of edits against the call's bound.
    pub(crate) fn charge(&mut self, bytes: usize) -> Result<(), Ended> {
        if self.tx_end.is_some() {
            return Err(Ended::Edit("a formatter cannot change the batch".to_owned()));
        }
        Ok(self.budget.charge(&self.view, bytes)?)
    }

    /// Counts bytes of bodies against the same bound.
    pub(crate) fn charge_bodies(&mut self, bytes: usize) -> Result<(), Ended> {
        Ok(self.budget.charge_bodies(&self.view, bytes)?)
    }

    pub(crate) fn event(&self, row: u32) -> Result<Event<'_>, Ended> {
        if row as usize >= self.len() {
            return Err(Ended::Edit(format!("row {row} does not exist, the batch has {}", self.len())));
        }
        Ok(self.view.event(row as usize))
    }

    pub(crate) fn tx_end(&self) -> Vec<u8> {
        match &self.tx_end {
            Some(ends) => ends.clone(),
            None => self.view.events().map(|event| u8::from(event.is_last())).collect(),
        }
    }

    /// A number for a column of the batch, or of those the call has added.
    pub(crate) fn column(&mut self, name: &str) -> Option<u32> {
        if let Some(known) = self.columns.iter().position(|column| column.name == name) {
            return Some(known as u32);
        }
        let batch = self.view.batch();
        let indexes: Vec<_> =
            (0..batch.tables().len()).map(|table| self.edits.column_of(batch, table as u16, name)).collect();
        if indexes.iter().all(Option::is_none) {
            return None;
        }
        self.columns.push(NamedColumn { name: name.to_owned(), indexes });
        Some(self.columns.len() as u32 - 1)
    }

    fn named(&self, column: u32) -> Result<&NamedColumn, Ended> {
        self.columns.get(column as usize).ok_or_else(|| Ended::Edit(format!("there is no column #{column}")))
    }

    pub(crate) fn get(&self, row: u32, image: Image, column: u32) -> Result<Cell<'_>, Ended> {
        let event = self.event(row)?;
        let index = self.named(column)?.indexes[event.table_index()];
        Ok(match (event.image(image), index) {
            (Some(image), Some(index)) => image.cell(index as usize),
            _ => Cell::Absent,
        })
    }

    pub(crate) fn set(&mut self, row: u32, image: Image, column: u32, cell: &Cell<'_>) -> Result<(), Ended> {
        match cell {
            Cell::Absent | Cell::Unavailable => self.event(row).map(drop),
            cell => self.put(row, image, column, cell),
        }
    }

    pub(crate) fn unset(&mut self, row: u32, image: Image, column: u32) -> Result<(), Ended> {
        self.put(row, image, column, &Cell::Absent)
    }

    fn put(&mut self, row: u32, image: Image, column: u32, cell: &Cell<'_>) -> Result<(), Ended> {
        check_json(cell)?;
        let table = self.event(row)?.table_index();
        let named = self.named(column)?;
        let Some(index) = named.indexes[table] else {
            return Err(Ended::Edit(format!("the table of row {row} has no column {:?}", cut(&named.name))));
        };
        self.charge(EDIT + cell_len(cell))?;
        Ok(self.edits.set_at(&self.view, row as usize, image, index, cell)?)
    }

    pub(crate) fn set_image(
        &mut self,
        row: u32,
        image: Image,
        cells: Option<&NamedCells>,
    ) -> Result<(), Ended> {
        let image_bytes = self.image_bytes(row)?;
        self.charge(EDIT + cells.map_or(0, |cells| image_bytes + cells_bytes(cells)))?;
        self.count_new_columns(row, cells.into_iter().flatten().map(|(name, _)| name.as_str()))?;
        self.edits.set_image(&self.view, row as usize, image, cells)?;
        Ok(())
    }

    /// Bytes of an image of a row's table, as wide as it is by now, beside its values.
    fn image_bytes(&self, row: u32) -> Result<usize, Ended> {
        let table = self.event(row)?.table_index() as u16;
        Ok(image_bytes(self.edits.columns(self.view.batch(), table)))
    }

    /// Counts the columns that would be added to a row's table.
    fn count_new_columns<'a>(&mut self, row: u32, names: impl Iterator<Item = &'a str>) -> Result<(), Ended> {
        let (batch, table) = (self.view.batch(), self.event(row)?.table_index() as u16);
        let new = names.filter(|name| self.edits.column_of(batch, table, name).is_none()).count();
        self.added += new;
        if self.added > MAX_ADDED_COLUMNS {
            return Err(Ended::Bound(format!("{MAX_ADDED_COLUMNS} added columns (no key raises it)")));
        }
        Ok(())
    }

    pub(crate) fn fill(&mut self, image: Image, column: &str, cell: &Cell<'_>) -> Result<(), Ended> {
        if matches!(cell, Cell::Absent | Cell::Unavailable) {
            return Ok(());
        }
        check_json(cell)?;
        self.charge(self.len() * (EDIT + cell_len(cell)))?;
        Ok(self.edits.fill(&self.view, image, column, cell)?)
    }

    pub(crate) fn set_ints(&mut self, image: Image, column: &str, values: &Column<i64>) -> Result<(), Ended> {
        self.charge(self.len() * (EDIT + 8))?;
        Ok(self.edits.set_ints(&self.view, image, column, values)?)
    }

    pub(crate) fn set_floats(
        &mut self,
        image: Image,
        column: &str,
        values: &Column<f64>,
    ) -> Result<(), Ended> {
        self.charge(self.len() * (EDIT + 8))?;
        Ok(self.edits.set_floats(&self.view, image, column, values)?)
    }

    pub(crate) fn set_flats(&mut self, image: Image, column: &str, values: &Flat) -> Result<(), Ended> {
        self.charge(self.len() * EDIT + values.data.len())?;
        self.edits.set_flats(&self.view, image, column, values)?;
        self.check_json_column(image, column, values)
    }

    /// What is put where JSON was must be JSON: encoders copy it as it is.
    fn check_json_column(&self, image: Image, column: &str, values: &Flat) -> Result<(), Ended> {
        let indexes = self.view.column_indexes(column);
        for (row, event) in self.view.events().enumerate() {
            let (Some(held), Some(index)) = (event.image(image), indexes[event.table_index()]) else {
                continue;
            };
            let json = match held.raw(index as usize).0 {
                CellKind::Json => true,
                CellKind::Absent | CellKind::Null | CellKind::Unavailable => {
                    event.table().columns()[index as usize].kind == Kind::Of(CellKind::Json)
                }
                _ => false,
            };
            if json && values.present.get(row) == Some(&presence::VALUE) {
                let text = values.get(row).and_then(|bytes| std::str::from_utf8(bytes).ok());
                check_json(&Cell::Json(text.unwrap_or_default()))?;
            }
        }
        Ok(())
    }

    pub(crate) fn keep(&mut self, mask: &[u8]) -> Result<(), Ended> {
        self.charge(mask.len())?;
        Ok(self.edits.keep(&self.view, mask)?)
    }

    pub(crate) fn remove_column(&mut self, column: &str) -> Result<(), Ended> {
        self.charge(self.len() * 2 * EDIT)?;
        self.edits.remove_column(&self.view, column);
        Ok(())
    }

    pub(crate) fn add_column(&mut self, name: &str, kind: &str) -> Result<u32, Ended> {
        self.charge(EDIT + name.len())?;
        self.added += 1;
        if self.added > MAX_ADDED_COLUMNS {
            return Err(Ended::Bound(format!("{MAX_ADDED_COLUMNS} added columns (no key raises it)")));
        }
        let (batch, kind) = (self.view.batch(), Kind::from_name(kind).unwrap_or(Kind::Any));
        let mut in_view = vec![false; batch.tables().len()];
        for event in self.view.events() {
            if !std::mem::replace(&mut in_view[event.table_index()], true) {
                self.edits.column_or_add(batch, event.table_index() as u16, name, kind)?;
            }
        }
        if let Some(known) = self.columns.iter_mut().find(|column| column.name == name) {
            for (table, index) in known.indexes.iter_mut().enumerate() {
                *index = self.edits.column_of(batch, table as u16, name);
            }
        }
        self.column(name).ok_or_else(|| Ended::Edit("a batch without rows gets no column".to_owned()))
    }

    pub(crate) fn set_op(&mut self, row: u32, op: u8) -> Result<(), Ended> {
        let op = operation(op)?;
        self.event(row)?;
        self.charge(EDIT)?;
        Ok(self.edits.set_op(&self.view, row as usize, op)?)
    }

    pub(crate) fn drop_row(&mut self, row: u32) -> Result<(), Ended> {
        self.charge(8)?;
        Ok(self.edits.drop_row(&self.view, row as usize)?)
    }

    pub(crate) fn reject(&mut self, row: u32, reason: &str) -> Result<(), Ended> {
        let reason = cut(reason);
        self.charge(EDIT + reason.len())?;
        Ok(self.edits.reject(&self.view, row as usize, REJECTED, &reason)?)
    }

    pub(crate) fn side(&mut self, row: u32, edit: SideEdit) -> Result<(), Ended> {
        self.charge(edit.byte_size())?;
        Ok(self.edits.side(&self.view, row as usize, edit)?)
    }

    /// The same for the rows whose byte in `mask` is not 0; an empty mask means every row.
    pub(crate) fn side_where(&mut self, mask: &[u8], edit: SideEdit) -> Result<(), Ended> {
        let rows = if mask.is_empty() { self.len() } else { mask.iter().filter(|byte| **byte != 0).count() };
        self.charge((1 + rows) * edit.byte_size())?;
        Ok(self.edits.side_all(&self.view, edit, (!mask.is_empty()).then_some(mask))?)
    }

    pub(crate) fn count_emitted(&mut self, events: usize) -> Result<(), Ended> {
        self.emitted += events;
        if self.emitted > self.most_emitted.bound {
            return Err(self.most_emitted.into());
        }
        Ok(())
    }

    pub(crate) fn emit(&mut self, row: u32, emit: Emit) -> Result<(), Ended> {
        let image_bytes = self.image_bytes(row)?;
        self.count_emitted(1)?;
        self.charge(emit.byte_size() + emit.images() * image_bytes)?;
        let names = [&emit.before, &emit.after].into_iter().flatten().flatten();
        self.count_new_columns(row, names.map(|(name, _)| name.as_str()))?;
        self.edits.emit(&self.view, row as usize, emit)?;
        Ok(())
    }
}

/// The operation with this number, if a plugin may name it.
pub(crate) fn operation(op: u8) -> Result<Op, Ended> {
    Op::from_byte(op)
        .filter(|op| *op != Op::Heartbeat)
        .ok_or_else(|| Ended::Edit(format!("{op} is no operation")))
}

/// What a guest calls JSON is copied into messages as it is, so it must be JSON.
pub(crate) fn check_json(cell: &Cell<'_>) -> Result<(), Ended> {
    let Cell::Json(text) = cell else { return Ok(()) };
    match serde_json::from_str::<serde::de::IgnoredAny>(text) {
        Ok(_) => Ok(()),
        Err(error) => Err(Ended::Edit(format!("a value is not JSON: {error}"))),
    }
}

/// Bytes of a value.
pub(crate) fn cell_len(cell: &Cell<'_>) -> usize {
    match cell {
        Cell::Bytes(bytes) => bytes.len(),
        Cell::Array(array) => array.as_bytes().len(),
        cell => cell.as_str().map_or(16, str::len),
    }
}
