//! The database file: its tables, and one change in SQL.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Transaction, params};
use serde_json::{Map, Value, json};

use super::story::{Change, Kind, Table};

const SCHEMA: &str = "
    CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT, balance REAL, rev INTEGER NOT NULL);
    CREATE TABLE orders (id INTEGER PRIMARY KEY, customer INTEGER, status TEXT NOT NULL, total TEXT, note TEXT, rev INTEGER NOT NULL);
    CREATE TABLE items (order_id INTEGER, line INTEGER, sku TEXT NOT NULL, quantity INTEGER, rev INTEGER NOT NULL,
        PRIMARY KEY (order_id, line)) WITHOUT ROWID;
";
const STATUSES: [&str; 4] = ["new", "paid", "sent", "gone back"];
/// Lines an order can have: a key of `items` is split by it.
const LINES: u64 = 5;

/// A shop's database in a directory of its own.
#[derive(Debug, Clone)]
pub struct Shop {
    path: PathBuf,
}

impl Shop {
    /// Makes the database `shop.db` with its tables, in write-ahead mode.
    pub fn create(dir: &Path) -> Self {
        let shop = Self { path: dir.join("shop.db") };
        let db = shop.connect();
        db.pragma_update(None, "journal_mode", "wal").unwrap();
        db.execute_batch(SCHEMA).unwrap();
        shop
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A new connection that waits for others.
    pub fn connect(&self) -> Connection {
        connect(&self.path)
    }

    /// The one number that a query answers.
    #[track_caller]
    pub fn number(&self, sql: &str) -> i64 {
        self.connect().query_row(sql, [], |row| row.get(0)).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// Runs SQL.
    #[track_caller]
    pub fn run(&self, sql: &str) {
        self.connect().execute_batch(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
}

pub(super) fn connect(path: &Path) -> Connection {
    let db = Connection::open(path).unwrap();
    db.busy_timeout(Duration::from_secs(60)).unwrap();
    db.pragma_update(None, "synchronous", "normal").unwrap();
    db
}

/// Carries out one change.
pub(super) fn apply(db: &Transaction<'_>, change: &Change) -> rusqlite::Result<()> {
    let run = |sql: &str, params: &[&dyn rusqlite::ToSql]| db.prepare_cached(sql)?.execute(params);
    let Change { table, key, kind, rev } = *change;
    let name = table.name();
    let changed = match (kind, table) {
        (Kind::Insert, Table::Customers) => {
            let (name, email, balance) = customer(rev);
            run(
                "INSERT INTO customers VALUES (?, ?, ?, ?, ?)",
                &[&id(key), &name, &email, &balance, &id(rev)],
            )
        }
        (Kind::Update, Table::Customers) => {
            let (name, email, balance) = customer(rev);
            run(
                "UPDATE customers SET name = ?, email = ?, balance = ?, rev = ? WHERE id = ?",
                &[&name, &email, &balance, &id(rev), &id(key)],
            )
        }
        (Kind::Insert, Table::Orders) => {
            let (customer, status, total, note) = order(rev);
            run(
                "INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?)",
                &[&id(key), &customer, &status, &total, &note, &id(rev)],
            )
        }
        (Kind::Update, Table::Orders) => {
            let (customer, status, total, note) = order(rev);
            run(
                "UPDATE orders SET customer = ?, status = ?, total = ?, note = ?, rev = ? WHERE id = ?",
                &[&customer, &status, &total, &note, &id(rev), &id(key)],
            )
        }
        (Kind::Insert, Table::Items) => {
            let (order, line) = item_key(key);
            run(
                "INSERT INTO items VALUES (?, ?, ?, ?, ?)",
                &[&order, &line, &sku(rev), &id(rev % 9), &id(rev)],
            )
        }
        (Kind::Update, Table::Items) => {
            let (order, line) = item_key(key);
            run(
                "UPDATE items SET sku = ?, quantity = ?, rev = ? WHERE order_id = ? AND line = ?",
                &[&sku(rev), &id(rev % 9), &id(rev), &order, &line],
            )
        }
        (Kind::Rekey(to), Table::Items) => {
            let ((order, line), (to_order, to_line)) = (item_key(key), item_key(to));
            run(
                "UPDATE items SET order_id = ?, line = ?, rev = ? WHERE order_id = ? AND line = ?",
                &[&to_order, &to_line, &id(rev), &order, &line],
            )
        }
        (Kind::Rekey(to), _) => {
            run(&format!("UPDATE {name} SET id = ?, rev = ? WHERE id = ?"), &[&id(to), &id(rev), &id(key)])
        }
        (Kind::Delete, Table::Items) => {
            let (order, line) = item_key(key);
            run("DELETE FROM items WHERE order_id = ? AND line = ?", &[&order, &line])
        }
        (Kind::Delete, _) => run(&format!("DELETE FROM {name} WHERE id = ?"), &[&id(key)]),
    };
    assert_eq!(changed?, 1, "the story and the database disagree at {change:?}");
    Ok(())
}

fn id(number: u64) -> i64 {
    number as i64
}

fn item_key(key: u64) -> (i64, i64) {
    (id(key / LINES), id(key % LINES))
}

fn customer(rev: u64) -> (String, Option<String>, f64) {
    let email = (!rev.is_multiple_of(7)).then(|| format!("c{rev}@example.org"));
    (format!("Zoë \"{rev}\" O'Neil\n\u{1f6d2}"), email, rev as f64 / 8.0)
}

fn order(rev: u64) -> (Option<i64>, &'static str, String, String) {
    let note = if rev.is_multiple_of(500) { "long ".repeat(2_000) } else { format!("note {rev} ").repeat(8) };
    let customer = (!rev.is_multiple_of(11)).then(|| id(rev % 100));
    (customer, STATUSES[(rev % 4) as usize], format!("{}.{:02}", rev % 1000, rev % 100), note)
}

fn sku(rev: u64) -> String {
    format!("sku-{}", rev % 97)
}

/// What identifies a row in `table`, from an image of it.
pub(crate) fn key_of(table: Table, row: &Value) -> Option<u64> {
    match table {
        Table::Items => Some(row["order_id"].as_u64()? * LINES + row["line"].as_u64()?),
        _ => row["id"].as_u64(),
    }
}

/// Every row that is in the database now, as its columns' JSON values.
pub fn live_rows(db: &Connection, table: Table) -> Vec<Value> {
    let mut statement = db.prepare(&format!("SELECT * FROM {}", table.name())).unwrap();
    let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let rows = statement.query_map(params![], |row| {
        let mut columns = Map::new();
        for (at, name) in names.iter().enumerate() {
            let value = match row.get_ref(at)? {
                ValueRef::Null => Value::Null,
                ValueRef::Integer(number) => json!(number),
                ValueRef::Real(number) => json!(number),
                ValueRef::Text(text) => json!(std::str::from_utf8(text).unwrap()),
                ValueRef::Blob(_) => panic!("the shop has no blobs"),
            };
            columns.insert(name.clone(), value);
        }
        Ok(Value::Object(columns))
    });
    rows.unwrap().map(Result::unwrap).collect()
}
