//! Applying what few events have: all edits of a row at once, and each side that comes of them stored once.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use super::{Overlay, SideEdit};
use crate::batch::{Batch, NONE32, Side, is_mark};

/// Up to so many names a list is searched, a longer one is indexed.
const FEW: usize = 8;

impl Overlay {
    pub(super) fn apply_sides(&self, batch: &mut Batch, known: &mut KnownSides) {
        if self.side_rows.is_empty() {
            return;
        }
        let mut paths = Paths::default();
        let mut of_row = vec![NONE32; batch.entries.len()];
        for (row, edit) in &self.side_rows {
            let at = &mut of_row[*row as usize];
            if *at == NONE32 {
                *at = paths.step(NONE32, batch.entries[*row as usize].side);
            }
            *at = paths.step(*at, *edit);
        }
        let mut made = vec![NONE32; paths.steps.len()];
        for (row, end) in of_row.into_iter().enumerate() {
            if end == NONE32 {
                continue;
            }
            let made = &mut made[end as usize];
            if *made == NONE32 {
                let (old, edits) = paths.walk(end);
                let edits = edits.iter().map(|edit| &self.side_edits[*edit as usize]);
                let side = edited(&batch.sides[old as usize], edits);
                *made = known.number(&mut batch.sides, side);
            }
            batch.entries[row].side = *made;
        }
    }
}

/// The ways from sides over edits, as a tree: rows that begin at the same side and have the same edits so far stand
/// at the same step. Takes room for the edits, not for the sides between them.
#[derive(Default)]
struct Paths {
    /// The step before, and the edit; a first step has none before it, and a side in the edit's place.
    steps: Vec<(u32, u32)>,
    numbers: HashMap<(u32, u32), u32>,
    /// The step taken last: neighbours often take the same.
    last: Option<((u32, u32), u32)>,
}

impl Paths {
    fn step(&mut self, from: u32, edit: u32) -> u32 {
        let key = (from, edit);
        if let Some((last, number)) = self.last
            && last == key
        {
            return number;
        }
        let number = *self.numbers.entry(key).or_insert_with(|| {
            self.steps.push(key);
            self.steps.len() as u32 - 1
        });
        self.last = Some((key, number));
        number
    }

    /// The side at which the way to a step begins, and the edits on it, in order.
    fn walk(&self, end: u32) -> (u32, Vec<u32>) {
        let before = |(from, _): &(u32, u32)| self.steps.get(*from as usize).copied();
        let mut edits: Vec<u32> = std::iter::successors(self.steps.get(end as usize).copied(), before)
            .map(|(_, edit)| edit)
            .collect();
        let side = edits.pop().expect("every way has a first step");
        edits.reverse();
        (side, edits)
    }
}

/// The numbers of a batch's sides, found by what they hold.
#[derive(Default)]
pub(super) struct KnownSides {
    hasher: RandomState,
    numbers: HashMap<u64, Vec<u32>>,
    /// How many of the batch's sides are in `numbers`.
    seen: usize,
}

impl KnownSides {
    /// The number of a side; it is put at the end unless there is one like it.
    pub(super) fn number(&mut self, sides: &mut Vec<Side>, side: Side) -> u32 {
        for (at, side) in sides.iter().enumerate().skip(self.seen) {
            self.numbers.entry(self.hasher.hash_one(side)).or_default().push(at as u32);
        }
        self.seen = sides.len();
        let alike = self.numbers.entry(self.hasher.hash_one(&side)).or_default();
        if let Some(known) = alike.iter().find(|at| sides[**at as usize] == side) {
            return *known;
        }
        let number = sides.len() as u32;
        alike.push(number);
        sides.push(side);
        self.seen = sides.len();
        number
    }
}

/// What a side becomes. What a later edit replaces is never copied.
pub(super) fn edited<'a>(side: &'a Side, edits: impl Iterator<Item = &'a SideEdit>) -> Side {
    let mut tags = side.tags.as_deref().map(names_of);
    let (mut headers, mut fields) = (pairs_of(&side.headers), pairs_of(&side.fields));
    let (mut topic, mut key, mut synthetic) = (&side.topic, &side.key, side.synthetic.as_deref());
    for edit in edits {
        match edit {
            SideEdit::Tag(tag) => tags.get_or_insert_default().set(tag, ""),
            SideEdit::Tags(all) => {
                let held = std::mem::replace(&mut tags, all.as_deref().map(names_of));
                let marks = held.into_iter().flat_map(|held| held.list).filter(|(tag, _)| is_mark(tag));
                marks.for_each(|(mark, _)| tags.get_or_insert_default().set(mark, ""));
            }
            SideEdit::Header(name, value) => headers.set(name, value),
            SideEdit::Headers(all) => headers = pairs_of(all),
            SideEdit::Topic(to) => topic = to,
            SideEdit::Key(to) => key = to,
            SideEdit::Field(path, json) => fields.set(path, json),
            SideEdit::Synthetic(producer) => synthetic = Some(producer),
        }
    }
    Side {
        tags: tags.map(|tags| tags.list.into_iter().map(|(tag, _)| tag.to_owned()).collect()),
        headers: headers.into_texts(),
        topic: topic.clone(),
        key: key.clone(),
        ddl: side.ddl.clone(),
        message: side.message.clone(),
        synthetic: synthetic.map(str::to_owned),
        fields: fields.into_texts(),
    }
}

/// Named texts in order, found by name.
#[derive(Default)]
struct Pairs<'a> {
    list: Vec<(&'a str, &'a str)>,
    /// Where each name stands first, for the first `indexed` of the list.
    first: HashMap<&'a str, usize>,
    indexed: usize,
}

fn pairs_of(texts: &[(String, String)]) -> Pairs<'_> {
    Pairs { list: texts.iter().map(|(name, text)| (&**name, &**text)).collect(), ..Pairs::default() }
}

fn names_of(names: &[String]) -> Pairs<'_> {
    Pairs { list: names.iter().map(|name| (&**name, "")).collect(), ..Pairs::default() }
}

impl<'a> Pairs<'a> {
    fn set(&mut self, name: &'a str, text: &'a str) {
        match self.position(name) {
            Some(at) => self.list[at].1 = text,
            None => self.list.push((name, text)),
        }
    }

    fn position(&mut self, name: &str) -> Option<usize> {
        if self.list.len() <= FEW {
            return self.list.iter().position(|(known, _)| *known == name);
        }
        for (at, (name, _)) in self.list.iter().enumerate().skip(self.indexed) {
            self.first.entry(name).or_insert(at);
        }
        self.indexed = self.list.len();
        self.first.get(name).copied()
    }

    fn into_texts(self) -> Vec<(String, String)> {
        self.list.into_iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect()
    }
}
