//! The batch as JSON, for formatters and quick scripts, and back.

use std::borrow::Cow;
use std::collections::HashMap;

use deltaforge_model::edit::{Emit, NamedCells, SideEdit};
use deltaforge_model::json::{EventWriter, RowEncoders, cell_from_json_over, named_cells_from_json};
use deltaforge_model::schema::Kind;
use deltaforge_model::view::{Flat, presence};
use deltaforge_model::{Cell, Event, Image, Op};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::call::{Call, operation};
use crate::error::{Ended, cut};

/// Members of an event that a plugin cannot change: the source's own.
const FIXED: [&str; 10] = [
    "source",
    "ts_ms",
    "transaction",
    "tenant_id",
    "schema_version",
    "ddl",
    "message",
    "synthetic",
    "tx_end",
    "event_id",
];

/// Why an array of events cannot be taken over.
#[derive(Debug)]
pub(crate) enum JsonProblem {
    /// It is not such an array: the plugin is told.
    Said(String),
    /// It passes a bound: the call ends.
    Ended(Ended),
}

impl From<Ended> for JsonProblem {
    fn from(ended: Ended) -> Self {
        Self::Ended(ended)
    }
}

/// One event of the array; whatever else it has is in `rest`.
#[derive(Deserialize)]
struct JsonEvent<'a> {
    event_id: Option<String>,
    op: Option<String>,
    #[serde(borrow)]
    before: Option<&'a RawValue>,
    #[serde(borrow)]
    after: Option<&'a RawValue>,
    tags: Option<Vec<String>>,
    route: Option<JsonRoute>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonRoute {
    topic: Option<String>,
    key: Option<String>,
    #[serde(default)]
    headers: serde_json::Map<String, serde_json::Value>,
}

type Members<'a> = HashMap<Cow<'a, str>, &'a RawValue>;

impl Call {
    /// One JSON object a row.
    pub(crate) fn json_rows(&self, image: Image, encoders: &mut RowEncoders) -> Flat {
        let rows = encoders.of_batch(self.view.batch());
        let mut flat = Flat::default();
        // A row in JSON is mostly longer than in the batch; growing on the way would copy it all again.
        let bytes = self.view.events().filter_map(|event| event.image(image)).map(|row| row.byte_size());
        flat.data.reserve(bytes.sum::<usize>() * 3 / 2);
        for event in self.view.events() {
            match event.image(image) {
                Some(row) => {
                    rows[event.table_index()].write_row(&row, &mut flat.data);
                    flat.present.push(presence::VALUE);
                }
                None => flat.present.push(presence::NONE),
            }
            flat.ends.push(flat.data.len() as u32);
        }
        flat
    }

    /// One JSON object a row with all but the images.
    pub(crate) fn json_origins(&self, encoders: &mut RowEncoders) -> Flat {
        let ends = self.tx_end();
        let mut writer = EventWriter::new(self.view.batch(), encoders);
        let mut flat = Flat { present: vec![presence::VALUE; self.view.len()], ..Flat::default() };
        for (event, last) in self.view.events().zip(ends) {
            writer.write_origin(&event, last != 0, &mut flat.data);
            flat.ends.push(flat.data.len() as u32);
        }
        flat
    }

    /// The whole batch as an array.
    pub(crate) fn to_json(&self, encoders: &mut RowEncoders) -> Result<String, Ended> {
        let ends = self.tx_end();
        let mut writer = EventWriter::new(self.view.batch(), encoders);
        let mut out = vec![b'['];
        for (at, (event, last)) in self.view.events().zip(ends).enumerate() {
            if at > 0 {
                out.push(b',');
            }
            writer.write_event(&event, last != 0, &mut out);
        }
        out.push(b']');
        String::from_utf8(out).map_err(|_| Ended::Edit("a text of the batch is not UTF-8".to_owned()))
    }

    /// Takes over an array that came of [`Call::to_json`]. All that the plugin is told of is found before
    /// anything is changed.
    pub(crate) fn replace_json(&mut self, text: &str) -> Result<(), JsonProblem> {
        let said = |at: usize, problem: &str| JsonProblem::Said(format!("event {at}: {}", cut(problem)));
        let raw: Vec<&RawValue> = serde_json::from_str(text)
            .map_err(|error| JsonProblem::Said(format!("no array of events: {error}")))?;
        let by_id: HashMap<String, u32> =
            self.view.events().enumerate().map(|(row, event)| (event.id().to_string(), row as u32)).collect();
        let mut named = vec![false; self.view.len()];
        let mut changes = Vec::new();
        let mut at_row = 0;
        for (at, raw) in raw.iter().enumerate() {
            let event: JsonEvent<'_> =
                serde_json::from_str(raw.get()).map_err(|error| said(at, &error.to_string()))?;
            let members: Members<'_> =
                serde_json::from_str(raw.get()).map_err(|error| said(at, &error.to_string()))?;
            match &event.event_id {
                Some(id) => {
                    let row = *by_id.get(id).ok_or_else(|| said(at, &format!("there is no event {id:?}")))?;
                    if std::mem::replace(&mut named[row as usize], true) {
                        return Err(said(at, &format!("event {id} stands there twice")));
                    }
                    at_row = row;
                    changes.push((row, self.change(row, &event, &members).map_err(|text| said(at, &text))?));
                }
                None => {
                    if self.view.is_empty() {
                        return Err(said(at, "a batch without rows takes none"));
                    }
                    let emit = self.new_event(at_row, &event, &members).map_err(|text| said(at, &text))?;
                    changes.push((at_row, vec![Change::Emit(emit)]));
                }
            }
        }
        for (row, list) in changes {
            for change in list {
                self.apply_change(row, change)?;
            }
        }
        for (row, named) in named.into_iter().enumerate() {
            if !named {
                self.drop_row(row as u32)?;
            }
        }
        Ok(())
    }

    /// What differs between a row and its JSON.
    fn change(&self, row: u32, json: &JsonEvent<'_>, members: &Members<'_>) -> Result<Vec<Change>, String> {
        let event = self.view.event(row as usize);
        let mut changes = Vec::new();
        if let Some(code) = json.op.as_deref()
            && code != event.op().code()
        {
            changes.push(Change::Op(operation_of(code)?));
        }
        for (image, json) in [(Image::Before, json.before), (Image::After, json.after)] {
            image_changes(&event, image, json, &mut changes)?;
        }
        if json.tags != event.side().tags {
            changes.push(Change::Side(SideEdit::Tags(json.tags.clone())));
        }
        changes.extend(routes(json.route.as_ref())?.map(Change::Side));
        changes.extend(fields(&event, members).map(Change::Side));
        Ok(changes)
    }

    fn new_event(&self, at: u32, json: &JsonEvent<'_>, members: &Members<'_>) -> Result<Emit, String> {
        let parent = self.view.event(at as usize);
        let image = |raw: Option<&RawValue>| -> Result<Option<NamedCells>, String> {
            raw.filter(|raw| raw.get() != "null")
                .map(|raw| {
                    named_cells_from_json(raw.get(), parent.table()).map_err(|error| error.to_string())
                })
                .transpose()
        };
        let mut side: Vec<SideEdit> =
            json.tags.clone().map(|tags| SideEdit::Tags(Some(tags))).into_iter().collect();
        side.extend(routes(json.route.as_ref())?);
        side.extend(fields(&parent, members));
        Ok(Emit {
            op: operation_of(json.op.as_deref().unwrap_or("c"))?,
            before: image(json.before)?,
            after: image(json.after)?,
            side,
        })
    }

    fn apply_change(&mut self, row: u32, change: Change) -> Result<(), Ended> {
        match change {
            Change::Op(op) => self.set_op(row, op as u8),
            Change::Image(image, cells) => self.set_image(row, image, cells.as_ref()),
            Change::Cell(image, name, cell) => {
                let column = match self.column(&name) {
                    Some(column) if self.has_column(row, column) => column,
                    _ => self.add_column(&name, "any")?,
                };
                match cell.as_cell() {
                    Cell::Absent => self.unset(row, image, column),
                    Cell::Unavailable => Ok(()),
                    cell => self.set(row, image, column, &cell),
                }
            }
            Change::Side(edit) => self.side(row, edit),
            Change::Emit(emit) => self.emit(row, emit),
        }
    }
}

enum Change {
    Op(Op),
    Image(Image, Option<NamedCells>),
    Cell(Image, String, deltaforge_model::edit::OwnedCell),
    Side(SideEdit),
    Emit(Emit),
}

fn operation_of(code: &str) -> Result<Op, String> {
    let op = Op::from_code(code).ok_or_else(|| format!("{code:?} is no operation"))?;
    operation(op as u8).map_err(|error| error.to_string())
}

/// What differs between an image and its JSON, member by member.
fn image_changes(
    event: &Event<'_>,
    image: Image,
    json: Option<&RawValue>,
    changes: &mut Vec<Change>,
) -> Result<(), String> {
    let json = json.filter(|raw| raw.get() != "null");
    let (row, json) = match (event.image(image), json) {
        (None, None) => return Ok(()),
        (Some(_), None) => {
            changes.push(Change::Image(image, None));
            return Ok(());
        }
        (None, Some(json)) => {
            let cells =
                named_cells_from_json(json.get(), event.table()).map_err(|error| error.to_string())?;
            changes.push(Change::Image(image, Some(cells)));
            return Ok(());
        }
        (Some(row), Some(json)) => (row, json),
    };
    let mut members: Vec<(Cow<'_, str>, &RawValue)> = serde_json::from_str::<OrderedMembers<'_>>(json.get())
        .map_err(|error| format!("{image:?} image: {error}"))?
        .0;
    for (at, column) in event.table().columns().iter().enumerate() {
        let held = row.cell(at);
        let member =
            members.iter().rposition(|(name, _)| *name == column.name).map(|at| members.swap_remove(at));
        match member {
            Some((name, raw)) => {
                let cell = cell_from_json_over(raw.get(), column.kind, &held)
                    .map_err(|error| format!("{name}: {error}"))?;
                changes.extend(cell.map(|cell| Change::Cell(image, name.into_owned(), cell)));
            }
            None if matches!(held, Cell::Absent) => {}
            None => changes.push(Change::Cell(image, column.name.clone(), (&Cell::Absent).into())),
        }
    }
    members.sort_by(|(a, _), (b, _)| a.cmp(b)); // added in an order that does not depend on how the rest stood
    for (name, raw) in members {
        let cell = cell_from_json_over(raw.get(), Kind::Any, &Cell::Absent)
            .map_err(|error| format!("{name}: {error}"))?;
        changes.extend(cell.map(|cell| Change::Cell(image, name.into_owned(), cell)));
    }
    Ok(())
}

fn routes(route: Option<&JsonRoute>) -> Result<impl Iterator<Item = SideEdit> + use<>, String> {
    let mut edits = Vec::new();
    if let Some(route) = route {
        edits.extend(route.topic.clone().map(|topic| SideEdit::Topic(Some(topic))));
        edits.extend(route.key.clone().map(|key| SideEdit::Key(Some(key))));
        for (name, value) in &route.headers {
            let value = value.as_str().ok_or_else(|| format!("header {name:?} is not a text"))?;
            edits.push(SideEdit::Header(name.clone(), value.to_owned()));
        }
    }
    Ok(edits.into_iter())
}

/// Members that the event did not have.
fn fields(event: &Event<'_>, members: &Members<'_>) -> impl Iterator<Item = SideEdit> + use<> {
    const CHANGED: [&str; 5] = ["before", "after", "op", "tags", "route"];
    let held = &event.side().fields;
    let mut new: Vec<SideEdit> = members
        .iter()
        .filter(|(name, _)| {
            !FIXED.contains(&name.as_ref()) && !CHANGED.contains(&name.as_ref()) && !name.contains('.')
        })
        .filter(|(name, raw)| !held.iter().any(|(path, json)| path == name.as_ref() && json == raw.get()))
        // What a script has set inside of a member of its own is shown as part of that member.
        .filter(|(name, _)| !held.iter().any(|(path, _)| path.split('.').next() == Some(name.as_ref())))
        .map(|(name, raw)| SideEdit::Field(name.clone().into_owned(), raw.get().to_owned()))
        .collect();
    new.sort_by(|a, b| match (a, b) {
        (SideEdit::Field(a, _), SideEdit::Field(b, _)) => a.cmp(b),
        _ => std::cmp::Ordering::Equal,
    });
    new.into_iter()
}

/// The members of an object in order.
struct OrderedMembers<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for OrderedMembers<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = OrderedMembers<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, _>()? {
                    members.push((Cow::Owned(name), value));
                }
                Ok(OrderedMembers(members))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}
