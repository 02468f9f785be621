//! Applying an overlay: changed rows are written anew at the end, the index is rebuilt once.

use super::sides::KnownSides;
use super::*;
use crate::batch::NONE32;
use crate::event_id::EventId;

impl Overlay {
    /// Applies every edit to the batch the views were made of. `stage` names who made them.
    pub fn apply(self, batch: &mut Batch, stage: &str) -> Applied {
        if self.is_empty() && self.added.is_empty() {
            return Applied::default();
        }
        let mut applied = Applied { dropped: self.drops.len(), rejected: self.rejects.len(), added: 0 };
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
        let mut sides = KnownSides::default();
        self.apply_sides(batch, &mut sides);
        if !(self.drops.is_empty()
            && self.rejects.is_empty()
            && self.emits.is_empty()
            && self.orders.is_empty())
        {
            applied.added = self.rebuild_index(batch, sides, stage);
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
        if self.patches.is_empty() {
            return;
        }
        // Chains of patches, one an image, in the order they were made.
        let mut first = vec![NONE32; batch.entries.len() * 2];
        let mut next = vec![NONE32; self.patches.len()];
        for (at, patch) in self.patches.iter().enumerate().rev() {
            let head = &mut first[patch.row as usize * 2 + usize::from(patch.image == Image::After)];
            next[at] = std::mem::replace(head, at as u32);
        }
        let mut winners = Vec::new();
        for (slot, head) in first.into_iter().enumerate() {
            let (row, image) = (slot / 2, if slot % 2 == 0 { Image::Before } else { Image::After });
            if head == NONE32 || self.is_gone(row as u32) {
                continue;
            }
            let chain =
                std::iter::successors(Some(head), |at| Some(next[*at as usize]).filter(|at| *at != NONE32));
            let patches = chain.map(|at| &self.patches[at as usize]);
            let held = batch.entries[row].image(image);
            let new = self.rewrite_row(batch, held, patches, &mut winners);
            if new != held {
                batch.entries[row].set_image(image, new);
            }
        }
    }

    /// The image that `held` becomes; `held` itself where nothing differs. `winners` is room to work in.
    fn rewrite_row<'a>(
        &'a self,
        batch: &mut Batch,
        held: u64,
        patches: impl Iterator<Item = &'a Patch>,
        winners: &mut Vec<&'a Patch>,
    ) -> u64 {
        let (mut base, mut gone) = (held, false);
        winners.clear();
        for patch in patches {
            if patch.column == WHOLE_IMAGE {
                (base, gone) = (NONE64, patch.kind == CellKind::Absent);
                winners.clear();
            } else if !gone {
                winners.push(patch);
            }
        }
        if gone {
            return NONE64;
        }
        if !winners.is_sorted_by_key(|patch| patch.column) {
            winners.sort_by_key(|patch| patch.column); // stable: of one cell's patches the later one stays behind
        }
        let wins = |at: usize| winners.get(at + 1).is_none_or(|next| next.column != winners[at].column);
        let winners = || (0..winners.len()).filter(|at| wins(*at)).map(|at| winners[at]);
        if batch.row_at(held).is_some_and(|row| self.same(&row, base == held, winners())) {
            return held;
        }
        let old_len = batch.row_at(base).map_or(0, |row| row.len());
        let cells = winners().next_back().map_or(0, |patch| patch.column as usize + 1).max(old_len);
        let Batch { rows, large, .. } = batch;
        let mut writer = RowWriter::begin(rows, large, cells);
        for patch in winners() {
            let column = patch.column as usize;
            if base == NONE64 {
                writer.absent_until(column);
            } else {
                writer.copy_until(base, column);
            }
            writer.push_raw(patch.kind, self.value(patch));
        }
        if base != NONE64 {
            writer.copy_until(base, cells);
        }
        writer.finish()
    }

    /// Whether the patched cells are what the row holds, and, for a whole image, whether there are no others.
    fn same<'a>(
        &'a self,
        row: &Row<'_>,
        patched: bool,
        mut winners: impl Iterator<Item = &'a Patch>,
    ) -> bool {
        let mut rest = 0;
        let mut absent_until = |column: usize| {
            let fine = patched || (rest..column).all(|at| row.raw(at).0 == CellKind::Absent);
            rest = column + 1;
            fine
        };
        winners.all(|patch| {
            let column = patch.column as usize;
            absent_until(column) && row.raw(column) == (patch.kind, self.value(patch))
        }) && absent_until(row.len())
    }

    fn value(&self, patch: &Patch) -> &[u8] {
        &self.values[patch.at as usize..(patch.at + patch.len) as usize]
    }

    /// Rebuilds the index of events; answers how many were added.
    fn rebuild_index(&self, batch: &mut Batch, sides: KnownSides, stage: &str) -> usize {
        if self.emits.is_empty() && self.orders.is_empty() {
            let mut rows = 0..;
            batch.entries.retain(|_| rows.next().is_none_or(|row| !self.is_gone(row)));
            return 0;
        }
        // Per row the order that counts: the last one whose view had it.
        let mut order_of: HashMap<u32, usize> = HashMap::new();
        for (k, order) in self.orders.iter().enumerate() {
            order_of.extend(order.rows.iter().map(|row| (*row, k)));
        }
        let mut emits_at: HashMap<u32, Vec<u32>> = HashMap::new();
        for (number, (row, _)) in self.emits.iter().enumerate() {
            let ordered = order_of.get(row).is_some_and(|k| (number as u32) < self.orders[*k].emits);
            if !ordered {
                emits_at.entry(*row).or_default().push(number as u32);
            }
        }
        let room = batch.entries.len() + self.emits.len();
        let old = std::mem::replace(&mut batch.entries, Vec::with_capacity(room));
        let mut index = Index {
            overlay: self,
            batch,
            old: &old,
            stage,
            emits_at,
            placed: vec![false; self.emits.len()],
            children: HashMap::new(),
            sides,
            added: 0,
        };
        let mut placed = vec![false; self.orders.len()];
        for row in 0..old.len() as u32 {
            match order_of.get(&row) {
                None => index.row(row),
                Some(k) if !std::mem::replace(&mut placed[*k], true) => {
                    index.order(&self.orders[*k], |row| order_of.get(&row) == Some(k));
                }
                Some(_) => {}
            }
        }
        index.added
    }
}

/// The index of events while it is built anew.
struct Index<'a> {
    overlay: &'a Overlay,
    batch: &'a mut Batch,
    old: &'a [Entry],
    stage: &'a str,
    /// Added events by parent row that no order has placed or taken back.
    emits_at: HashMap<u32, Vec<u32>>,
    placed: Vec<bool>,
    /// How many events each row has got so far.
    children: HashMap<u32, u32>,
    sides: KnownSides,
    added: usize,
}

impl Index<'_> {
    fn row(&mut self, row: u32) {
        if !self.overlay.is_gone(row) {
            self.batch.entries.push(self.old[row as usize]);
        }
        self.emits_of(row);
    }

    fn emits_of(&mut self, row: u32) {
        if self.emits_at.is_empty() {
            return;
        }
        for number in self.emits_at.remove(&row).into_iter().flatten() {
            self.emit(number);
        }
    }

    fn emit(&mut self, number: u32) {
        if std::mem::replace(&mut self.placed[number as usize], true) {
            return;
        }
        let (row, emit) = &self.overlay.emits[number as usize];
        let k = self.children.entry(*row).and_modify(|k| *k += 1).or_insert(0);
        let parent = &self.old[*row as usize];
        let entry = write_emit(self.batch, &mut self.sides, parent, emit, self.stage, *k);
        self.batch.entries.push(entry);
        self.added += 1;
    }

    fn order(&mut self, order: &Reorder, owns: impl Fn(u32) -> bool) {
        for slot in &order.slots {
            match slot {
                Slot::Row(row) => {
                    let row = order.rows[*row as usize];
                    if owns(row) {
                        self.row(row);
                    }
                }
                Slot::Emit(number) => self.emit(*number),
            }
        }
        for row in order.rows.iter().filter(|row| owns(**row)) {
            self.emits_of(*row);
        }
    }
}

fn write_emit(
    batch: &mut Batch,
    known: &mut KnownSides,
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
        let side = sides::edited(&batch.sides[parent.side as usize], emit.side.iter());
        entry.side = known.number(&mut batch.sides, side);
    }
    entry
}
