//! Golden inputs written from events of a pipeline.

use std::collections::HashMap;

use deltaforge_model::{Batch, Cell, Column, Event, Kind, Row, TableSchema};
use serde_json::{Value as Json, json};

use super::cells::{self, quoted};

#[cfg(test)]
mod tests;

/// A table as the file declares it. One whose definition changed among the events has the columns of all of them, each as
/// it was first: a value that does not fit says its kind.
struct Declared {
    name: String,
    columns: Vec<(String, Kind)>,
    kinds: HashMap<String, Kind>,
    key: Vec<String>,
}

/// Writes events as a golden input, from which [`Golden::parse`](super::Golden::parse) reads the same values: as many as
/// `most` bytes have room for. `about` says of how many, for people, what they are.
///
/// Of an event its table, operation, images, tags, statement and message are kept. What a pipeline adds to that, such as its
/// id, its time and its transaction, a golden input has of its own.
pub fn record(batches: &[Batch], config: &Json, most: usize, about: &dyn Fn(usize) -> String) -> String {
    let mut tables: Vec<Declared> = Vec::new();
    for event in batches.iter().flat_map(Batch::events) {
        let name = event.table().qualified();
        let at = tables.iter().position(|known| known.name == name).unwrap_or_else(|| {
            tables.push(Declared::of(event.table()));
            tables.len() - 1
        });
        tables[at].add(event.table().columns());
    }
    let kinds: HashMap<&str, &Declared> = tables.iter().map(|table| (table.name.as_str(), table)).collect();
    let (mut events, mut count) = (String::new(), 0);
    for event in batches.iter().flat_map(Batch::events) {
        let before = events.len();
        events.push_str(if count == 0 { "\n    " } else { ",\n    " });
        write_event(&event, kinds[event.table().qualified()], &mut events);
        if events.len() > most {
            events.truncate(before);
            break;
        }
        count += 1;
    }
    let declared: Vec<String> = tables.iter().map(Declared::text).collect();
    let declared = declared.join(",\n    ");
    let about = quoted(&about(count));
    let head = format!(
        "{{\n  \"about\": {about},\n  \"config\": {config},\n  \"tables\": [\n    {declared}\n  ],\n"
    );
    events.insert_str(0, "  \"events\": [");
    events.insert_str(0, &head);
    events.push_str("\n  ]\n}\n");
    events
}

impl Declared {
    fn of(table: &TableSchema) -> Self {
        let name = |at: &u16| table.columns()[usize::from(*at)].name.clone();
        Self {
            name: table.qualified().to_owned(),
            columns: Vec::new(),
            kinds: HashMap::new(),
            key: table.key().iter().map(name).collect(),
        }
    }

    fn add(&mut self, columns: &[Column]) {
        // Most events have the columns of the one before.
        let is_new = |column: &&Column| !self.kinds.contains_key(&column.name);
        for column in columns.iter().filter(is_new).cloned().collect::<Vec<_>>() {
            self.kinds.insert(column.name.clone(), column.kind);
            self.columns.push((column.name, column.kind));
        }
    }

    fn text(&self) -> String {
        let columns: Vec<[&str; 2]> =
            self.columns.iter().map(|(name, kind)| [name.as_str(), kind.name()]).collect();
        json!({ "name": self.name, "columns": columns, "key": self.key }).to_string()
    }
}

fn write_event(event: &Event<'_>, table: &Declared, text: &mut String) {
    text.push_str(&format!("{{\"table\": {}, \"op\": \"{}\"", quoted(&table.name), event.op().code()));
    for (name, row) in [("before", event.before()), ("after", event.after())] {
        if let Some(row) = row {
            text.push_str(&format!(", \"{name}\": "));
            write_row(event.table(), &row, table, text);
        }
    }
    let side = event.side();
    if let Some(tags) = &side.tags {
        text.push_str(&format!(", \"tags\": {}", json!(tags)));
    }
    if let Some(ddl) = &side.ddl {
        text.push_str(&format!(", \"ddl\": {}", json!(ddl)));
    }
    if let Some(message) = &side.message {
        text.push_str(&format!(", \"message\": {}", quoted(message)));
    }
    text.push('}');
}

fn write_row(schema: &TableSchema, row: &Row<'_>, table: &Declared, out: &mut String) {
    let mut open = '{';
    for (column, cell) in schema.columns().iter().zip(row.cells()) {
        if matches!(cell, Cell::Absent) {
            continue;
        }
        out.push(open);
        open = ',';
        out.push_str(&quoted(&column.name));
        out.push(':');
        cells::write(&cell, table.kinds[&column.name], out);
    }
    if open == '{' {
        out.push('{');
    }
    out.push('}');
}
