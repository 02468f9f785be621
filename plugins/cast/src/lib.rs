//! Turns values of columns into another kind, in both images of a row.
//!
//! A cast is exact, but for floats, which are the nearest there is: 3.5 is no integer, `maybe` no boolean, and such a
//! value rejects its event. NULL stays NULL, and a value that the source did not log stays so.

use deltaforge_plugin_kit::ColumnName;
use deltaforge_sdk::{Batch, Failure, Image, Manifest, Processor, Value};

mod config;
mod convert;
#[cfg(test)]
mod tests;

pub use config::{Config, OnFailure, Rule, Target, Unit};

/// Casts columns.
pub struct Cast {
    columns: Vec<(ColumnName, Rule)>,
    on_failure: OnFailure,
}

impl Processor for Cast {
    type Config = Config;

    fn describe() -> Manifest {
        Manifest::new("cast", env!("CARGO_PKG_VERSION"), "turns values of columns into another kind")
    }

    fn open(config: Config) -> Result<Self, Failure> {
        if config.columns.is_empty() {
            return Err(Failure::fatal("columns: name at least one column to cast"));
        }
        let columns = config.columns.into_iter().enumerate().map(|(at, rule)| {
            let problem = |problem: String| Failure::fatal(format!("columns[{at}].{problem}"));
            let name = ColumnName::parse(&rule.name).map_err(|bad| problem(format!("name: {bad}")))?;
            let counts = matches!(rule.to, Target::Int | Target::Uint | Target::Datetime | Target::Timestamp);
            if rule.unit.is_some() && !counts {
                return Err(problem("unit: only int, uint, datetime and timestamp take it".to_owned()));
            }
            Ok((name, rule))
        });
        Ok(Self { columns: columns.collect::<Result<_, _>>()?, on_failure: config.on_failure })
    }

    fn process(&mut self, batch: &mut Batch<'_>) -> Result<(), Failure> {
        let (tables, table_of) = (batch.tables(), batch.table_of());
        // Each column, with the rule that each table has for it.
        let mut casts: Vec<(&str, Vec<Option<&Rule>>)> = Vec::new();
        for (at, table) in tables.iter().enumerate() {
            for (column, rule) in &self.columns {
                for name in column.of(table) {
                    let known = casts.iter().position(|(known, _)| *known == name).unwrap_or_else(|| {
                        casts.push((name, vec![None; tables.len()]));
                        casts.len() - 1
                    });
                    casts[known].1[at].get_or_insert(rule);
                }
            }
        }
        let names: Vec<&str> = casts.iter().map(|(name, _)| *name).collect();
        if names.is_empty() {
            return Ok(());
        }
        let rows = batch.rows(&names);
        let mut rejected: Vec<(usize, String)> = Vec::new();
        for (nth, (name, rules)) in casts.iter().enumerate() {
            let Some(column) = batch.column(name) else { continue };
            for view in rows.iter() {
                let Some(rule) = rules[table_of[view.index()] as usize] else { continue };
                for image in Image::BOTH {
                    let held = view.get(image, nth);
                    match convert::cast(&held, rule.to, rule.unit) {
                        Some(Value::Absent) => {}
                        Some(cast) => batch.set(view.index(), image, column, &cast),
                        None if self.on_failure == OnFailure::Keep => {}
                        None => rejected.push((view.index(), convert::refusal(name, &held, rule.to))),
                    }
                }
            }
        }
        rejected.sort_by_key(|(row, _)| *row); // stable: the first reason stays the first
        rejected.dedup_by_key(|(row, _)| *row);
        rejected.iter().for_each(|(row, reason)| batch.reject(*row, reason));
        Ok(())
    }
}

deltaforge_sdk::processor!(Cast);
