//! What a script did to a slice, and how that becomes edits.

use std::borrow::Cow;

use deltaforge_engine::stage::{EditBudget, StageError, StageLimits, TooMany};
use deltaforge_model::edit::{
    EditError, Emit, NamedCells, OwnedCell, SideEdit, Slot, cells_bytes, image_bytes,
};
use deltaforge_model::json::{JsonError, cell_from_json_over};
use deltaforge_model::{Cell, Image, Kind, Op, Overlay, Row, TableSchema, View};
use serde_json::value::RawValue;

use crate::plan::{EVENTS, Plan, SOURCES, Shown};
use crate::script::ScriptError;

mod added;

/// One thing that the prelude told. Rows are the group's own.
#[derive(Debug)]
pub(crate) enum Change {
    /// Members that were set: a JSON array of one value a row.
    Set { group: u32, column: String, rows: Vec<u32>, values: String },
    /// Members that were taken away.
    Delete { group: u32, column: String, rows: Vec<u32> },
    /// Tag lists: row `rows[i]` has list `which[i]` of the JSON array `lists`, where `null` means none.
    Tags { rows: Vec<u32>, which: Vec<u32>, lists: String },
}

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Cells, members and tags, in the order they were told.
    pub list: Vec<Change>,
    /// The events that go on: a row of the view, or -1-k for the k-th added one. `None`: all, in order.
    pub order: Option<Vec<i32>>,
    /// Added events, described in JSON.
    pub added: Option<String>,
}

/// The script handed back something that is no event.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplyError {
    /// A value that makes no sense in its place.
    #[error("{0}")]
    Value(String),
    /// Text that is not JSON, such as half of a surrogate pair.
    #[error("take the script's result")]
    Json(#[from] JsonError),
    /// As above.
    #[error("take the script's result: {0}")]
    Text(#[from] serde_json::Error),
    /// An edit that the batch refuses.
    #[error("take the script's result: {0}")]
    Edit(#[from] EditError),
    /// More than one call may make.
    #[error(transparent)]
    TooMany(#[from] TooMany),
}

impl From<ApplyError> for StageError {
    fn from(error: ApplyError) -> Self {
        let message = match error {
            ApplyError::TooMany(over) => return ScriptError::from(over).into(),
            ApplyError::Json(ref cause) => format!("{error}: {cause}"),
            error => error.to_string(),
        };
        Self::isolate("script_error", message)
    }
}

type Raw<'a> = &'a RawValue;

/// The members of a JSON object, in order, values untouched.
#[derive(Default)]
struct Members<'a>(Vec<(Cow<'a, str>, Raw<'a>)>);

impl<'de: 'a, 'a> serde::Deserialize<'de> for Members<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, Raw<'de>>()? {
                    members.push((Cow::Owned(name), value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

impl<'a> Members<'a> {
    fn get(&self, name: &str) -> Option<Raw<'a>> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, raw)| *raw)
    }
}

/// Turns what a script did into edits.
///
/// # Errors
///
/// When something in it makes no sense. The overlay then holds part of it: the caller takes that back.
pub(crate) fn apply(
    view: &View,
    plan: &Plan,
    changes: &Changes,
    producer: &str,
    limits: &StageLimits,
    edits: &mut Overlay,
) -> Result<(), ApplyError> {
    let mut apply = Apply {
        view,
        plan,
        shown: Shown::of(view),
        edits,
        budget: EditBudget::new(limits),
        added: 0,
        most_added: TooMany::events(limits),
    };
    for change in &changes.list {
        match change {
            Change::Set { group, column, rows, values } => {
                let values: Vec<Raw<'_>> = serde_json::from_str(values)?;
                if values.len() != rows.len() {
                    let text = format!("{} values of {column} for {} rows", values.len(), rows.len());
                    return Err(ApplyError::Value(text));
                }
                let pairs = rows.iter().copied().zip(values);
                match *group {
                    EVENTS => {
                        pairs.into_iter().try_for_each(|(row, raw)| apply.member(row, column, raw.get()))?
                    }
                    SOURCES => pairs
                        .into_iter()
                        .try_for_each(|(row, raw)| apply.field(SOURCES, row, column, raw.get()))?,
                    group => apply.cells(group, column, pairs)?,
                }
            }
            Change::Delete { group, column, rows } => {
                for row in rows {
                    match *group {
                        EVENTS => apply.take_member(*row, column)?,
                        SOURCES => apply.take_field(SOURCES, *row, column)?,
                        group => apply.take_cell(group, column, *row)?,
                    }
                }
            }
            Change::Tags { rows, which, lists } => apply.tags(rows, which, lists)?,
        }
    }
    let Some(order) = &changes.order else { return Ok(()) };
    let slots = added::slots(&mut apply, changes, order, producer)?;
    let in_order = slots.windows(2).all(|pair| matches!(pair, [Slot::Row(a), Slot::Row(b)] if a < b));
    if in_order && !matches!(slots.first(), Some(Slot::Emit(_))) {
        let mut keep = vec![0; view.len()];
        for slot in &slots {
            if let Slot::Row(row) = slot {
                keep[*row as usize] = 1;
            }
        }
        edits.keep(view, &keep)?;
    } else {
        edits.reorder(view, slots)?;
    }
    Ok(())
}

struct Apply<'a> {
    view: &'a View,
    plan: &'a Plan,
    shown: Shown<'a>,
    edits: &'a mut Overlay,
    budget: EditBudget,
    added: usize,
    most_added: TooMany,
}

/// Bytes that an edit takes beside its value.
const EDIT: usize = 40;

/// The kind a column is declared with.
fn declared(schema: &TableSchema, column: u16) -> Kind {
    schema.columns().get(column as usize).map_or(Kind::Any, |column| column.kind)
}

/// A row image from a JSON object. A value that reads like the cell of `like` is that cell, whatever its type.
fn image_from(
    members: &Members<'_>,
    schema: &TableSchema,
    like: Option<Row<'_>>,
) -> Result<NamedCells, ApplyError> {
    let mut cells = NamedCells::with_capacity(members.0.len());
    for (name, raw) in &members.0 {
        let column = schema.column(name);
        let held = match (column, like) {
            (Some(column), Some(row)) => row.cell(column as usize),
            _ => Cell::Absent,
        };
        let kind = column.map_or(Kind::Any, |column| declared(schema, column));
        let cell = cell_from_json_over(raw.get(), kind, &held)?;
        cells.push((name.clone().into_owned(), cell.unwrap_or_else(|| OwnedCell::from(&held))));
    }
    Ok(cells)
}

fn image_of(member: &str) -> Option<Image> {
    match member {
        "before" => Some(Image::Before),
        "after" => Some(Image::After),
        _ => None,
    }
}

fn other(image: Image) -> Image {
    match image {
        Image::Before => Image::After,
        Image::After => Image::Before,
    }
}

fn op_from(raw: &str) -> Result<Op, ApplyError> {
    serde_json::from_str::<&str>(raw)
        .ok()
        .and_then(Op::from_code)
        .filter(|op| *op != Op::Heartbeat)
        .ok_or_else(|| {
            ApplyError::Value(format!("event.op must be \"c\", \"u\", \"d\", \"r\" or \"t\", not {raw}"))
        })
}

/// What `event.routing` says, as edits. It replaces what was there.
fn routing_from(raw: &str) -> Result<[SideEdit; 3], ApplyError> {
    #[derive(Default, serde::Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Routing {
        topic: Option<String>,
        key: Option<String>,
        headers: Option<serde_json::Map<String, serde_json::Value>>,
    }
    let bad = |why: &dyn std::fmt::Display| {
        ApplyError::Value(format!("event.routing must be {{ topic, key, headers }} of texts: {why}"))
    };
    let routing: Routing = match raw {
        "null" => Routing::default(),
        raw => serde_json::from_str(raw).map_err(|error| bad(&error))?,
    };
    let headers = routing.headers.unwrap_or_default().into_iter().map(|(name, value)| match value {
        serde_json::Value::String(value) => Ok((name, value)),
        _ => Err(bad(&format_args!("header {name} is not text"))),
    });
    let headers = headers.collect::<Result<_, _>>()?;
    Ok([SideEdit::Topic(routing.topic), SideEdit::Key(routing.key), SideEdit::Headers(headers)])
}

/// The dotted path of a member.
fn path(group: u32, name: &str) -> String {
    if group == SOURCES { format!("source.{name}") } else { name.to_owned() }
}

impl Apply<'_> {
    fn charge(&mut self, bytes: usize) -> Result<(), TooMany> {
        self.budget.charge(self.view, bytes)
    }

    fn set_at(
        &mut self,
        row: u32,
        image: Image,
        column: u16,
        cell: &Cell<'_>,
        len: usize,
    ) -> Result<(), ApplyError> {
        self.charge(EDIT + len)?;
        Ok(self.edits.set_at(self.view, row as usize, image, column, cell)?)
    }

    fn side(&mut self, row: u32, edit: SideEdit) -> Result<(), ApplyError> {
        self.charge(edit.byte_size())?;
        Ok(self.edits.side(self.view, row as usize, edit)?)
    }

    fn emit(&mut self, row: u32, emit: Emit) -> Result<u32, ApplyError> {
        self.added += 1;
        if self.added > self.most_added.bound {
            return Err(self.most_added.into());
        }
        let table = self.view.event(row as usize).table_index() as u16;
        let width = self.edits.columns(self.view.batch(), table);
        self.charge(emit.byte_size() + emit.images() * image_bytes(width))?;
        Ok(self.edits.emit(self.view, row as usize, emit)?)
    }

    fn group(&self, group: u32) -> Result<(&'_ [u32], u16, Image), ApplyError> {
        let found = self.plan.group(group);
        let found = found.ok_or_else(|| ApplyError::Value(format!("there is no group {group}")))?;
        Ok((&found.rows, found.table, found.image))
    }

    fn row_of(&self, group: u32, record: u32) -> Result<u32, ApplyError> {
        let (rows, ..) = self.group(group)?;
        let row = rows.get(record as usize).copied();
        row.ok_or_else(|| ApplyError::Value(format!("group {group} has no row {record}")))
    }

    fn cells<'r>(
        &mut self,
        group: u32,
        column: &str,
        values: impl Iterator<Item = (u32, Raw<'r>)>,
    ) -> Result<(), ApplyError> {
        let (_, table, image) = self.group(group)?;
        let batch = self.view.batch();
        let at = self.edits.column_or_add(batch, table, column, Kind::Any)?;
        let kind = declared(&batch.tables()[table as usize], at);
        for (record, raw) in values {
            let row = self.row_of(group, record)?;
            let held = self.view.event(row as usize).image(image);
            let held = held.map_or(Cell::Absent, |row| row.cell(at as usize));
            if let Some(cell) = cell_from_json_over(raw.get(), kind, &held)? {
                self.set_at(row, image, at, &cell.as_cell(), raw.get().len())?;
            }
        }
        Ok(())
    }

    fn take_cell(&mut self, group: u32, column: &str, record: u32) -> Result<(), ApplyError> {
        let (_, table, image) = self.group(group)?;
        let row = self.row_of(group, record)?;
        if let Some(at) = self.edits.column_of(self.view.batch(), table, column) {
            self.set_at(row, image, at, &Cell::Absent, 0)?;
        }
        Ok(())
    }

    /// Sets a member of the event itself.
    fn member(&mut self, row: u32, name: &str, raw: &str) -> Result<(), ApplyError> {
        if let Some(image) = image_of(name) {
            return self.image(row, image, raw);
        }
        match name {
            "op" => {
                let op = op_from(raw)?;
                self.charge(EDIT)?;
                self.edits.set_op(self.view, row as usize, op)?;
            }
            "routing" => {
                for edit in routing_from(raw)? {
                    self.side(row, edit)?;
                }
            }
            "source" if raw != "null" => {
                let members: Members<'_> = serde_json::from_str(raw)?;
                for (name, raw) in &members.0 {
                    self.field(SOURCES, row, name, raw.get())?;
                }
            }
            name => self.field(EVENTS, row, name, raw)?,
        }
        Ok(())
    }

    fn image(&mut self, row: u32, image: Image, raw: &str) -> Result<(), ApplyError> {
        let event = self.view.event(row as usize);
        if raw == "null" {
            self.charge(EDIT)?;
            self.edits.set_image(self.view, row as usize, image, None)?;
            return Ok(());
        }
        let members: Members<'_> = serde_json::from_str(raw).map_err(|_| {
            ApplyError::Value(format!("event.{image:?} must be an object or null").to_lowercase())
        })?;
        let cells = image_from(&members, event.table(), event.image(other(image)))?;
        self.charge(EDIT + cells_bytes(&cells))?;
        self.edits.set_image(self.view, row as usize, image, Some(&cells))?;
        Ok(())
    }

    fn take_member(&mut self, row: u32, name: &str) -> Result<(), ApplyError> {
        match name {
            "before" | "after" | "routing" => self.member(row, name, "null"),
            "op" => Err(ApplyError::Value("an event must have its op".to_owned())),
            "tags" => self.side(row, SideEdit::Tags(None)),
            name => self.take_field(EVENTS, row, name),
        }
    }

    /// Sets a member that goes to the wire as it is. One that says what it said before is left alone.
    fn field(&mut self, group: u32, row: u32, name: &str, raw: &str) -> Result<(), ApplyError> {
        let seen = self.shown.member(&self.view.event(row as usize), group, name);
        if seen.as_deref() == Some(raw) {
            return Ok(());
        }
        self.side(row, SideEdit::Field(path(group, name), raw.to_owned()))
    }

    fn take_field(&mut self, group: u32, row: u32, name: &str) -> Result<(), ApplyError> {
        if self.shown.member(&self.view.event(row as usize), group, name).is_none() {
            return Ok(());
        }
        self.side(row, SideEdit::Field(path(group, name), String::new()))
    }

    fn tags(&mut self, rows: &[u32], which: &[u32], lists: &str) -> Result<(), ApplyError> {
        let lists: Vec<Option<Vec<String>>> = serde_json::from_str(lists)?;
        if let Some(row) = rows.iter().find(|row| **row as usize >= self.view.len()) {
            return Err(ApplyError::Value(format!("there is no event {row}")));
        }
        let mut of_list: Vec<Vec<u32>> = vec![Vec::new(); lists.len()];
        for (row, list) in rows.iter().zip(which) {
            let of_list = of_list.get_mut(*list as usize);
            of_list.ok_or_else(|| ApplyError::Value(format!("there is no tag list {list}")))?.push(*row);
        }
        let mut mask = vec![0u8; self.view.len()];
        for (tags, rows) in lists.into_iter().zip(of_list) {
            let edit = SideEdit::Tags(tags);
            if let [row] = rows[..] {
                self.side(row, edit)?;
                continue;
            }
            let set = |mask: &mut [u8], to| rows.iter().for_each(|row| mask[*row as usize] = to);
            self.charge(rows.len() * edit.byte_size())?;
            set(&mut mask, 1);
            self.edits.side_all(self.view, edit, Some(&mask))?;
            set(&mut mask, 0);
        }
        Ok(())
    }
}
