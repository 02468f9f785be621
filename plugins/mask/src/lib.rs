//! Hides what columns hold: redacts, hashes or truncates them, in both images of a row.
//!
//! NULL stays NULL, and a value that the source did not log stays so. A column that belongs to its table's key can
//! only be masked by a keyed hash: anything else would let two rows become one, or the key be guessed.

use deltaforge_sdk::{
    Batch, ColumnId, Failure, Flat, Image, Kind, Manifest, Processor, Table, Value, presence,
};

mod config;
mod hide;
#[cfg(test)]
mod tests;

pub use config::{Action, Config, Rule};
use hide::Hide;

/// The mask.
pub struct Mask {
    rules: Vec<Masked>,
}

struct Masked {
    target: config::Target,
    hide: Hide,
}

impl Processor for Mask {
    type Config = Config;

    fn describe() -> Manifest {
        Manifest::new("mask", env!("CARGO_PKG_VERSION"), "redacts, hashes or truncates columns")
    }

    fn open(config: Config) -> Result<Self, Failure> {
        if config.columns.is_empty() {
            return Err(Failure::fatal("columns: name at least one column to mask"));
        }
        let rules = config.columns.into_iter().enumerate().map(|(at, rule)| {
            let problem = |problem| Failure::fatal(format!("columns[{at}].{problem}"));
            let target = config::Target::parse(&rule.name).map_err(problem)?;
            Ok(Masked { target, hide: Hide::new(rule).map_err(problem)? })
        });
        Ok(Self { rules: rules.collect::<Result<_, Failure>>()? })
    }

    fn process(&mut self, batch: &mut Batch<'_>) -> Result<(), Failure> {
        let tables = batch.tables();
        let table_of = batch.table_of();
        for rule in &mut self.rules {
            for (column, in_tables) in rule.target.columns(&tables) {
                rule.refuse_keys(&tables, &in_tables, column)?;
                for image in Image::BOTH {
                    rule.mask(batch, image, column, &in_tables, &table_of, &tables);
                }
            }
        }
        Ok(())
    }
}

impl Masked {
    fn refuse_keys(&self, tables: &[Table], in_tables: &[bool], column: &str) -> Result<(), Failure> {
        let key_of = tables
            .iter()
            .zip(in_tables)
            .find(|(table, masked)| **masked && table.column(column).is_some_and(|at| table.is_key(at)));
        match key_of {
            Some((table, _)) if !self.hide.is_keyed() => Err(Failure::fatal(format!(
                "{}.{column} belongs to the key, which only a hash with a `key` can mask: \
                 otherwise rows could become one, or keys be guessed",
                table.qualified()
            ))),
            _ => Ok(()),
        }
    }

    /// Masks one column of one image, in rows of the tables named.
    fn mask(
        &mut self,
        batch: &mut Batch<'_>,
        image: Image,
        column: &str,
        in_tables: &[bool],
        table_of: &[u32],
        tables: &[Table],
    ) {
        let is_text = |table: &u32| {
            let table = &tables[*table as usize];
            table.column(column).is_some_and(|at| table.columns()[at as usize].kind == TEXT)
        };
        let old = batch.flats(image, column);
        let mut new = Flat {
            present: Vec::with_capacity(table_of.len()),
            ends: Vec::with_capacity(table_of.len()),
            data: Vec::with_capacity(old.data.len()),
        };
        let mut others: Vec<usize> = Vec::new();
        let mut any = false;
        for (row, table) in table_of.iter().enumerate() {
            let mut present = presence::NONE;
            if in_tables[*table as usize] {
                match (old.present[row], old.text(row)) {
                    (presence::VALUE, Some(text)) if is_text(table) => {
                        self.hide.text(text, &mut new.data);
                        present = presence::VALUE;
                        any = true;
                    }
                    (presence::VALUE | presence::OTHER, _) => others.push(row),
                    _ => {}
                }
            }
            new.present.push(present);
            new.ends.push(new.data.len() as u32);
        }
        if any {
            batch.set_flats(image, column, &new);
        }
        // Numbers, dates, bytes and the like: what is left of them is a text.
        if let (false, Some(id)) = (others.is_empty(), batch.column(column)) {
            others.into_iter().for_each(|row| self.mask_cell(batch, row, image, id));
        }
    }

    fn mask_cell(&mut self, batch: &mut Batch<'_>, row: usize, image: Image, column: ColumnId) {
        let mut masked = Vec::new();
        match batch.get(row, image, column) {
            Value::Bytes(bytes) => self.hide.bytes(&bytes, &mut masked),
            cell => match cell.as_str() {
                Some(text) => self.hide.text(text, &mut masked),
                None => self.hide.text(cell.to_json().trim_matches('"'), &mut masked),
            },
        }
        let text = String::from_utf8_lossy(&masked);
        batch.set(row, image, column, &Value::Text(text));
    }
}

const TEXT: Kind = Kind::Of(deltaforge_sdk::CellKind::Text);

deltaforge_sdk::processor!(Mask);
