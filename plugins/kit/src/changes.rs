//! Cells of columns that a table may lack.

use std::collections::{HashMap, HashSet};

use deltaforge_sdk::{Batch, ColumnId, Image, Kind, Table, Value};

/// A column that cells are set in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ColumnNumber(u32);

impl ColumnNumber {
    /// Numbers count from 0 in the order in which columns were first asked for.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Changes of cells, collected first: a column is added to the tables whose rows get it and to no others, so that
/// what one table gets does not change what messages say of another. It is declared without a kind, since rows that
/// are written anew cannot say one: a table's definition must not depend on what else is in the batch.
#[derive(Debug, Default)]
pub struct Changes {
    columns: Vec<String>,
    numbers: HashMap<String, u32>,
    cells: Vec<Change>,
}

#[derive(Debug)]
struct Change {
    row: usize,
    image: Image,
    column: ColumnNumber,
    /// `Value::Absent` takes the column out.
    value: Value<'static>,
}

/// How the cells of a column are reached.
#[derive(Clone, Copy)]
enum Way {
    /// Every table that lacks it gets it, or none has to.
    Cell(ColumnId),
    /// Some tables in view lack it and shall not get it: rows are written anew.
    Image,
    /// No table has it, and it is only taken out.
    Nowhere,
}

impl Changes {
    /// The column of this name.
    pub fn column(&mut self, name: &str) -> ColumnNumber {
        let number = self.numbers.get(name).copied().unwrap_or_else(|| {
            let number = self.columns.len() as u32;
            self.columns.push(name.to_owned());
            self.numbers.insert(name.to_owned(), number);
            number
        });
        ColumnNumber(number)
    }

    /// The name of a column.
    pub fn name(&self, column: ColumnNumber) -> &str {
        &self.columns[column.index()]
    }

    /// Sets a cell of an image that the row has. Unlike [`Batch::set`] it also sets what is unavailable.
    pub fn set(&mut self, row: usize, image: Image, column: ColumnNumber, value: Value<'static>) {
        self.cells.push(Change { row, image, column, value });
    }

    /// Takes a column out of an image that the row has.
    pub fn unset(&mut self, row: usize, image: Image, column: ColumnNumber) {
        self.set(row, image, column, Value::Absent);
    }

    /// Makes the changes. Of two changes of one cell the later wins. Rows in `without` stay as they are.
    pub fn apply(mut self, batch: &mut Batch<'_>, without: &HashSet<usize>) {
        self.cells.retain(|change| !without.contains(&change.row));
        if self.cells.is_empty() {
            return;
        }
        let (tables, table_of) = (batch.tables(), batch.table_of());
        let ways = self.ways(batch, &tables, &table_of);
        let rewritten: HashSet<(usize, Image)> = self
            .cells
            .iter()
            .filter(|change| {
                change.value == Value::Unavailable || matches!(ways[change.column.index()], Way::Image)
            })
            .map(|change| (change.row, change.image))
            .collect();
        let mut images: HashMap<(usize, Image), Vec<Change>> = HashMap::new();
        for change in self.cells {
            let place = (change.row, change.image);
            match ways[change.column.index()] {
                _ if rewritten.contains(&place) => images.entry(place).or_default().push(change),
                Way::Cell(column) if change.value == Value::Absent => {
                    batch.unset(change.row, change.image, column);
                }
                Way::Cell(column) => batch.set(change.row, change.image, column, &change.value),
                Way::Image | Way::Nowhere => {}
            }
        }
        let mut images: Vec<_> = images.into_iter().collect();
        images.sort_unstable_by_key(|((row, image), _)| (*row, *image == Image::After));
        let mut ids: HashMap<&str, Option<ColumnId>> = HashMap::new();
        for ((row, image), changes) in images {
            let table = &tables[table_of[row] as usize];
            let cells = table.columns().iter().filter_map(|column| {
                let id = ids.entry(&column.name).or_insert_with(|| batch.column(&column.name));
                let value = batch.get(row, image, (*id)?);
                (value != Value::Absent).then(|| (column.name.clone(), value.into_owned()))
            });
            let mut cells: Vec<(String, Value<'static>)> = cells.collect();
            for Change { column, value, .. } in changes {
                let name = &self.columns[column.index()];
                match cells.iter_mut().find(|(known, _)| known == name) {
                    Some((_, held)) => *held = value,
                    None => cells.push((name.clone(), value)),
                }
            }
            cells.retain(|(_, value)| *value != Value::Absent);
            batch.set_image(row, image, Some(&cells));
        }
    }

    fn ways(&self, batch: &mut Batch<'_>, tables: &[Table], table_of: &[u32]) -> Vec<Way> {
        let mut in_view = vec![false; tables.len()];
        table_of.iter().for_each(|table| in_view[*table as usize] = true);
        // Per column, the tables that get it.
        let mut gets = vec![vec![false; tables.len()]; self.columns.len()];
        for change in self.cells.iter().filter(|change| change.value != Value::Absent) {
            gets[change.column.index()][table_of[change.row] as usize] = true;
        }
        let mut ways = Vec::with_capacity(self.columns.len());
        for (name, gets) in self.columns.iter().zip(gets) {
            let lacks = |at: &usize| tables[*at].column(name).is_none();
            let lacking: Vec<usize> = (0..tables.len()).filter(lacks).collect();
            let added = lacking.iter().any(|at| gets[*at]);
            let everywhere = lacking.iter().all(|at| gets[*at] || !in_view[*at]);
            ways.push(match (added, everywhere) {
                (false, _) => batch.column(name).map_or(Way::Nowhere, Way::Cell),
                (true, true) => Way::Cell(batch.add_column(name, Kind::Any)),
                (true, false) => Way::Image,
            });
        }
        ways
    }
}
