//! Edits from arbitrary bytes, applied to a batch and to a naive picture of it; both must come out the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use deltaforge_model::edit::{Emit, OwnedCell, SideEdit, Slot};
use deltaforge_model::value::CellKind;
use deltaforge_model::view::{Column as Values, Flat, presence};
use deltaforge_model::{Batch, Cell, EventId, Image, Kind, Op, Overlay, Side, View};

use crate::exercise::{bytes_of, use_fully};
use crate::input::Input;

/// An image by column names; what is absent is left out.
type Cells = BTreeMap<String, OwnedCell>;

#[derive(Debug, Clone)]
struct Row {
    id: EventId,
    op: Op,
    table: usize,
    /// Whether the event came with this image: edits of cells need it.
    came_with: [bool; 2],
    images: [Option<Cells>; 2],
    side: Side,
    gone: bool,
}

/// A slice of the batch's rows as its stage leaves them.
#[derive(Debug, Clone)]
struct Picture {
    rows: Vec<Row>,
    /// Each table's columns and their kinds, added ones included.
    columns: Vec<Vec<(String, Kind)>>,
    /// Added events with the rows they came from.
    emits: Vec<(usize, Emit)>,
    order: Option<(Vec<Slot>, usize)>,
    dropped: usize,
    rejects: Vec<EventId>,
}

fn known(cells: impl Iterator<Item = (String, OwnedCell)>) -> Cells {
    let mut known = Cells::new();
    for (name, cell) in cells {
        put(&mut known, name, cell);
    }
    known
}

fn put(cells: &mut Cells, name: String, cell: OwnedCell) {
    if cell.as_cell().kind() == CellKind::Absent {
        cells.remove(&name);
    } else {
        cells.insert(name, cell);
    }
}

impl Picture {
    fn of(view: &View) -> Self {
        let rows = view.events().map(|event| {
            let image = |image| {
                let cells = event.image(image)?.cells().map(|cell| OwnedCell::from(&cell));
                Some(known(event.table().columns().iter().map(|column| column.name.clone()).zip(cells)))
            };
            let images = Image::BOTH.map(image);
            Row {
                id: event.id(),
                op: event.op(),
                table: event.table_index(),
                came_with: [images[0].is_some(), images[1].is_some()],
                images,
                side: event.side().clone(),
                gone: false,
            }
        });
        let columns = |columns: &[deltaforge_model::Column]| {
            columns.iter().map(|column| (column.name.clone(), column.kind)).collect()
        };
        Self {
            rows: rows.collect(),
            columns: view.batch().tables().iter().map(|table| columns(table.columns())).collect(),
            emits: Vec::new(),
            order: None,
            dropped: 0,
            rejects: Vec::new(),
        }
    }

    fn add_column(&mut self, table: usize, name: &str, kind: Kind) {
        if !self.columns[table].iter().any(|(known, _)| known == name) {
            self.columns[table].push((name.to_owned(), kind));
        }
    }

    fn set(&mut self, row: usize, image: Image, name: &str, cell: &OwnedCell) {
        if let Some(cells) = &mut self.rows[row].images[image as usize] {
            put(cells, name.to_owned(), cell.clone());
        }
    }

    /// The rows that a setter of whole columns reaches.
    fn reached(&self, image: Image, name: &str) -> Vec<usize> {
        let has = |row: &Row| self.columns[row.table].iter().any(|(known, _)| known == name);
        let reached = |row: &Row| !row.gone && row.came_with[image as usize] && has(row);
        (0..self.rows.len()).filter(|row| reached(&self.rows[*row])).collect()
    }

    /// The kind that a setter of whole columns gives a cell: the one held before any edit, else the declared one.
    fn kind(&self, view: &View, row: usize, image: Image, name: &str) -> CellKind {
        match view.cell(row, image, name).kind() {
            CellKind::Absent | CellKind::Null | CellKind::Unavailable => {
                match self.columns[self.rows[row].table].iter().find(|(known, _)| known == name) {
                    Some((_, Kind::Of(kind))) => *kind,
                    _ => CellKind::Null,
                }
            }
            held => held,
        }
    }

    fn drop_row(&mut self, row: usize) {
        self.dropped += usize::from(!std::mem::replace(&mut self.rows[row].gone, true));
    }

    /// What comes in the place of a row.
    fn in_place_of(&self, row: usize) -> Vec<Slot> {
        let Some((order, emits)) = &self.order else {
            return std::iter::once(Slot::Row(row as u32)).chain(self.added_to(row, 0)).collect();
        };
        if row > 0 {
            return Vec::new(); // all of it stands in the place of the first
        }
        let mut all = Vec::new();
        for slot in order {
            all.push(*slot);
            if let Slot::Row(row) = slot {
                all.extend(self.added_to(*row as usize, *emits));
            }
        }
        let unnamed = (0..self.rows.len()).filter(|row| !order.contains(&Slot::Row(*row as u32)));
        all.extend(unnamed.flat_map(|row| self.added_to(row, *emits)));
        all
    }

    fn added_to(&self, row: usize, from: usize) -> impl Iterator<Item = Slot> {
        let added = move |at: &usize| self.emits[*at].0 == row;
        (from..self.emits.len()).filter(added).map(|at| Slot::Emit(at as u32))
    }

    /// The events that come in the place of a row.
    fn events(&self, row: usize) -> Vec<Row> {
        let mut children = vec![0; self.rows.len()];
        let mut events = Vec::new();
        for slot in self.in_place_of(row) {
            match slot {
                Slot::Row(row) => events.push(self.rows[row as usize].clone()),
                Slot::Emit(number) => {
                    let (parent, emit) = &self.emits[number as usize];
                    let k = children[*parent];
                    children[*parent] += 1;
                    let parent = &self.rows[*parent];
                    let mut side = parent.side.clone();
                    emit.side.iter().for_each(|edit| change(&mut side, edit));
                    events.push(Row {
                        id: parent.id.child("stage", k),
                        op: emit.op,
                        images: [&emit.before, &emit.after]
                            .map(|cells| cells.as_ref().map(|cells| known(cells.iter().cloned()))),
                        side,
                        gone: false,
                        ..parent.clone()
                    });
                }
            }
        }
        events.retain(|event| !event.gone);
        events
    }
}

pub fn change(side: &mut Side, edit: &SideEdit) {
    let set = |pairs: &mut Vec<(String, String)>, name: &str, value: &str| match pairs
        .iter()
        .position(|(known, _)| known == name)
    {
        Some(at) => value.clone_into(&mut pairs[at].1),
        None => pairs.push((name.to_owned(), value.to_owned())),
    };
    match edit.clone() {
        SideEdit::Tag(tag) => {
            let tags = side.tags.get_or_insert_default();
            tags.extend((!tags.contains(&tag)).then_some(tag));
        }
        SideEdit::Tags(tags) => side.tags = tags,
        SideEdit::Header(name, value) => set(&mut side.headers, &name, &value),
        SideEdit::Headers(headers) => side.headers = headers,
        SideEdit::Topic(topic) => side.topic = topic,
        SideEdit::Key(key) => side.key = key,
        SideEdit::Field(path, json) => set(&mut side.fields, &path, &json),
        SideEdit::Synthetic(producer) => side.synthetic = Some(producer),
    }
}

/// Makes one edit of the slice, and of its picture if the overlay took it.
fn edit(input: &mut Input<'_>, view: &View, edits: &mut Overlay, picture: &mut Picture) {
    let (what, row, image) = (input.byte() % 16, input.below(view.len() + 1), input.image());
    let mask: Vec<u8> = (0..view.len()).map(|_| input.byte() % 3).collect();
    match what {
        0 | 1 => {
            let (name, cell) = (input.column(), input.cell());
            if edits.set(view, row, image, &name, &cell.as_cell()).is_ok() {
                picture.set(row, image, &name, &cell);
            }
        }
        2 | 3 => {
            let cells = input.coin().then(|| input.cells());
            if edits.set_image(view, row, image, cells.as_ref()).is_ok() {
                let table = picture.rows[row].table;
                cells.iter().flatten().for_each(|(name, _)| picture.add_column(table, name, Kind::Any));
                picture.rows[row].images[image as usize] = cells.map(|cells| known(cells.into_iter()));
            }
        }
        4 => {
            let (name, cell) = (input.column(), input.cell());
            edits.fill(view, image, &name, &cell.as_cell()).expect("any value can be filled in");
            for row in picture.reached(image, &name) {
                picture.set(row, image, &name, &cell);
            }
        }
        5 => set_flats(input, view, edits, picture),
        6 => set_floats(input, view, edits, picture),
        7 => {
            let name = input.column();
            edits.remove_column(view, &name);
            for image in Image::BOTH {
                for row in picture.reached(image, &name) {
                    picture.set(row, image, &name, &OwnedCell::from(&Cell::Absent));
                }
            }
        }
        8 => {
            let (name, kind) = (input.column(), input.kind());
            edits.add_column(view, &name, kind).expect("there is room");
            (0..picture.rows.len()).for_each(|row| picture.add_column(picture.rows[row].table, &name, kind));
        }
        9 => {
            edits.keep(view, &mask).expect("the mask has one byte a row");
            (0..mask.len()).filter(|row| mask[*row] == 0).for_each(|row| picture.drop_row(row));
        }
        10 => {
            if edits.reject(view, row, "code", "reason").is_ok() {
                picture.rows[row].gone = true;
                picture.rejects.push(picture.rows[row].id);
            }
        }
        11 => {
            let side = input.side();
            if edits.side(view, row, side.clone()).is_ok() {
                change(&mut picture.rows[row].side, &side);
            }
        }
        12 => {
            let (side, mask) = (input.side(), input.coin().then_some(mask));
            edits.side_all(view, side.clone(), mask.as_deref()).expect("the mask has one byte a row");
            for (at, row) in picture.rows.iter_mut().enumerate() {
                if mask.as_ref().is_none_or(|mask| mask[at] != 0) && !row.gone {
                    change(&mut row.side, &side);
                }
            }
        }
        13 => {
            let emit = input.emit();
            if edits.emit(view, row, emit.clone()).is_ok() {
                let table = picture.rows[row].table;
                let names = [&emit.before, &emit.after].into_iter().flatten().flatten();
                names.for_each(|(name, _)| picture.add_column(table, name, Kind::Any));
                picture.emits.push((row, emit));
            }
        }
        14 => {
            let op = input.op();
            if edits.set_op(view, row, op).is_ok() {
                picture.rows[row].op = op;
            }
        }
        _ => reorder(input, view, edits, picture),
    }
}

fn reorder(input: &mut Input<'_>, view: &View, edits: &mut Overlay, picture: &mut Picture) {
    let mut order: Vec<Slot> = (0..view.len()).map(|row| Slot::Row(row as u32)).collect();
    order.retain(|slot| {
        matches!(slot, Slot::Row(row) if !picture.rows[*row as usize].gone) && !input.byte().is_multiple_of(8)
    });
    for number in 0..edits.emitted() {
        if input.coin() {
            order.insert(input.below(order.len() + 1), Slot::Emit(number as u32));
        }
    }
    let swaps = input.below(4);
    for _ in 0..swaps.min(order.len()) {
        let (a, b) = (input.below(order.len()), input.below(order.len()));
        order.swap(a, b);
    }
    if input.byte() == 1 {
        order.push(Slot::Emit(7));
    }
    if edits.reorder(view, order.clone()).is_ok() {
        let unnamed = |row: &usize| !order.contains(&Slot::Row(*row as u32));
        (0..picture.rows.len()).filter(unnamed).for_each(|row| picture.drop_row(row));
        picture.order = Some((order, picture.emits.len()));
    }
}

fn set_flats(input: &mut Input<'_>, view: &View, edits: &mut Overlay, picture: &mut Picture) {
    let (name, image) = (input.column(), input.image());
    let mut values = Flat::default();
    for _ in 0..view.len() {
        let bytes = if input.byte() == 255 { vec![255] } else { input.text().into_bytes() };
        values.push(input.byte() % 5, &bytes);
    }
    if edits.set_flats(view, image, &name, &values).is_err() {
        return;
    }
    for row in picture.reached(image, &name) {
        let kind = picture.kind(view, row, image, &name);
        let text = values.get(row).and_then(|bytes| std::str::from_utf8(bytes).ok());
        let cell = match (values.present[row], kind) {
            (presence::NULL, _) => Cell::Null,
            (presence::VALUE, CellKind::Bytes) => Cell::Bytes(values.get(row).unwrap_or_default()),
            (presence::VALUE, kind) => {
                let text = text.expect("other texts are refused");
                match kind {
                    CellKind::Decimal => Cell::Decimal(text),
                    CellKind::Json => Cell::Json(text),
                    CellKind::Enum => Cell::Enum(text),
                    CellKind::Set => Cell::Set(text),
                    _ => Cell::Text(text),
                }
            }
            _ => continue,
        };
        picture.set(row, image, &name, &OwnedCell::from(&cell));
    }
}

fn set_floats(input: &mut Input<'_>, view: &View, edits: &mut Overlay, picture: &mut Picture) {
    let (name, image) = (input.column(), input.image());
    let values = Values {
        present: (0..view.len()).map(|_| input.byte() % 6).collect(),
        values: (0..view.len()).map(|_| f64::from(input.byte()) / 3.0).collect(),
    };
    if edits.set_floats(view, image, &name, &values).is_err() {
        return;
    }
    for row in picture.reached(image, &name) {
        let cell = match (values.present[row], picture.kind(view, row, image, &name)) {
            (presence::NULL, _) => Cell::Null,
            (presence::VALUE, CellKind::Float32) => Cell::Float32(values.values[row] as f32),
            (presence::VALUE, _) => Cell::Float64(values.values[row]),
            _ => continue,
        };
        picture.set(row, image, &name, &OwnedCell::from(&cell));
    }
}

/// Reads a batch, which of its rows are seen, and edits of two slices of them from the bytes.
pub fn edits(bytes: &[u8]) {
    let mut input = Input(bytes);
    let batch = Arc::new(input.batch());
    let seen: Vec<u32> = (0..batch.len() as u32).filter(|_| !input.byte().is_multiple_of(8)).collect();
    let view = View::new(batch.clone(), seen.clone().into());
    let middle = input.below(view.len() + 1);
    let mut all = Overlay::new();
    let mut pictures = Vec::new();
    for slice in [view.slice(0..middle), view.slice(middle..view.len())] {
        let (mut own, mut picture) = (Overlay::new(), Picture::of(&slice));
        for _ in 0..input.below(12) {
            let (start, kept) = (own.savepoint(), picture.clone());
            let together = 1 + input.below(3);
            (0..together).for_each(|_| edit(&mut input, &slice, &mut own, &mut picture));
            if input.byte() % 4 == 3 {
                own.rollback(start);
                picture = kept;
            }
        }
        all.absorb(&batch, own).expect("there is room for every column");
        pictures.push(picture);
    }
    let mut expected = Vec::new();
    for row in 0..batch.len() {
        match seen.iter().position(|seen| *seen as usize == row) {
            None => expected.extend(Picture::of(&View::new(batch.clone(), [row as u32].into())).rows),
            Some(at) if at < middle => expected.extend(pictures[0].events(at)),
            Some(at) => expected.extend(pictures[1].events(at - middle)),
        }
    }
    let mut edited = (*batch).clone();
    let (before, growth) = (bytes_of(&batch).len(), all.growth(&batch));
    let applied = all.apply(&mut edited, "stage");
    assert_eq!(applied.dropped, pictures.iter().map(|picture| picture.dropped).sum::<usize>());
    let rejects: Vec<EventId> = pictures.iter().flat_map(|picture| picture.rejects.clone()).collect();
    assert_eq!(edited.rejects_as_batch().events().map(|event| event.id()).collect::<Vec<_>>(), rejects);
    assert_eq!((applied.rejected, edited.len()), (rejects.len(), expected.len()));
    for (event, expected) in edited.events().zip(&expected) {
        same(&edited, &event, expected);
    }
    let after = bytes_of(&edited).len();
    assert!(after <= before + growth, "{before} bytes became {after}, expected were {growth} more at most");
    use_fully(edited);
}

fn same(batch: &Batch, event: &deltaforge_model::Event<'_>, expected: &Row) {
    assert_eq!((event.id(), event.op(), event.table_index()), (expected.id, expected.op, expected.table));
    assert_eq!(event.side(), &expected.side);
    for image in Image::BOTH {
        let (row, cells) = (event.image(image), &expected.images[image as usize]);
        assert_eq!(row.is_some(), cells.is_some(), "{image:?}");
        let (Some(row), Some(cells)) = (row, cells) else { continue };
        let columns = batch.tables()[expected.table].columns();
        let cell = |at| OwnedCell::from(&row.cell(at));
        let held = known(columns.iter().enumerate().map(|(at, column)| (column.name.clone(), cell(at))));
        assert_eq!(&held, cells, "{image:?}");
    }
}
