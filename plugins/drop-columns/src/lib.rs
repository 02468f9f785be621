//! Takes columns out of both images of a row: those that are named, or all but those that are.

use deltaforge_plugin_kit::ColumnName;
use deltaforge_sdk::{Batch, Failure, Image, Manifest, Processor, Table, presence};

mod config;
#[cfg(test)]
mod tests;

pub use config::Config;

/// Drops columns.
pub struct DropColumns {
    names: Vec<ColumnName>,
    /// The names are of columns to keep.
    keeps: bool,
    allow_keys: bool,
}

impl Processor for DropColumns {
    type Config = Config;

    fn describe() -> Manifest {
        Manifest::new("drop-columns", env!("CARGO_PKG_VERSION"), "takes columns out of rows")
    }

    fn open(config: Config) -> Result<Self, Failure> {
        let (names, option) = match (config.columns.is_empty(), config.keep.is_empty()) {
            (false, true) => (&config.columns, "columns"),
            (true, false) => (&config.keep, "keep"),
            (true, true) => return Err(Failure::fatal("columns: name at least one column, here or in keep")),
            (false, false) => return Err(Failure::fatal("keep: stands beside columns; say one of them")),
        };
        let parse = |(at, name): (usize, &String)| {
            ColumnName::parse(name).map_err(|problem| Failure::fatal(format!("{option}[{at}]: {problem}")))
        };
        Ok(Self {
            names: names.iter().enumerate().map(parse).collect::<Result<_, _>>()?,
            keeps: option == "keep",
            allow_keys: config.allow_keys,
        })
    }

    fn process(&mut self, batch: &mut Batch<'_>) -> Result<(), Failure> {
        let (tables, table_of) = (batch.tables(), batch.table_of());
        // Each column with the tables that lose it.
        let mut dropped: Vec<(&str, Vec<bool>)> = Vec::new();
        for (at, table) in tables.iter().enumerate() {
            for column in self.of(table)? {
                let known = dropped.iter().position(|(name, _)| *name == column).unwrap_or_else(|| {
                    dropped.push((column, vec![false; tables.len()]));
                    dropped.len() - 1
                });
                dropped[known].1[at] = true;
            }
        }
        for (column, loses) in dropped {
            let all =
                tables.iter().zip(&loses).all(|(table, loses)| *loses || table.column(column).is_none());
            match batch.column(column) {
                _ if all => batch.remove_column(column),
                None => {}
                Some(id) => {
                    for image in Image::BOTH {
                        let held = batch.flats(image, column).present;
                        let rows = held.iter().zip(&table_of).enumerate();
                        for (row, _) in
                            rows.filter(|(_, (held, of))| **held != presence::NONE && loses[**of as usize])
                        {
                            batch.unset(row, image, id);
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

impl DropColumns {
    /// The columns that a table loses.
    fn of<'t>(&self, table: &'t Table) -> Result<Vec<&'t str>, Failure> {
        if !self.keeps {
            let columns: Vec<&str> = self.names.iter().flat_map(|name| name.of(table)).collect();
            let is_key = |column: &&&str| table.column(column).is_some_and(|at| table.is_key(at));
            return match columns.iter().find(is_key) {
                Some(column) if !self.allow_keys => Err(Failure::fatal(format!(
                    "{}.{column} belongs to the key: without it messages would have no key; say allow_keys: true and \
                     give the sink a key of its own",
                    table.qualified()
                ))),
                _ => Ok(columns),
            };
        }
        if self.names.iter().all(|name| name.of(table).is_empty()) {
            return Ok(Vec::new());
        }
        let columns = table.columns().iter().enumerate();
        let dropped = columns.filter(|(at, column)| {
            !table.is_key(*at as u16) && !self.names.iter().any(|name| name.means(table, &column.name))
        });
        Ok(dropped.map(|(_, column)| column.name.as_str()).collect())
    }
}

deltaforge_sdk::processor!(DropColumns);
