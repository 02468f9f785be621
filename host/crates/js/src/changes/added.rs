//! Events that a script added: copies of events of the slice, and new ones.

use std::collections::HashMap;

use deltaforge_model::edit::{Emit, NamedCells, OwnedCell, SideEdit, Slot};
use deltaforge_model::{Image, Kind, Op};

use super::{
    Apply, ApplyError, Change, Changes, Members, Raw, declared, image_from, image_of, op_from, other, path,
    routing_from,
};
use crate::plan::{EVENTS, SOURCES};

/// An added event as the prelude describes it.
#[derive(serde::Deserialize)]
struct Added<'a> {
    /// The event that it is a copy of, as a row of the view; -1: a new one, which `set` holds whole.
    base: i32,
    /// Its own members that differ.
    #[serde(borrow)]
    set: Members<'a>,
    /// Members that it lacks.
    #[serde(default)]
    gone: Vec<String>,
    /// How its images and its source differ from its base's.
    #[serde(borrow, default)]
    after: Option<Patch<'a>>,
    #[serde(borrow, default)]
    before: Option<Patch<'a>>,
    #[serde(borrow, default)]
    source: Option<Patch<'a>>,
}

#[derive(serde::Deserialize)]
struct Patch<'a> {
    #[serde(borrow)]
    set: Members<'a>,
    gone: Vec<String>,
}

/// What was told of the members and cells of events that have copies; `None`: taken away.
type Edited<'a> = HashMap<(u32, u32), Vec<(&'a str, Option<Raw<'a>>)>>;

/// The order of the slice's events, with the added ones in their places.
pub(super) fn slots(
    apply: &mut Apply<'_>,
    changes: &Changes,
    order: &[i32],
    producer: &str,
) -> Result<Vec<Slot>, ApplyError> {
    let mut seen = vec![false; apply.view.len()];
    let mut again = false;
    for row in order.iter().filter_map(|slot| usize::try_from(*slot).ok()) {
        let seen = seen.get_mut(row).ok_or_else(|| ApplyError::Value(format!("there is no event {row}")))?;
        again |= std::mem::replace(seen, true);
    }
    let added: Vec<Added<'_>> = match &changes.added {
        Some(text) => serde_json::from_str(text)?,
        None if again => Vec::new(),
        None => return Ok(order.iter().map(|row| Slot::Row(*row as u32)).collect()),
    };
    let edited = edited(changes)?;
    seen.fill(false);
    let mut slots = Vec::with_capacity(order.len());
    let mut last = 0;
    for slot in order {
        let emit = match usize::try_from(*slot) {
            Ok(row) => {
                last = row as u32;
                if !std::mem::replace(&mut seen[row], true) {
                    slots.push(Slot::Row(last));
                    continue;
                }
                let same = Added {
                    base: *slot,
                    set: Members::default(),
                    gone: Vec::new(),
                    after: None,
                    before: None,
                    source: None,
                };
                (last, apply.copy(&same, &edited)?)
            }
            Err(_) => {
                let it = added
                    .get(slot.unsigned_abs() as usize - 1)
                    .ok_or_else(|| ApplyError::Value("an added event is not described".to_owned()))?;
                match u32::try_from(it.base) {
                    Ok(base) if (base as usize) < apply.view.len() => (base, apply.copy(it, &edited)?),
                    Ok(base) => return Err(ApplyError::Value(format!("there is no event {base}"))),
                    Err(_) => apply.fresh(&it.set, last, producer)?,
                }
            }
        };
        slots.push(Slot::Emit(apply.emit(emit.0, emit.1)?));
    }
    Ok(slots)
}

fn edited(changes: &Changes) -> Result<Edited<'_>, ApplyError> {
    let mut edited = Edited::new();
    for change in &changes.list {
        match change {
            Change::Set { group, column, rows, values } => {
                let values: Vec<Raw<'_>> = serde_json::from_str(values)?;
                for (row, raw) in rows.iter().zip(values) {
                    edited.entry((*group, *row)).or_default().push((column, Some(raw)));
                }
            }
            Change::Delete { group, column, rows } => {
                for row in rows {
                    edited.entry((*group, *row)).or_default().push((column, None));
                }
            }
            Change::Tags { .. } => {}
        }
    }
    Ok(edited)
}

impl Apply<'_> {
    /// A copy of an event with differences. What its base carries besides (tags, routing, members) it inherits.
    fn copy(&self, it: &Added<'_>, edited: &Edited<'_>) -> Result<Emit, ApplyError> {
        let base = it.base as u32;
        let event = self.view.event(base as usize);
        let of_base = |name: &str| {
            let list = edited.get(&(EVENTS, base)).map_or(&[][..], Vec::as_slice);
            list.iter().rev().find(|(known, _)| *known == name).map(|(_, raw)| *raw)
        };
        let op = match it.set.get("op").or_else(|| of_base("op").flatten()) {
            Some(raw) => op_from(raw.get())?,
            None => event.op(),
        };
        let image = |image: Image, name: &str, patch: &Option<Patch<'_>>| {
            let whole = match it.set.get(name) {
                Some(raw) => Some(Some(raw)),
                None if it.gone.iter().any(|gone| gone == name) => Some(None),
                None => of_base(name),
            };
            match whole {
                None => self.patched(base, image, patch.as_ref(), edited),
                Some(None) => Ok(None),
                Some(Some(raw)) if raw.get() == "null" => Ok(None),
                Some(Some(raw)) => {
                    let members: Members<'_> = serde_json::from_str(raw.get())
                        .map_err(|_| ApplyError::Value(format!("event.{name} must be an object or null")))?;
                    let like = event.image(image).or_else(|| event.image(other(image)));
                    image_from(&members, event.table(), like).map(Some)
                }
            }
        };
        let (after, before) =
            (image(Image::After, "after", &it.after)?, image(Image::Before, "before", &it.before)?);
        let mut side = side_edits(&it.set)?;
        for name in it.gone.iter().filter(|name| image_of(name).is_none() && *name != "route") {
            match name.as_str() {
                "tags" => side.push(SideEdit::Tags(None)),
                "routing" => side.extend(routing_from("null")?),
                "event_id" => {}
                "op" => return Err(ApplyError::Value("an event must have its op".to_owned())),
                name => side.push(SideEdit::Field(path(EVENTS, name), String::new())),
            }
        }
        if let Some(patch) = &it.source {
            for (name, raw) in &patch.set.0 {
                side.push(SideEdit::Field(path(SOURCES, name), raw.get().to_owned()));
            }
            side.extend(patch.gone.iter().map(|name| SideEdit::Field(path(SOURCES, name), String::new())));
        }
        Ok(Emit { op, before, after, side })
    }

    /// An image of the base as the script left it, with the copy's own differences.
    fn patched(
        &self,
        base: u32,
        image: Image,
        patch: Option<&Patch<'_>>,
        edited: &Edited<'_>,
    ) -> Result<Option<NamedCells>, ApplyError> {
        let event = self.view.event(base as usize);
        let (Some(row), Some(record)) = (event.image(image), self.plan.record(base, image)) else {
            return Ok(None);
        };
        let schema = event.table();
        let columns = schema.columns().iter().zip(row.cells());
        let mut cells: NamedCells =
            columns.map(|(column, cell)| (column.name.clone(), OwnedCell::from(&cell))).collect();
        let mut write = |name: &str, raw: Option<Raw<'_>>| -> Result<(), ApplyError> {
            let Some(raw) = raw else {
                cells.retain(|(known, _)| known != name);
                return Ok(());
            };
            let column = schema.column(name);
            let kind = column.map_or(Kind::Any, |column| declared(schema, column));
            let held = column.map_or(deltaforge_model::Cell::Absent, |column| row.cell(column as usize));
            let cell = deltaforge_model::json::cell_from_json_over(raw.get(), kind, &held)?
                .unwrap_or_else(|| OwnedCell::from(&held));
            match cells.iter_mut().find(|(known, _)| known == name) {
                Some((_, old)) => *old = cell,
                None => cells.push((name.to_owned(), cell)),
            }
            Ok(())
        };
        for (name, raw) in edited.get(&record).map_or(&[][..], Vec::as_slice) {
            write(name, *raw)?;
        }
        if let Some(patch) = patch {
            for (name, raw) in &patch.set.0 {
                write(name, Some(raw))?;
            }
            for name in &patch.gone {
                write(name, None)?;
            }
        }
        Ok(Some(cells))
    }

    /// An event that is a copy of none. It stands with an event of its table, else with the one before it.
    fn fresh(&self, set: &Members<'_>, last: u32, producer: &str) -> Result<(u32, Emit), ApplyError> {
        let table = set.get("table").and_then(|raw| serde_json::from_str::<String>(raw.get()).ok());
        let parent = table.as_ref().and_then(|table| {
            let of_table = |row: &u32| self.view.event(*row as usize).table().qualified() == table;
            (0..=last).rev().chain(last + 1..self.view.len() as u32).find(of_table)
        });
        let known = parent.is_some();
        let parent = parent.unwrap_or(last);
        let event = self.view.event(parent as usize);
        let image = |name: &str| match set.get(name) {
            None => Ok(None),
            Some(raw) if raw.get() == "null" => Ok(None),
            Some(raw) => {
                let members: Members<'_> = serde_json::from_str(raw.get())
                    .map_err(|_| ApplyError::Value(format!("event.{name} must be an object or null")))?;
                image_from(&members, event.table(), None).map(Some)
            }
        };
        let (after, before) = (image("after")?, image("before")?);
        let op = match (set.get("op"), &before, &after) {
            (Some(raw), ..) => op_from(raw.get())?,
            (None, Some(_), None) => Op::Delete,
            (None, Some(_), Some(_)) => Op::Update,
            (None, ..) => Op::Create,
        };
        let mut side = vec![
            SideEdit::Tags(None),
            SideEdit::Topic(None),
            SideEdit::Key(None),
            SideEdit::Headers(Vec::new()),
            SideEdit::Synthetic(producer.to_owned()),
        ];
        let own = side_edits(set)?.into_iter().filter(|edit| match edit {
            SideEdit::Field(path, json) => {
                let group = if path.starts_with("source.") { SOURCES } else { EVENTS };
                let name = path.strip_prefix("source.").unwrap_or(path);
                !(known && path == "table") && self.shown.member(&event, group, name).as_ref() != Some(json)
            }
            _ => true,
        });
        side.extend(own);
        Ok((parent, Emit { op, before, after, side }))
    }
}

/// Tags, routing and other members of an added event.
fn side_edits(set: &Members<'_>) -> Result<Vec<SideEdit>, ApplyError> {
    let mut side = Vec::new();
    for (name, raw) in &set.0 {
        match &**name {
            "before" | "after" | "op" | "route" => {}
            "tags" => {
                let tags = serde_json::from_str(raw.get());
                side.push(SideEdit::Tags(
                    tags.map_err(|_| ApplyError::Value("event.tags must be an array of texts".to_owned()))?,
                ));
            }
            "routing" => side.extend(routing_from(raw.get())?),
            "source" if raw.get() != "null" => {
                let members: Members<'_> = serde_json::from_str(raw.get())
                    .map_err(|_| ApplyError::Value("event.source must be an object".to_owned()))?;
                for (name, raw) in &members.0 {
                    side.push(SideEdit::Field(path(SOURCES, name), raw.get().to_owned()));
                }
            }
            name => side.push(SideEdit::Field(path(EVENTS, name), raw.get().to_owned())),
        }
    }
    Ok(side)
}
