//! Random rows of every type: what a snapshot has, what the log has and what the server prints are the same.

#[path = "../decode/text.rs"]
mod text;

use std::collections::BTreeMap;
use std::process::Command;

use deltaforge_model::value::CellKind;
use deltaforge_model::{Op, Row};
use deltaforge_testkit::mysql::Flavour;
use deltaforge_testkit::random::{Random, seed};
use serde_json::json;

use crate::harness::{Db, Reader};
use text::Shown;

/// A row's cells, as batches have them.
type Cells = Vec<(CellKind, Vec<u8>)>;

/// The rows of a table by their key, and each column as the server prints a cell of it.
#[derive(Default)]
struct Table {
    rows: BTreeMap<i64, Cells>,
    shown: BTreeMap<i64, Vec<Shown>>,
}

/// Rows by table.
#[derive(Default)]
struct Tables(BTreeMap<String, Table>);

impl Tables {
    fn put(&mut self, table: &deltaforge_model::TableSchema, row: Row<'_>) {
        let id = match row.cell(0) {
            deltaforge_model::Cell::Int(id) => id,
            other => panic!("{other:?}"),
        };
        let kept = self.0.entry(table.name().to_owned()).or_default();
        let cells = kept.rows.entry(id).or_insert_with(|| vec![(CellKind::Absent, Vec::new()); row.len()]);
        let shown = kept.shown.entry(id).or_insert_with(|| vec![Shown::Null; row.len()]);
        for (at, column) in table.columns().iter().enumerate() {
            let (kind, bytes) = row.raw(at);
            if kind != CellKind::Unavailable {
                cells[at] = (kind, bytes.to_vec());
                shown[at] = Shown::cell(&row.cell(at), &column.source_type.to_lowercase());
            }
        }
    }

    fn remove(&mut self, table: &str, row: Row<'_>) {
        if let deltaforge_model::Cell::Int(id) = row.cell(0) {
            let table = self.0.get_mut(table).unwrap();
            table.rows.remove(&id);
            table.shown.remove(&id);
        }
    }
}

/// What a column's cells are asked for as; see `text_of` in goldens/capture.sh.
fn asked(name: &str, column_type: &str) -> String {
    let is = |words: &[&str]| words.iter().any(|word| column_type.contains(word));
    let labelled = column_type.starts_with("enum") || column_type.starts_with("set");
    if !labelled && is(&["blob", "binary", "vector", "geo", "point", "linestring", "polygon"]) {
        return format!("HEX({name})");
    }
    if !labelled && (is(&["int"]) || column_type.starts_with("bit") || column_type.starts_with("year")) {
        return format!("{name}+0");
    }
    if column_type.starts_with("float") || column_type.starts_with("double") {
        return format!("{name}+0e0");
    }
    if labelled || is(&["char", "text"]) || column_type.starts_with("json") {
        return format!("HEX(CONVERT({name} USING utf8mb4))");
    }
    name.to_owned()
}

async fn one_form(flavour: Flavour, seed: u64) {
    let db = Db::shared(flavour);
    let mut stream = db.reader().await;
    let server = if flavour == Flavour::MySql { "mysql" } else { "mariadb" };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/goldens/random.py");
    let statements = Command::new("python3").args([script, &seed.to_string(), server]).output().unwrap();
    assert!(statements.status.success(), "{}", String::from_utf8_lossy(&statements.stderr));
    db.run(&String::from_utf8(statements.stdout).unwrap());
    db.run("CREATE TABLE marker (id INT PRIMARY KEY); INSERT INTO marker VALUES (1)");

    let mut logged = Tables::default();
    'log: loop {
        let batch = stream.batch().await.unwrap().batch;
        for event in batch.events() {
            let table = event.table();
            match event.op() {
                _ if table.name() == "marker" && event.op() == Op::Create => break 'log,
                Op::Create | Op::Update => logged.put(table, event.after().unwrap()),
                Op::Delete => logged.remove(table.name(), event.before().unwrap()),
                _ => {}
            }
        }
    }
    let mut config = db.config();
    config["tables"] = json!([format!("{}.r%", db.name)]);
    config["snapshot"] = json!({"mode": "initial", "chunk_size": 70});
    let mut reader = Reader::connect(config, None).await.unwrap();
    let mut copied = Tables::default();
    let all: usize = logged.0.values().map(|table| table.rows.len()).sum();
    let mut count = 0;
    while count < all {
        for event in reader.batch().await.unwrap().batch.events().filter(|event| event.op() == Op::Read) {
            copied.put(event.table(), event.after().unwrap());
            count += 1;
        }
    }

    assert_eq!(copied.0.len(), 3);
    for (name, table) in &copied.0 {
        let columns = db.run(&format!(
            "SELECT column_name, column_type FROM information_schema.columns WHERE table_schema = '{}' AND table_name = \
             '{name}' ORDER BY ordinal_position",
            db.name
        ));
        let list: Vec<String> = columns.iter().map(|column| asked(&column[0], &column[1])).collect();
        let own = db.run(&format!("SET time_zone = '+00:00'; SELECT {} FROM {name}", list.join(", ")));
        assert_eq!(own.len(), table.rows.len());
        for row in own {
            let id: i64 = row[0].parse().unwrap();
            for (at, (text, column)) in row.iter().zip(&columns).enumerate() {
                let place = format!("{flavour:?}, seed {seed}: {name}.{} {} of {id}", column[0], column[1]);
                let (ours, logs) = (&table.rows[&id][at], &logged.0[name].rows[&id][at]);
                assert_eq!(ours, logs, "the snapshot's and the log's: {place}");
                // MariaDB's JSON is a text to the server.
                let (shown, expected) = (&table.shown[&id][at], Shown::server(text, &column[1]));
                let same = match (shown, &expected) {
                    (Shown::Json(json), Shown::Text(text)) => json == text,
                    (shown, expected) => shown.matches(expected),
                };
                assert!(same, "{shown:?} and the server's {expected:?}: {place}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_has_one_form_in_snapshot_log_and_server() {
    let mut random = Random::new(seed("a_value_has_one_form_in_snapshot_log_and_server"));
    for flavour in Flavour::BOTH {
        for _ in 0..3 {
            one_form(flavour, random.below(1 << 32)).await;
        }
    }
}
