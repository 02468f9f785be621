//! A batch as a JSON array of events, and an array that comes back as edits.

use std::collections::HashMap;

use serde_json::value::RawValue;

use super::read::{JsonError, Members, cell_from_json_over, named_cells_from_json};
use super::{EventWriter, RowEncoders};
use crate::batch::{Event, Image, Op};
use crate::edit::{EditError, Emit, Overlay, SideEdit};
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
/// missing are dropped, and those without an id are added after the one before them. What comes back as it went
/// out is left byte for byte.
///
/// An image that is missing or `null` is taken away; a column that is missing in an image becomes absent there.
/// `route` (`topic`, `key`, `headers`) sends the event elsewhere. What the source says of an event stays as it is,
/// whatever comes back; any other member becomes one that a script set.
///
/// # Errors
///
/// When the text is not an array of events, names an event that is not there, or names one twice. Edits made until
/// then stay: take them back with [`Overlay::rollback`].
pub fn replace_events(view: &View, edits: &mut Overlay, events: &str) -> Result<(), ReplaceError> {
    let events: Vec<&RawValue> = serde_json::from_str(events)?;
    let rows: HashMap<[u8; 36], usize> =
        view.events().enumerate().map(|(row, event)| (event.id().to_ascii(), row)).collect();
    let mut encoders = RowEncoders::default();
    let mut replace = Replace { view, edits, writer: EventWriter::new(view.batch(), &mut encoders) };
    let mut named = vec![false; view.len()];
    let mut last_row = 0;
    for (at, event) in events.into_iter().enumerate() {
        let problem = |problem: String| ReplaceError::Event { at, problem };
        let members: Members<'_> = serde_json::from_str(event.get()).map_err(|e| problem(e.to_string()))?;
        let Some(id) = members.text("event_id") else {
            if view.is_empty() {
                return Err(problem("there is no event that it could follow".to_owned()));
            }
            replace.added(at, last_row, &members)?;
            continue;
        };
        let row = <[u8; 36]>::try_from(id.as_bytes()).ok().and_then(|id| rows.get(&id).copied());
        let row = row.ok_or_else(|| problem(format!("there is no event {id:?}")))?;
        if std::mem::replace(&mut named[row], true) {
            return Err(problem(format!("event {id} stands there twice")));
        }
        replace.known(at, row, event.get(), &members)?;
        last_row = row;
    }
    for (row, named) in named.into_iter().enumerate() {
        if !named {
            edits.drop_row(view, row)?;
        }
    }
    Ok(())
}

/// Members that are the source's own to say.
const FIXED: [&str; 10] = [
    "source",
    "ts_ms",
    "transaction",
    "event_id",
    "tenant_id",
    "schema_version",
    "ddl",
    "message",
    "synthetic",
    "tx_end",
];

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
        if let Some(op) = members.get("op") {
            let op = operation(at, op)?;
            if op != event.op() {
                self.edits.set_op(self.view, row, op)?;
            }
        }
        for (image, name) in [(Image::Before, "before"), (Image::After, "after")] {
            self.image(&event, row, image, members.get(name).unwrap_or("null"))?;
        }
        let tags = tags(at, members)?;
        if tags != event.side().tags {
            self.edits.side(self.view, row, SideEdit::Tags(tags))?;
        }
        for edit in routes(at, members)?.into_iter().chain(fields(&event, members)) {
            self.edits.side(self.view, row, edit)?;
        }
        Ok(())
    }

    fn image(&mut self, event: &Event<'_>, row: usize, image: Image, raw: &str) -> Result<(), ReplaceError> {
        let held = match (event.image(image), raw) {
            (None, "null") => return Ok(()),
            (Some(_), "null") => return Ok(self.edits.set_image(self.view, row, image, None)?),
            (None, raw) => {
                let cells = named_cells_from_json(raw, event.table())?;
                return Ok(self.edits.set_image(self.view, row, image, Some(&cells))?);
            }
            (Some(held), _) => held,
        };
        let members: Members<'_> = serde_json::from_str(raw)?;
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

    fn added(&mut self, at: usize, parent: usize, members: &Members<'_>) -> Result<(), ReplaceError> {
        let event = self.view.event(parent);
        let image = |name: &str| match members.get(name) {
            None | Some("null") => Ok(None),
            Some(raw) => named_cells_from_json(raw, event.table()).map(Some),
        };
        let tags = tags(at, members)?.map(|tags| SideEdit::Tags(Some(tags)));
        let emit = Emit {
            op: members.get("op").map_or(Ok(Op::Create), |raw| operation(at, raw))?,
            before: image("before")?,
            after: image("after")?,
            side: tags.into_iter().chain(routes(at, members)?).chain(fields(&event, members)).collect(),
        };
        self.edits.emit(self.view, parent, emit)?;
        Ok(())
    }
}

fn operation(at: usize, raw: &str) -> Result<Op, ReplaceError> {
    let code: Option<String> = serde_json::from_str(raw).ok();
    code.and_then(|code| Op::from_code(&code))
        .filter(|op| *op != Op::Heartbeat)
        .ok_or_else(|| ReplaceError::Event { at, problem: format!("{raw} is no operation") })
}

fn tags(at: usize, members: &Members<'_>) -> Result<Option<Vec<String>>, ReplaceError> {
    serde_json::from_str(members.get("tags").unwrap_or("null"))
        .map_err(|error| ReplaceError::Event { at, problem: format!("tags: {error}") })
}

/// Where an event shall go.
#[derive(Default)]
struct Route {
    topic: Option<String>,
    key: Option<String>,
    headers: Vec<(String, String)>,
}

fn routes(at: usize, members: &Members<'_>) -> Result<Vec<SideEdit>, ReplaceError> {
    let problem = |problem: String| ReplaceError::Event { at, problem: format!("route: {problem}") };
    let Some(raw) = members.get("route").filter(|raw| *raw != "null") else { return Ok(Vec::new()) };
    let parts: Members<'_> = serde_json::from_str(raw).map_err(|error| problem(error.to_string()))?;
    let text =
        |raw: &str| serde_json::from_str::<Option<String>>(raw).map_err(|error| problem(error.to_string()));
    let mut route = Route::default();
    for (name, value) in &parts.0 {
        match name.as_str() {
            "topic" => route.topic = text(value.get())?,
            "key" => route.key = text(value.get())?,
            "headers" => {
                let headers: Members<'_> =
                    serde_json::from_str(value.get()).map_err(|error| problem(error.to_string()))?;
                for (name, value) in headers.0 {
                    let value =
                        text(value.get())?.ok_or_else(|| problem(format!("header {name} has no text")))?;
                    route.headers.push((name, value));
                }
            }
            other => return Err(problem(format!("there is no {other:?}"))),
        }
    }
    let topic = route.topic.map(|topic| SideEdit::Topic(Some(topic)));
    let key = route.key.map(|key| SideEdit::Key(Some(key)));
    let headers = route.headers.into_iter().map(|(name, value)| SideEdit::Header(name, value));
    Ok(topic.into_iter().chain(key).chain(headers).collect())
}

/// Members that the event did not have.
fn fields(event: &Event<'_>, members: &Members<'_>) -> Vec<SideEdit> {
    const CHANGED: [&str; 5] = ["before", "after", "op", "tags", "route"];
    let held = &event.side().fields;
    let mut new: Vec<(&str, &str)> = members
        .0
        .iter()
        .map(|(name, raw)| (name.as_str(), raw.get()))
        .filter(|(name, _)| !FIXED.contains(name) && !CHANGED.contains(name) && !name.contains('.'))
        // What a script has set, also inside of a member of its own, is shown as part of that member.
        .filter(|(name, _)| !held.iter().any(|(path, _)| path.split('.').next() == Some(name)))
        .collect();
    // In an order that does not depend on how the rest stood.
    new.sort_unstable();
    new.into_iter().map(|(name, raw)| SideEdit::Field(name.to_owned(), raw.to_owned())).collect()
}
