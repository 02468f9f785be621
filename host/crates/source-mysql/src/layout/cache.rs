//! Layouts by the numbers that row events name tables by.

use std::collections::HashMap;
use std::sync::Arc;

use super::TableLayout;
use crate::binlog::TableMap;

/// The layouts of tables that were seen. Every statement repeats its tables' maps, mostly the same ones.
#[derive(Debug, Default)]
pub struct Layouts {
    known: HashMap<u64, Known>,
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

    /// To be called when a statement has ended, and only then: maps are void, and room can be made.
    pub fn end_statement(&mut self) {
        if self.known.len() > Self::MOST {
            self.known.clear();
        }
    }

    /// Forgets all: another log file, another server, or a definition that the maps do not tell changed.
    pub fn clear(&mut self) {
        self.known.clear();
    }
}
