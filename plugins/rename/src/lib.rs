//! Gives columns other names, in both images of a row. Columns can change places: all renames of a row happen at once.

use std::collections::HashSet;

use deltaforge_plugin_kit::{Changes, ColumnName};
use deltaforge_sdk::{Batch, Failure, Image, Manifest, Processor, Table, Value};

mod config;
#[cfg(test)]
mod tests;

pub use config::{Collision, Config, Rename as Rule};

/// Renames columns.
pub struct Rename {
    columns: Vec<(ColumnName, String)>,
    config: Config,
}

/// A rename in one table.
struct Move<'t> {
    from: &'t str,
    to: &'t str,
}

impl Processor for Rename {
    type Config = Config;

    fn describe() -> Manifest {
        Manifest::new("rename", env!("CARGO_PKG_VERSION"), "gives columns other names")
    }

    fn open(config: Config) -> Result<Self, Failure> {
        if config.columns.is_empty() {
            return Err(Failure::fatal("columns: name at least one column to rename"));
        }
        let columns = config.columns.iter().enumerate().map(|(at, rule)| {
            if rule.to.is_empty() {
                return Err(Failure::fatal(format!("columns[{at}].to: is empty")));
            }
            let from = ColumnName::parse(&rule.from)
                .map_err(|problem| Failure::fatal(format!("columns[{at}].from: {problem}")))?;
            Ok((from, rule.to.clone()))
        });
        Ok(Self { columns: columns.collect::<Result<_, _>>()?, config })
    }

    fn process(&mut self, batch: &mut Batch<'_>) -> Result<(), Failure> {
        let (tables, table_of) = (batch.tables(), batch.table_of());
        let moves = tables.iter().map(|table| self.moves(table)).collect::<Result<Vec<_>, _>>()?;
        let mut names: Vec<&str> = Vec::new();
        for name in moves.iter().flatten().flat_map(|step| [step.from, step.to]) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        if names.is_empty() {
            return Ok(());
        }
        let rows = batch.rows(&names);
        let nth = |name: &str| names.iter().position(|known| *known == name).unwrap_or_default();
        let mut changes = Changes::default();
        let mut collided: Vec<(usize, &str)> = Vec::new();
        for view in rows.iter() {
            let moves = &moves[table_of[view.index()] as usize];
            for image in Image::BOTH.into_iter().filter(|image| view.has(*image)) {
                let held = |name: &str| view.get(image, nth(name));
                let done: Vec<&Move<'_>> =
                    moves.iter().filter(|step| held(step.from) != Value::Absent).collect();
                for step in &done {
                    let from = changes.column(step.from);
                    changes.unset(view.index(), image, from);
                }
                for (at, step) in done.iter().enumerate() {
                    let stays =
                        held(step.to) != Value::Absent && !done.iter().any(|other| other.from == step.to);
                    let again = done[..at].iter().any(|other| other.to == step.to);
                    if (stays || again) && self.config.on_collision == Collision::Reject {
                        collided.push((view.index(), step.to));
                    }
                    let to = changes.column(step.to);
                    changes.set(view.index(), image, to, held(step.from).into_owned());
                }
            }
        }
        let without: HashSet<usize> = collided.iter().map(|(row, _)| *row).collect();
        changes.apply(batch, &without);
        collided.dedup_by_key(|(row, _)| *row);
        for (row, name) in collided {
            batch.reject(row, &format!("rename: the row has a column {name:?} already"));
        }
        Ok(())
    }
}

impl Rename {
    fn moves<'t>(&'t self, table: &'t Table) -> Result<Vec<Move<'t>>, Failure> {
        let mut moves: Vec<Move<'t>> = Vec::new();
        for (column, to) in &self.columns {
            for from in column.of(table) {
                let at =
                    table.column(from).filter(|_| from != to && !moves.iter().any(|step| step.from == from));
                let Some(at) = at else { continue };
                if table.is_key(at) && !self.config.allow_keys {
                    return Err(Failure::fatal(format!(
                        "{}.{from} belongs to the key: renamed, messages would have no key; say allow_keys: true and \
                         give the sink a key of its own",
                        table.qualified()
                    )));
                }
                moves.push(Move { from, to });
            }
        }
        Ok(moves)
    }
}

deltaforge_sdk::processor!(Rename);
