//! A batch as a JSON array of events, and an array that comes back as edits.

use std::collections::HashMap;

use serde_json::value::RawValue;

use super::read::{JsonError, Members, cell_from_json_over, named_cells_from_json};
use super::{EventWriter, RowEncoders};
use crate::batch::{Event, Image, Op};
use crate::edit::{EditError, Emit, Overlay, SideEdit, Slot};
use crate::schema::Kind;
use crate::value::Cell;
use crate::view::View;

/// Why an array of events is not taken over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplaceError {
    /// The text is not what it should be.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// An event has a member that makes no sense.
    #[error("event {at}: {problem}")]
    Event {
        /// Its index in the array.
        at: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// The edits that follow from it make no sense.
    #[error(transparent)]
    Edit(#[from] EditError),
}

impl From<serde_json::Error> for ReplaceError {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(error.into())
    }
}

/// The rows in view as a JSON array of events in the native form. `tx_end` is the source's own mark.
pub fn events_to_json(view: &View, encoders: &mut RowEncoders) -> String {
    let mut writer = EventWriter::new(view.batch(), encoders);
    let mut out = vec![b'['];
    for (row, event) in view.events().enumerate() {
        if row > 0 {
            out.push(b',');
        }
        writer.write_event(&event, event.is_last(), &mut out);
    }
    out.push(b']');
    String::from_utf8(out).expect("every part is written from text")
}

/// Turns an array of events into edits: events are found again by `event_id`, what differs is set, events that are
/// missing are dropped, new ones are added after the one before them, and the order is the array's. What comes
/// back as it went out is left byte for byte.
///
/// An image member that is missing is left as it is; `null` takes the image away; a column that is missing in an
/// image becomes absent there. Members beside the images, `op` and `tags` become members that a script set.
///
/// # Errors
///
/// When the text is not an array of events. Edits made until then stay: take them back with
/// [`Overlay::rollback`].
pub fn replace_events(view: &View, edits: &mut Overlay, events: &str) -> Result<(), ReplaceError> {
    let events: Vec<&RawValue> = serde_json::from_str(events).map_err(JsonError::from)?;
    let rows: HashMap<[u8; 36], usize> =
        view.events().enumerate().map(|(row, event)| (event.id().to_ascii(), row)).collect();
    let mut encoders = RowEncoders::default();
    let mut replace = Replace { view, edits, writer: EventWriter::new(view.batch(), &mut encoders) };
    let mut taken = vec![false; view.len()];
    let mut slots = Vec::with_capacity(events.len());
    let mut last_row = None;
    let mut in_order = true;
    for (at, event) in events.into_iter().enumerate() {
        let members: Members<'_> = serde_json::from_str(event.get()).map_err(JsonError::from)?;
        let known = members.text("event_id").and_then(|id| rows.get(id.as_bytes()).copied());
        match known.filter(|row| !taken[*row]) {
            Some(row) => {
                replace.known(at, row, event.get(), &members)?;
                taken[row] = true;
                in_order &= last_row.is_none_or(|last| last < row);
                last_row = Some(row);
                slots.push(Slot::Row(row as u32));
            }
            None => {
                in_order &= last_row.is_some();
                let number = replace.added(at, last_row.unwrap_or(0), &members)?;
                slots.push(Slot::Emit(number));
            }
        }
    }
    if !in_order {
        edits.reorder(view, slots)?;
        return Ok(());
    }
    for (row, taken) in taken.into_iter().enumerate() {
        if !taken {
            edits.drop_row(view, row)?;
        }
    }
    Ok(())
}

struct Replace<'a> {
    view: &'a View,
    edits: &'a mut Overlay,
    writer: EventWriter<'a>,
}

impl Replace<'_> {
    fn known(&mut self, at: usize, row: usize, raw: &str, members: &Members<'_>) -> Result<(), ReplaceError> {
        let event = self.view.event(row);
        let mut held = Vec::with_capacity(raw.len());
        self.writer.write_event(&event, event.is_last(), &mut held);
        if held == raw.as_bytes() {
            return Ok(());
        }
        let held: Members<'_> = serde_json::from_slice(&held).map_err(JsonError::from)?;
        for (name, value) in &members.0 {
            let value = value.get();
            if held.get(name).is_some_and(|held| held == value) {
                continue;
            }
            match name.as_ref() {
                "before" => self.image(&event, row, Image::Before, value)?,
                "after" => self.image(&event, row, Image::After, value)?,
                "op" => self.edits.set_op(self.view, row, operation(at, value)?)?,
                "tags" => {
                    let tags = SideEdit::Tags(tags(at, value)?);
                    self.edits.side(self.view, row, tags)?;
                }
                "event_id" => {}
                _ => self.edits.side(self.view, row, SideEdit::Field(name.to_string(), value.to_owned()))?,
            }
        }
        if held.get("tags").is_some() && members.get("tags").is_none() {
            self.edits.side(self.view, row, SideEdit::Tags(None))?;
        }
        Ok(())
    }

    fn image(&mut self, event: &Event<'_>, row: usize, image: Image, raw: &str) -> Result<(), ReplaceError> {
        let held = match event.image(image) {
            Some(held) if raw != "null" => held,
            None if raw == "null" => return Ok(()),
            held => {
                let cells = match held {
                    None => Some(named_cells_from_json(raw, event.table())?),
                    Some(_) => None,
                };
                return Ok(self.edits.set_image(self.view, row, image, cells.as_ref())?);
            }
        };
        let members: Members<'_> = serde_json::from_str(raw).map_err(JsonError::from)?;
        let columns = event.table().columns();
        let mut named = vec![false; columns.len()];
        for (name, value) in &members.0 {
            let table = event.table_index() as u16;
            let column = self.edits.column_or_add(self.view.batch(), table, name, Kind::Any)?;
            let kind = columns.get(column as usize).map_or(Kind::Any, |column| column.kind);
            if let Some(named) = named.get_mut(column as usize) {
                *named = true;
            }
            if let Some(cell) = cell_from_json_over(value.get(), kind, &held.cell(column as usize))? {
                self.edits.set_at(self.view, row, image, column, &cell.as_cell())?;
            }
        }
        for (column, named) in named.into_iter().enumerate() {
            if !named && !matches!(held.cell(column), Cell::Absent) {
                self.edits.set_at(self.view, row, image, column as u16, &Cell::Absent)?;
            }
        }
        Ok(())
    }

    fn added(&mut self, at: usize, parent: usize, members: &Members<'_>) -> Result<u32, ReplaceError> {
        if self.view.is_empty() {
            return Err(ReplaceError::Event { at, problem: "there is no event that it could follow".into() });
        }
        let event = self.view.event(parent);
        let image = |name: &str| match members.get(name) {
            None | Some("null") => Ok(None),
            Some(raw) => named_cells_from_json(raw, event.table()).map(Some),
        };
        let mut emit = Emit {
            op: members.get("op").map_or(Ok(event.op()), |raw| operation(at, raw))?,
            before: image("before")?,
            after: image("after")?,
            side: Vec::new(),
        };
        // What it takes over from its parent needs no saying again.
        let mut held = Vec::new();
        self.writer.write_origin(&event, event.is_last(), &mut held);
        let held: Members<'_> = serde_json::from_slice(&held).map_err(JsonError::from)?;
        for (name, value) in &members.0 {
            match name.as_ref() {
                "before" | "after" | "op" | "event_id" | "tx_end" => {}
                "tags" => emit.side.push(SideEdit::Tags(tags(at, value.get())?)),
                _ if held.get(name) == Some(value.get()) => {}
                _ => emit.side.push(SideEdit::Field(name.to_string(), value.get().to_owned())),
            }
        }
        Ok(self.edits.emit(self.view, parent, emit)?)
    }
}

fn operation(at: usize, raw: &str) -> Result<Op, ReplaceError> {
    let code: Option<String> = serde_json::from_str(raw).ok();
    code.and_then(|code| Op::from_code(&code))
        .filter(|op| *op != Op::Heartbeat)
        .ok_or_else(|| ReplaceError::Event { at, problem: format!("{raw} is no operation") })
}

fn tags(at: usize, raw: &str) -> Result<Option<Vec<String>>, ReplaceError> {
    serde_json::from_str(raw).map_err(|error| ReplaceError::Event { at, problem: format!("tags: {error}") })
}
