//! Takes JSON objects in rows apart: every path to a value becomes a column of its own.
//!
//! Both images are made flat, and only cells that hold JSON are looked at (or arrays, where `lists` or `empty_list`
//! are about them); what is inside keeps its digits. A text stays a text, whatever it looks like. A row's columns are
//! taken in the order of its table, members in the order of their object: that is what `on_collision` means by first
//! and last.

use std::collections::HashSet;

use deltaforge_plugin_kit::Changes;
use deltaforge_sdk::{
    Batch, CellKind, Failure, Flat, Image, Kind, Manifest, Processor, Table, Value, presence,
};

mod config;
#[cfg(test)]
mod tests;
mod walk;

pub use config::{Collision, Config, Empty, Lists};
use walk::{Leaf, Node, Walk};

/// Makes rows flat.
pub struct Flatten {
    config: Config,
}

impl Processor for Flatten {
    type Config = Config;

    fn describe() -> Manifest {
        Manifest::new("flatten", env!("CARGO_PKG_VERSION"), "makes columns of what JSON objects hold")
    }

    fn open(config: Config) -> Result<Self, Failure> {
        if config.separator.is_empty() {
            return Err(Failure::fatal(
                "separator: is empty, so that different paths would have the same name",
            ));
        }
        Ok(Self { config })
    }

    fn process(&mut self, batch: &mut Batch<'_>) -> Result<(), Failure> {
        let tables = batch.tables();
        let table_of = batch.table_of();
        let mut changes = Changes::default();
        let mut collided: Vec<(usize, String)> = Vec::new();
        for image in Image::BOTH {
            self.image(batch, image, &tables, &table_of, &mut changes, &mut collided);
        }
        let without: HashSet<usize> = collided.iter().map(|(row, _)| *row).collect();
        changes.apply(batch, &without);
        let mut rejected = HashSet::new();
        for (row, name) in collided {
            if rejected.insert(row) {
                batch.reject(row, &format!("flatten: two values come to the name {name:?}"));
            }
        }
        Ok(())
    }
}

impl Flatten {
    /// Collects what one image of every row becomes.
    fn image(
        &self,
        batch: &Batch<'_>,
        image: Image,
        tables: &[Table],
        table_of: &[u32],
        changes: &mut Changes,
        collided: &mut Vec<(usize, String)>,
    ) {
        let columns = Columns::read(batch, image, tables, table_of);
        let mut nested = vec![false; table_of.len()];
        for column in &columns.0 {
            for (row, nested) in nested.iter_mut().enumerate() {
                *nested = *nested || self.may_be_nested(column, row);
            }
        }
        // Per column of `changes`, the row whose leaf it got last, and where that leaf is.
        let mut taken: Vec<(usize, usize)> = Vec::new();
        for row in (0..nested.len()).filter(|row| nested[*row]) {
            let mut leaves: Vec<(_, Leaf)> = Vec::new();
            let mut collision = None;
            let table = &tables[table_of[row] as usize];
            let present = || {
                let held = table.columns().iter().map(|column| columns.get(&column.name));
                held.filter(|column| column.flat.present[row] != presence::NONE)
            };
            for column in present() {
                let walk = Walk { config: &self.config, path: column.name.to_owned() };
                walk.leaves(self.node(batch, column, row, image), |path, leaf| {
                    let to = changes.column(path);
                    taken.resize(taken.len().max(to.index() + 1), (usize::MAX, 0));
                    let (last, at) = taken[to.index()];
                    if last != row {
                        taken[to.index()] = (row, leaves.len());
                        leaves.push((to, leaf));
                        return;
                    }
                    match self.config.on_collision {
                        Collision::Last => leaves[at].1 = leaf,
                        Collision::First => {}
                        Collision::Error => collision = Some(path.to_owned()),
                    }
                });
            }
            if let Some(name) = collision {
                collided.push((row, name));
                continue;
            }
            for column in present() {
                let to = changes.column(column.name);
                if taken.get(to.index()).is_none_or(|(last, _)| *last != row) {
                    changes.unset(row, image, to);
                }
            }
            for (to, leaf) in leaves {
                if let Leaf::Value(value) = leaf {
                    changes.set(row, image, to, value);
                }
            }
        }
    }

    /// Whether the cell may be one to take apart, by its first byte: asked of every cell.
    fn may_be_nested(&self, column: &Column<'_>, row: usize) -> bool {
        match column.flat.present[row] {
            presence::VALUE => match column.flat.get(row).unwrap_or_default() {
                // Kept as it is, whatever else is configured.
                b"{}" => self.config.empty_object != Empty::Preserve,
                bytes => match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
                    Some(b'{') => true,
                    Some(b'[') => self.is_about_lists(),
                    _ => false,
                },
            },
            presence::OTHER => self.is_about_lists() && matches!(column.kind, ARRAY | Kind::Any),
            _ => false,
        }
    }

    fn is_about_lists(&self) -> bool {
        self.config.lists == Lists::Index || self.config.empty_list != Empty::Preserve
    }

    /// What a cell is to the walk. A text that only looks like JSON is none.
    fn node<'b>(&self, batch: &'b Batch<'_>, column: &'b Column<'_>, row: usize, image: Image) -> Node<'b> {
        if !self.may_be_nested(column, row) {
            return Node::Kept;
        }
        if column.kind == JSON
            && let Some(text) = column.flat.text(row)
        {
            return Node::Json(text.into());
        }
        match batch.column(column.name).map(|id| batch.get(row, image, id)) {
            Some(Value::Json(text)) => Node::Json(text),
            Some(array @ Value::Array(_)) => Node::Array(array),
            _ => Node::Kept,
        }
    }
}

const JSON: Kind = Kind::Of(CellKind::Json);
const ARRAY: Kind = Kind::Of(CellKind::Array);

/// A column of every row, whatever tables have it.
struct Column<'t> {
    name: &'t str,
    /// The declared kind; `Kind::Any` where tables differ.
    kind: Kind,
    flat: Flat,
}

/// The columns of the tables in view, by name.
struct Columns<'t>(Vec<Column<'t>>, std::collections::HashMap<&'t str, usize>);

impl<'t> Columns<'t> {
    fn read(batch: &Batch<'_>, image: Image, tables: &'t [Table], table_of: &[u32]) -> Self {
        let mut columns = Self(Vec::new(), std::collections::HashMap::new());
        for (at, table) in tables.iter().enumerate() {
            if !table_of.contains(&(at as u32)) {
                continue;
            }
            for column in table.columns() {
                match columns.1.get(column.name.as_str()) {
                    Some(known) if columns.0[*known].kind != column.kind => {
                        columns.0[*known].kind = Kind::Any
                    }
                    Some(_) => {}
                    None => {
                        columns.1.insert(&column.name, columns.0.len());
                        let flat = batch.flats(image, &column.name);
                        columns.0.push(Column { name: &column.name, kind: column.kind, flat });
                    }
                }
            }
        }
        columns
    }

    fn get(&self, name: &str) -> &Column<'t> {
        &self.0[self.1[name]]
    }
}

deltaforge_sdk::processor!(Flatten);
