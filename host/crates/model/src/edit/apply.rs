//! Applying an overlay: changed rows are written anew at the end, the index is rebuilt once.

use super::*;
use crate::event_id::EventId;

impl Overlay {
    /// Applies every edit to the batch the views were made of. `stage` names who made them.
    pub fn apply(self, batch: &mut Batch, stage: &str) -> Applied {
        if self.is_empty() && self.added.is_empty() {
            return Applied::default();
        }
        let applied =
            Applied { dropped: self.drops.len(), rejected: self.rejects.len(), added: self.emits.len() };
        for (row, code, reason) in &self.rejects {
            batch.rejects.push(Reject {
                entry: batch.entries[*row as usize],
                stage: stage.to_owned(),
                code: code.clone(),
                reason: reason.clone(),
            });
        }
        self.widen_tables(batch);
        self.rewrite_rows(batch);
        for (row, op) in &self.ops {
            batch.entries[*row as usize].op = *op;
        }
        self.apply_sides(batch);
        if !(self.drops.is_empty()
            && self.rejects.is_empty()
            && self.emits.is_empty()
            && self.orders.is_empty())
        {
            self.rebuild_index(batch, stage);
        }
        applied
    }

    fn widen_tables(&self, batch: &mut Batch) {
        for (at, table) in batch.tables.iter_mut().enumerate() {
            let mut added =
                self.added.iter().filter(|(of, _)| *of as usize == at).map(|(_, c)| c.clone()).peekable();
            if added.peek().is_some() {
                *table = table.with_columns(added);
            }
        }
    }

    /// Writes each row that a patch really changes once, however many patches it has.
    fn rewrite_rows(&self, batch: &mut Batch) {
        let mut order: Vec<u32> = (0..self.patches.len() as u32).collect();
        let key = |at: &u32| {
            let patch = &self.patches[*at as usize];
            (patch.row, patch.image == Image::After)
        };
        order.sort_by_key(key); // stable: patches of one cell stay in the order they were made
        let mut scratch = Scratch::default();
        for group in order.chunk_by(|a, b| key(a) == key(b)) {
            let first = &self.patches[group[0] as usize];
            if self.is_gone(first.row) {
                continue;
            }
            let held = batch.entries[first.row as usize].image(first.image);
            let new = self.rewrite_row(batch, held, group, &mut scratch);
            if new != held {
                batch.entries[first.row as usize].set_image(first.image, new);
            }
        }
    }

    /// The image that `held` becomes; `held` itself where nothing differs.
    fn rewrite_row(&self, batch: &mut Batch, mut held: u64, group: &[u32], scratch: &mut Scratch) -> u64 {
        let before = held;
        let mut gone = false;
        scratch.winners.clear();
        for at in group {
            let patch = &self.patches[*at as usize];
            gone = patch.column == WHOLE_IMAGE;
            if gone {
                held = NONE64;
                scratch.winners.clear();
            } else {
                let column = patch.column as usize;
                if scratch.winners.len() <= column {
                    scratch.winners.resize(column + 1, u32::MAX);
                }
                scratch.winners[column] = *at;
            }
        }
        if gone {
            return NONE64;
        }
        let old = batch.row_at(held);
        let old_len = old.map_or(0, |row| row.len());
        // Only what is patched can differ from the image that it is written over.
        let in_place = held == before;
        let same = |row: &Row<'_>| {
            let len = scratch.winners.len().max(row.len()).max(old_len);
            (0..len).all(|column| match scratch.winners.get(column) {
                Some(&at) if at != u32::MAX => {
                    let patch = &self.patches[at as usize];
                    row.raw(column) == (patch.kind, self.value(patch))
                }
                _ => {
                    in_place
                        || row.raw(column) == old.map_or((CellKind::Absent, &[][..]), |old| old.raw(column))
                }
            })
        };
        if batch.row_at(before).is_some_and(|row| same(&row)) {
            return before;
        }
        // The old image and the new one share the sections, so it goes through a buffer that is used again.
        scratch.rows.clear();
        scratch.large.clear();
        let cells = scratch.winners.len().max(old_len);
        let mut writer = RowWriter::begin(&mut scratch.rows, &mut scratch.large, cells);
        for column in 0..cells {
            match scratch.winners.get(column) {
                Some(&at) if at != u32::MAX => {
                    let patch = &self.patches[at as usize];
                    writer.push_raw(patch.kind, self.value(patch));
                }
                _ => {
                    let (kind, bytes) = old.map_or((CellKind::Absent, &[][..]), |old| old.raw(column));
                    writer.push_raw(kind, bytes);
                }
            }
        }
        writer.finish();
        if scratch.large.is_empty() {
            let at = batch.rows.len() as u64;
            batch.rows.extend_from_slice(&scratch.rows);
            return at;
        }
        Row::at(&scratch.rows, 0, &scratch.large).copy_to(&mut batch.rows, &mut batch.large)
    }

    fn value(&self, patch: &Patch) -> &[u8] {
        &self.values[patch.at as usize..(patch.at + patch.len) as usize]
    }

    fn apply_sides(&self, batch: &mut Batch) {
        let mut memo: HashMap<(u32, u32), u32> = HashMap::new();
        let mut known: HashMap<Side, u32> = HashMap::new();
        let mut last = None;
        for (row, number) in &self.side_rows {
            let old = batch.entries[*row as usize].side;
            let key = (old, *number);
            let new = match last {
                Some((last_key, new)) if last_key == key => new,
                _ => *memo.entry(key).or_insert_with(|| {
                    let mut side = batch.sides[old as usize].clone();
                    self.side_edits[*number as usize].apply(&mut side);
                    intern(&mut batch.sides, &mut known, side)
                }),
            };
            last = Some((key, new));
            batch.entries[*row as usize].side = new;
        }
    }

    fn rebuild_index(&self, batch: &mut Batch, stage: &str) {
        let mut emits_at: HashMap<u32, Vec<u32>> = HashMap::new();
        for (number, (row, _)) in self.emits.iter().enumerate() {
            emits_at.entry(*row).or_default().push(number as u32);
        }
        let ordered: HashMap<u32, usize> = self
            .orders
            .iter()
            .enumerate()
            .flat_map(|(k, (rows, _))| rows.iter().map(move |row| (*row, k)))
            .collect();
        let old = std::mem::take(&mut batch.entries);
        let mut known = HashMap::new();
        let mut made: HashMap<u32, u32> = HashMap::new();
        let mut add = |batch: &mut Batch, number: u32| {
            let (row, emit) = &self.emits[number as usize];
            let k = made.entry(*row).and_modify(|k| *k += 1).or_insert(0);
            let entry = write_emit(batch, &mut known, &old[*row as usize], emit, stage, *k);
            batch.entries.push(entry);
        };
        for (row, entry) in old.iter().enumerate() {
            let row = row as u32;
            match ordered.get(&row) {
                None => {
                    if !self.is_gone(row) {
                        batch.entries.push(*entry);
                    }
                    for number in emits_at.get(&row).into_iter().flatten() {
                        add(batch, *number);
                    }
                }
                Some(k) => {
                    let (rows, slots) = &self.orders[*k];
                    if rows.first() != Some(&row) {
                        continue;
                    }
                    for slot in slots {
                        match slot {
                            Slot::Row(r) => batch.entries.push(old[rows[*r as usize] as usize]),
                            Slot::Emit(number) => add(batch, *number),
                        }
                    }
                }
            }
        }
    }
}

#[derive(Default)]
struct Scratch {
    /// Per column the patch that wins; `u32::MAX`: none.
    winners: Vec<u32>,
    rows: Vec<u8>,
    large: Vec<u8>,
}

fn intern(sides: &mut Vec<Side>, known: &mut HashMap<Side, u32>, side: Side) -> u32 {
    if known.is_empty() {
        known.extend(sides.iter().enumerate().map(|(at, side)| (side.clone(), at as u32)));
    }
    *known.entry(side).or_insert_with_key(|side| {
        sides.push(side.clone());
        sides.len() as u32 - 1
    })
}

fn write_emit(
    batch: &mut Batch,
    known: &mut HashMap<Side, u32>,
    parent: &Entry,
    emit: &Emit,
    stage: &str,
    k: u32,
) -> Entry {
    let mut entry = Entry { id: EventId::child(&parent.id, stage, k), op: emit.op, ..*parent };
    let schema = batch.tables[parent.table as usize].clone();
    for (image, cells) in [(Image::Before, &emit.before), (Image::After, &emit.after)] {
        let at = cells.as_ref().map_or(NONE64, |cells| {
            let mut by_column: Vec<Option<&OwnedCell>> = vec![None; schema.columns().len()];
            for (name, cell) in cells {
                if let Some(column) = schema.column(name) {
                    by_column[column as usize] = Some(cell);
                }
            }
            let mut writer = RowWriter::begin(&mut batch.rows, &mut batch.large, by_column.len());
            for cell in by_column {
                match cell {
                    Some(cell) => writer.push_raw(cell.kind, &cell.bytes),
                    None => writer.push_raw(CellKind::Absent, &[]),
                };
            }
            writer.finish()
        });
        entry.set_image(image, at);
    }
    if !emit.side.is_empty() {
        let mut side = batch.sides[parent.side as usize].clone();
        for edit in &emit.side {
            edit.apply(&mut side);
        }
        entry.side = intern(&mut batch.sides, known, side);
    }
    entry
}

impl SideEdit {
    fn apply(&self, side: &mut Side) {
        match self {
            Self::Tag(tag) => {
                let tags = side.tags.get_or_insert_default();
                if !tags.contains(tag) {
                    tags.push(tag.clone());
                }
            }
            Self::Tags(tags) => side.tags.clone_from(tags),
            Self::Header(name, value) => match side.headers.iter_mut().find(|(known, _)| known == name) {
                Some((_, held)) => held.clone_from(value),
                None => side.headers.push((name.clone(), value.clone())),
            },
            Self::Headers(headers) => side.headers.clone_from(headers),
            Self::Topic(topic) => side.topic.clone_from(topic),
            Self::Key(key) => side.key.clone_from(key),
            Self::Field(path, json) => match side.fields.iter_mut().find(|(known, _)| known == path) {
                Some((_, held)) => held.clone_from(json),
                None => side.fields.push((path.clone(), json.clone())),
            },
            Self::Synthetic(producer) => side.synthetic = Some(producer.clone()),
        }
    }
}
