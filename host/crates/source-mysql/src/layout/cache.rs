//! Layouts by the numbers that row events name tables by.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::TableLayout;
use crate::binlog::TableMap;

/// The layouts of tables that were seen. Every statement repeats its tables' maps, mostly the same ones.
#[derive(Debug, Default)]
pub struct Layouts {
    known: HashMap<u64, Known>,
    /// Numbers of tables whose rows nobody reads.
    passed: HashSet<u64>,
}

#[derive(Debug)]
struct Known {
    /// The map that the layout was made from.
    definition: Vec<u8>,
    layout: Arc<TableLayout>,
}

impl Layouts {
    /// A server opens tables again and again, each time under a new number.
    const MOST: usize = 4096;

    /// The layout of a table map: the known one if the map says what it said before, else what `make` answers.
    ///
    /// # Errors
    ///
    /// What `make` says.
    pub fn of_map<E>(
        &mut self,
        map: &TableMap<'_>,
        make: impl FnOnce() -> Result<TableLayout, E>,
    ) -> Result<Arc<TableLayout>, E> {
        if let Some(known) = self.known.get(&map.table_id)
            && known.definition == map.definition
        {
            return Ok(known.layout.clone());
        }
        let layout = Arc::new(make()?);
        let known = Known { definition: map.definition.to_vec(), layout: layout.clone() };
        self.known.insert(map.table_id, known);
        Ok(layout)
    }

    /// Whether the map says what is known already.
    pub fn has(&self, map: &TableMap<'_>) -> bool {
        self.known.get(&map.table_id).is_some_and(|known| known.definition == map.definition)
    }

    /// The layout of the table with this number, for the rows behind its map.
    pub fn of_table(&self, table_id: u64) -> Option<&Arc<TableLayout>> {
        self.known.get(&table_id).map(|known| &known.layout)
    }

    /// Nobody reads the rows of the table that has this number from here on, whichever had it before.
    pub fn pass(&mut self, table_id: u64) {
        self.known.remove(&table_id);
        self.passed.insert(table_id);
    }

    /// Whether that was said of a number.
    pub fn is_passed(&self, table_id: u64) -> bool {
        self.passed.contains(&table_id)
    }

    /// To be called when a statement has ended, and only then: maps are void, and room can be made.
    pub fn end_statement(&mut self) {
        if self.known.len() > Self::MOST {
            self.known.clear();
        }
        if self.passed.len() > Self::MOST {
            self.passed.clear();
        }
    }

    /// Forgets all: another log file, another server, or a definition that the maps do not tell changed.
    pub fn clear(&mut self) {
        self.known.clear();
        self.passed.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::Layouts;

    #[test]
    fn numbers_of_tables_that_nobody_reads_are_not_kept_for_ever() {
        let mut layouts = Layouts::default();
        for statement in 0..3 * Layouts::MOST as u64 {
            for table_id in [2 * statement, 2 * statement + 1] {
                layouts.pass(table_id);
            }
            assert!(layouts.is_passed(2 * statement), "its rows come behind the maps");
            layouts.end_statement();
            assert!(layouts.passed.len() <= Layouts::MOST);
        }
    }
}
