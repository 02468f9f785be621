//! Rows of captured logs, applied one after the other, are the rows that the server has in the end.

use std::collections::BTreeMap;
use std::sync::Arc;

use deltaforge_model::{
    BatchBuilder, Event as BatchEvent, EventHead, EventId, Image, Op, SnapshotMark, SourceInfo,
};
use deltaforge_source_mysql::binlog::transaction::{MariaGtidEvent, Xid};
use deltaforge_source_mysql::binlog::{Body, RowsKind};
use deltaforge_source_mysql::layout::{Declared, Layouts};
use deltaforge_source_mysql::{DecodeError, RowCursor, Scratch, TableLayout};

use crate::captured::{self, Table};
use crate::text::Shown;

/// Where a table's definition comes from.
#[derive(Debug, Clone, Copy, PartialEq)]
enum From {
    Log,
    Definition,
}

/// One change of one row.
#[derive(Debug, Clone)]
struct Change {
    table: String,
    before: Option<Vec<Shown>>,
    after: Option<Vec<Shown>>,
}

/// The rows of all tables, as the log tells them.
#[derive(Debug, Default)]
struct Replay {
    tables: BTreeMap<String, Vec<Vec<Shown>>>,
    /// Changes of XA transactions between their two phases, by the name that the log has for them.
    prepared: BTreeMap<String, Vec<Change>>,
    /// Those of the transaction that is read, if it is an XA one.
    open: Option<(String, Vec<Change>)>,
    /// Names of columns that an inserted row lacked.
    left_out: Vec<String>,
    seen: usize,
    keys_changed: usize,
}

impl Replay {
    fn apply(&mut self, change: Change) {
        if let Some((_, changes)) = &mut self.open {
            return changes.push(change);
        }
        let rows = self.tables.entry(change.table.clone()).or_default();
        let Some(before) = change.before else {
            return rows.push(change.after.expect("an image"));
        };
        // NULLs behind the end: rows from before a column was added.
        let fits = |row: &Vec<Shown>| {
            row.iter()
                .zip(&before)
                .all(|(have, was)| have == was || [have, was].contains(&&Shown::Unavailable))
        };
        let at = rows.iter().position(fits).unwrap_or_else(|| panic!("{before:?} is not among {rows:?}"));
        let old = rows.remove(at);
        if let Some(after) = change.after {
            let merge = |(at, new): (usize, Shown)| match new {
                Shown::Unavailable => old[at].clone(),
                new => new,
            };
            rows.push(after.into_iter().enumerate().map(merge).collect());
        }
    }

    fn query(&mut self, sql: &str) {
        let words: Vec<&str> = sql.split_ascii_whitespace().collect();
        match words[..] {
            ["XA", "START", name] => self.open = Some((name.to_owned(), Vec::new())),
            ["XA", "COMMIT", name] => {
                for change in self.prepared.remove(name).expect("a prepared transaction") {
                    self.apply(change);
                }
            }
            ["XA", "ROLLBACK", name] => drop(self.prepared.remove(name).expect("a prepared transaction")),
            ["RENAME", "TABLE", from, "TO", to, ..] => {
                let rows = self.tables.remove(from).expect("a table");
                self.tables.insert(to.to_owned(), rows);
            }
            ["TRUNCATE", "TABLE", name, ..] => self.tables.get_mut(name).expect("a table").clear(),
            _ => {}
        }
    }
}

fn info() -> Arc<SourceInfo> {
    Arc::new(SourceInfo {
        connector: "mysql".into(),
        version: String::new(),
        pipeline: String::new(),
        tenant: String::new(),
        source_id: String::new(),
        pos_name: "pos".into(),
        pos_is_lsn: false,
    })
}

/// An XA transaction's name as statements in the log have it.
fn xa_name(xid: &Xid<'_>) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    format!("X'{}',X'{}',{}", hex(xid.gtrid), hex(xid.bqual), xid.format)
}

fn head(op: Op, table: u16) -> EventHead {
    EventHead {
        id: EventId([0; 16]),
        op,
        table,
        transaction: None,
        ordinal: 0,
        ts_us: 0,
        pos: 0,
        last: false,
        snapshot: SnapshotMark::No,
    }
}

fn replay(name: &str, known: &[Table], from: From) -> Replay {
    let mut replay = Replay::default();
    let mut layouts = Layouts::default();
    let mut scratch = Scratch::default();
    let definitions: BTreeMap<&str, Declared> =
        known.iter().map(|table| (table.name.as_str(), table.definition())).collect();
    captured::each_event(&captured::bytes(&format!("{name}.binlog")), |at, event| match &event.body {
        Body::Query(query) => replay.query(std::str::from_utf8(query.sql).unwrap()),
        // MariaDB says in the GTID event what MySQL says in a statement.
        Body::MariaGtid(begin) if begin.flags & MariaGtidEvent::PREPARED_XA != 0 => {
            replay.open = Some((xa_name(&begin.xid.unwrap()), Vec::new()));
        }
        Body::XaPrepare(prepare) => {
            let (name, changes) = replay.open.take().expect("XA START came before");
            assert_eq!(name, xa_name(&prepare.xid));
            if prepare.one_phase {
                changes.into_iter().for_each(|change| replay.apply(change));
            } else {
                replay.prepared.insert(name, changes);
            }
        }
        Body::TableMap(map) if map.database == "golden" => {
            let make = || match (from, definitions.get(map.table)) {
                (From::Definition, Some(definition)) => TableLayout::from_definition(map, definition),
                _ => TableLayout::from_log(map),
            };
            layouts.of_map(map, make).unwrap_or_else(|error| panic!("{name} at {at}: {error}"));
        }
        Body::Rows(rows) => {
            let layout = layouts.of_table(rows.table_id).expect("a table map came before").clone();
            let mut builder = BatchBuilder::new(info());
            let table = builder.table(layout.schema());
            let mut cursor = RowCursor::new(&layout, *rows).unwrap();
            let op = match rows.kind {
                RowsKind::Write => Op::Create,
                RowsKind::Update => Op::Update,
                RowsKind::Delete => Op::Delete,
            };
            let mut split = Vec::new();
            while !cursor.is_done() {
                builder.event(head(op, table));
                let written = cursor
                    .write(&mut builder, &mut scratch)
                    .unwrap_or_else(|error| panic!("{name} at {at}: {error}"));
                if written.key_changed {
                    // What a reader does: the same row as a delete and a create.
                    replay.keys_changed += 1;
                    let mut apart = BatchBuilder::new(info());
                    let table = apart.table(layout.schema());
                    apart.event(head(Op::Delete, table));
                    cursor.write_image(Image::Before, &mut apart, &mut scratch).unwrap();
                    apart.event(head(Op::Create, table));
                    cursor.write_image(Image::After, &mut apart, &mut scratch).unwrap();
                    split.push((builder.len() - 1, apart.finish()));
                }
            }
            if rows.ends_statement {
                layouts.end_statement();
            }
            let batch = builder.finish();
            for (at, apart) in split {
                let (update, delete, create) = (batch.event(at), apart.event(0), apart.event(1));
                assert!(delete.before().unwrap().same(&update.before().unwrap()));
                assert!(create.after().unwrap().same(&update.after().unwrap()));
                assert!(delete.after().is_none() && create.before().is_none());
            }
            for event in batch.events() {
                replay.seen += 1;
                let change = change(&event, &layout, known);
                if let (Some(before), Some(after)) = (&change.before, &change.after) {
                    // What an update leaves out did not change: nothing that the row had gets lost.
                    let lost =
                        |(was, is): (&Shown, &Shown)| *was != Shown::Unavailable && *is == Shown::Unavailable;
                    assert!(!before.iter().zip(after).any(lost), "{before:?} {after:?}");
                }
                if change.before.is_none()
                    && let Some(after) = &change.after
                {
                    let columns = layout.schema().columns().iter().zip(after);
                    let left_out = columns.filter(|(_, shown)| **shown == Shown::Unavailable);
                    replay.left_out.extend(left_out.map(|(column, _)| column.name.clone()));
                }
                replay.apply(change);
            }
        }
        _ => {}
    });
    assert!(replay.open.is_none() && replay.prepared.is_empty());
    replay
}

fn change(event: &BatchEvent<'_>, layout: &TableLayout, known: &[Table]) -> Change {
    let schema = layout.schema();
    let table = known.iter().find(|table| table.name == schema.name());
    let shown = |row: deltaforge_model::Row<'_>| {
        let cells = row.cells().enumerate().map(|(at, cell)| {
            let column = &schema.columns()[at];
            // The server's word for the type where there is one: what it prints goes by that.
            let of = table.and_then(|table| table.columns.iter().find(|known| known.name == column.name));
            Shown::cell(&cell, of.map_or(&column.source_type, |of| &of.column_type))
        });
        cells.collect()
    };
    Change {
        table: schema.name().to_owned(),
        before: event.before().map(&shown),
        after: event.after().map(&shown),
    }
}

/// Compares all tables; columns of MariaDB's own types are CHAR to who has only the log.
fn compare(name: &str, from: From) -> Replay {
    let tables = captured::tables(&format!("{name}.rows"));
    let replay = replay(name, &tables, from);
    let mut problems = Vec::new();
    for table in &tables {
        let empty = Vec::new();
        let rows = replay.tables.get(&table.name).unwrap_or(&empty);
        if rows.len() != table.rows.len() {
            problems.push(format!(
                "{}: {} rows, the server has {}",
                table.name,
                rows.len(),
                table.rows.len()
            ));
        }
        for server in &table.rows {
            let Some(row) = rows.iter().find(|row| {
                let key =
                    table.key.iter().map(|key| table.columns.iter().position(|c| c.name == *key).unwrap());
                key.into_iter()
                    .all(|at| row[at] == Shown::server(&server[at], &table.columns[at].column_type))
            }) else {
                problems.push(format!("{}: no row {:?}", table.name, server));
                continue;
            };
            for ((shown, text), column) in row.iter().zip(server).zip(&table.columns) {
                let own = ["uuid", "inet4", "inet6"].contains(&column.column_type.as_str());
                let expected = Shown::server(text, &column.column_type);
                let wild = *shown == Shown::Unavailable || (own && from == From::Log);
                if !wild && !shown.matches(&expected) {
                    problems.push(format!(
                        "{}.{} ({}): {shown:?}, the server has {expected:?}",
                        table.name, column.name, column.column_type
                    ));
                }
            }
        }
    }
    assert!(problems.is_empty(), "{name} from {from:?}:\n{}", problems.join("\n"));
    assert!(replay.seen > 0);
    replay
}

#[test]
fn mysql_rows_of_all_types_are_the_servers() {
    for name in ["mysql/types", "mysql/special"] {
        compare(name, From::Log);
        compare(name, From::Definition);
    }
}

#[test]
fn mariadb_rows_of_all_types_are_the_servers() {
    for name in ["mariadb/types", "mariadb/special"] {
        compare(name, From::Log);
        compare(name, From::Definition);
    }
}

#[test]
fn old_temporal_types_are_the_servers() {
    compare("mariadb/old", From::Log);
    compare("mariadb/old", From::Definition);
}

#[test]
fn rows_without_names_in_the_log_are_read_by_their_definition() {
    for name in ["mysql/minimal", "mariadb/minimal", "mariadb/nolog"] {
        compare(name, From::Definition);
    }
}

#[test]
fn partial_images_and_json_changes_end_in_the_servers_rows() {
    for name in ["mysql/images", "mariadb/images"] {
        let replay = compare(name, From::Log);
        assert_eq!(replay.keys_changed, 1);
        let mut left_out = replay.left_out;
        left_out.sort();
        left_out.dedup();
        // Of inserts alone: what an update leaves out is known from the row as it was, or was not changed.
        let inserted = ["body", "j", "j2", "name"].map(str::to_owned);
        assert!(left_out.iter().all(|name| inserted.contains(name)), "{left_out:?}");
        assert!(left_out.contains(&"body".to_owned()));
    }
}

#[test]
fn changes_of_a_document_that_is_not_there_are_refused() {
    let (mut layouts, mut ends) = (Layouts::default(), Vec::new());
    captured::each_event(&captured::bytes("mysql/lacking.binlog"), |_, event| match &event.body {
        Body::TableMap(map) => drop(layouts.of_map(map, || TableLayout::from_log(map)).unwrap()),
        Body::Rows(rows) => {
            let layout = layouts.of_table(rows.table_id).unwrap().clone();
            let mut builder = BatchBuilder::new(info());
            let table = builder.table(layout.schema());
            builder.event(head(Op::Update, table));
            let mut cursor = RowCursor::new(&layout, *rows).unwrap();
            ends.push(cursor.write(&mut builder, &mut Scratch::default()).map(drop));
        }
        _ => {}
    });
    // A row, a change of another column, and one of the document.
    assert!(
        matches!(ends[..], [Ok(()), Ok(()), Err(DecodeError::DocumentMissing { column: 2 })]),
        "{ends:?}"
    );
}

#[test]
fn transactions_of_all_kinds_end_in_the_servers_rows() {
    compare("mysql/flow", From::Log);
    compare("mariadb/flow", From::Log);
}

#[test]
fn the_log_tells_keys_and_types() {
    let mut schemas = BTreeMap::new();
    for name in ["mysql/special", "mysql/types"] {
        captured::each_event(&captured::bytes(&format!("{name}.binlog")), |_, event| {
            if let Body::TableMap(map) = &event.body {
                let layout = TableLayout::from_log(map).unwrap();
                schemas.insert(map.table.to_owned(), layout.schema().clone());
            }
        });
    }
    let key = |table: &str| -> Vec<String> {
        let schema = &schemas[table];
        schema.key().iter().map(|at| schema.columns()[*at as usize].name.clone()).collect()
    };
    assert_eq!(key("hidden"), ["k", "id"]);
    assert_eq!(key("prefixed"), ["id", "t"]);
    assert_eq!(key("ints"), ["id"]);
    // The words of the log are the server's, but for what the log does not have: widths, zerofill, the JSON of others.
    let mut differing = Vec::new();
    for name in ["mysql/special", "mysql/types"] {
        for table in captured::tables(&format!("{name}.rows")) {
            for (column, known) in schemas[&table.name].columns().iter().zip(&table.columns) {
                assert_eq!(column.name, known.name);
                if column.source_type != known.column_type {
                    differing.push(format!("{} {}", column.source_type, known.column_type));
                }
            }
        }
    }
    assert_eq!(
        differing,
        [
            "geometrycollection geomcollection",
            "float float(7,2)",
            "double double(20,6)",
            "int unsigned int(10) unsigned zerofill",
            "tinyint tinyint(1)",
        ]
    );
}

#[test]
#[ignore = "needs logs of random statements: goldens/random.py and goldens/capture.sh make them, CAPTURED names their folder"]
fn rows_of_random_statements_are_the_servers() {
    let folder = std::env::var("CAPTURED").expect("CAPTURED is set");
    let mut seen = 0;
    for server in ["mysql", "mariadb"] {
        let files = std::fs::read_dir(format!("{folder}/{server}")).unwrap();
        for file in files.map(|file| file.unwrap().path()) {
            if file.extension().is_some_and(|end| end == "binlog") {
                let name = file.with_extension("");
                seen += compare(name.to_str().unwrap(), From::Log).seen;
                compare(name.to_str().unwrap(), From::Definition);
            }
        }
    }
    assert!(seen > 0);
}
