//! Keeps the events that pass every configured check and drops the others.
//!
//! A check that is not configured passes every event. `fields` look at the row as it is (`after`); a path is a
//! column, or a column that holds JSON and the way into it. A field that is missing is equal to nothing and member
//! of no set, so `ne` and `not_in` pass. A comparison with a value that the source did not log rejects the event:
//! neither answer would be right.

use deltaforge_plugin_kit::{Check, Match, Operation, Scope};
use deltaforge_sdk::{Batch, Failure, Manifest, Op, Processor};

mod config;
#[cfg(test)]
mod tests;

pub use config::Config;

/// The filter.
pub struct Filter {
    ops: Vec<Op>,
    scope: Scope,
    predicates: Vec<Check>,
    any: bool,
}

impl Processor for Filter {
    type Config = Config;

    fn describe() -> Manifest {
        Manifest::new(
            "filter",
            env!("CARGO_PKG_VERSION"),
            "keeps events by operation, table and field values",
        )
    }

    fn open(config: Config) -> Result<Self, Failure> {
        let predicates = config.fields.into_iter().enumerate().map(|(at, predicate)| {
            Check::new(predicate).map_err(|problem| Failure::fatal(format!("fields[{at}].{problem}")))
        });
        Ok(Self {
            ops: config.ops.into_iter().map(Operation::op).collect(),
            scope: Scope::new(&config.tables)?,
            predicates: predicates.collect::<Result<_, _>>()?,
            any: config.r#match == Match::Any,
        })
    }

    fn process(&mut self, batch: &mut Batch<'_>) -> Result<(), Failure> {
        let mut keep = vec![true; batch.len()];
        if !self.ops.is_empty() {
            let ops = batch.ops();
            keep.iter_mut().zip(ops).for_each(|(keep, op)| *keep = self.ops.contains(&op));
        }
        if !self.scope.is_all() {
            let tables = self.scope.of(&batch.tables());
            keep.iter_mut().zip(batch.table_of()).for_each(|(keep, of)| *keep &= tables[of as usize]);
        }
        if !self.predicates.is_empty() && keep.contains(&true) {
            self.look_at_fields(batch, &mut keep);
        }
        if keep.contains(&false) {
            batch.keep(&keep);
        }
        Ok(())
    }
}

impl Filter {
    fn look_at_fields(&self, batch: &mut Batch<'_>, keep: &mut [bool]) {
        let mut verdicts = vec![!self.any; keep.len()];
        // Per row, the path of a predicate that cannot be answered and would decide.
        let mut unknown: Vec<Option<&str>> = vec![None; keep.len()];
        for predicate in &self.predicates {
            predicate.each(batch, |row, passes| match passes {
                Some(passes) if self.any => verdicts[row] |= passes,
                Some(passes) => verdicts[row] &= passes,
                None => unknown[row] = Some(predicate.path()),
            });
        }
        for (row, keep) in keep.iter_mut().enumerate().filter(|(_, keep)| **keep) {
            match unknown[row] {
                // Undecided only where the other predicates do not settle it.
                Some(path) if verdicts[row] != self.any => {
                    batch.reject(row, &format!("filter: the source did not log {path}"));
                }
                _ => *keep = verdicts[row],
            }
        }
    }
}

deltaforge_sdk::processor!(Filter);
