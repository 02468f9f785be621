//! Copies of existing rows, in step with the log.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use deltaforge_engine::batcher::BatchLimits;
use deltaforge_engine::source::{SourceContext, SourceFactory};
use deltaforge_model::{Cell, Event, Op, Position, Row, SnapshotMark};
use deltaforge_source_mysql::MysqlSource;
use deltaforge_testkit::mysql::Flavour;
use deltaforge_testkit::random::{Random, seed};
use deltaforge_testkit::wait;
use serde_json::{Value, json};

use crate::harness::{Db, Reader, context};

fn with_snapshot(db: &Db<'_>, mode: &str) -> Value {
    let mut config = db.config();
    config["snapshot"] = json!({"mode": mode, "chunk_size": 10, "max_parallel_tables": 2});
    config
}

fn of_at_most(events: usize) -> BatchLimits {
    BatchLimits { max_events: events, ..BatchLimits::default() }
}

/// The cells of a row but the first ones, as text.
fn text(row: &Row<'_>, from: usize) -> String {
    let cells = (from..row.len()).map(|at| format!("{:?}", row.cell(at)));
    cells.collect::<Vec<_>>().join(" ")
}

fn int(row: &Row<'_>, at: usize) -> i64 {
    match row.cell(at) {
        Cell::Int(number) => number,
        other => panic!("{other:?}"),
    }
}

/// What a consumer has who keeps the last row of every key.
#[derive(Default)]
struct Replica {
    rows: BTreeMap<(String, i64), String>,
    ids: HashSet<String>,
    copied: usize,
}

impl Replica {
    fn take(&mut self, event: &Event<'_>) {
        assert!(event.op() == Op::Heartbeat || self.ids.insert(event.id().to_string()), "an id twice");
        let name = event.table().name().to_owned();
        match event.op() {
            Op::Create | Op::Update | Op::Read => {
                let row = event.after().unwrap();
                self.copied += usize::from(event.op() == Op::Read);
                self.rows.insert((name, int(&row, 0)), text(&row, 1));
            }
            Op::Delete => drop(self.rows.remove(&(name, int(&event.before().unwrap(), 0)))),
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_there_come_first_then_changes() {
    for flavour in Flavour::BOTH {
        let db = Db::shared(flavour);
        db.run(
            "CREATE TABLE t (id INT PRIMARY KEY, v TEXT); INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, NULL);
             CREATE TABLE keyless (a INT); INSERT INTO keyless VALUES (7), (7); CREATE TABLE nothing (a INT)",
        );
        let mut reader = Reader::connect(with_snapshot(&db, "initial"), None).await.unwrap();
        let mut lines = Vec::new();
        let mut marks = Vec::new();
        while lines.len() < 5 {
            let batch = reader.batch().await.unwrap().batch;
            for event in batch.events().filter(|event| event.op() == Op::Read) {
                assert!(event.is_last() && event.transaction().is_none());
                marks.push(event.snapshot());
                lines.push(format!("{} {}", event.table().name(), text(&event.after().unwrap(), 0)));
            }
        }
        lines.sort();
        let expected = [
            "keyless Int(7)",
            "keyless Int(7)",
            "t Int(1) Text(\"a\")",
            "t Int(2) Text(\"b\")",
            "t Int(3) Null",
        ];
        assert_eq!(lines, expected);
        assert_eq!(marks[0], SnapshotMark::First);
        assert!(marks[1..4].iter().all(|mark| *mark == SnapshotMark::True), "{marks:?}");
        db.run("UPDATE t SET v = 'z' WHERE id = 1");
        assert_eq!(reader.lines(1).await, ["u t [id=1 v='a'] id=1 v='z'"]);
        // Another start goes on behind it, without another copy.
        let mut again = Reader::connect(with_snapshot(&db, "initial"), reader.through.clone()).await.unwrap();
        db.run("DELETE FROM t WHERE id = 3");
        assert_eq!(again.lines(1).await, ["d t [id=3 v=NULL]"]);
        let mut again = Reader::connect(with_snapshot(&db, "always"), again.through.clone()).await.unwrap();
        let mut rows = again.lines(4).await;
        rows.sort();
        assert_eq!(rows, ["r keyless a=7", "r keyless a=7", "r t id=1 v='z'", "r t id=2 v='b'"]);
    }
}

/// What is kept of a pipeline that is stopped before its first checkpoint.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_from_where_the_first_batch_begins_copies_all() {
    for flavour in Flavour::BOTH {
        let db = Db::shared(flavour);
        fill(&db);
        let mut reader = Reader::connect(with_snapshot(&db, "initial"), None).await.unwrap();
        let begins = reader.batch().await.unwrap().covers.from;
        drop(reader);
        db.run("UPDATE t SET v = 'new' WHERE id = 7");
        let mut reader = Reader::connect(with_snapshot(&db, "initial"), Some(begins)).await.unwrap();
        db.run("INSERT INTO t VALUES (1000, 'end')");
        let mut replica = Replica::default();
        while replica.rows.len() < 201 {
            reader.batch().await.unwrap().batch.events().for_each(|event| replica.take(&event));
        }
        assert_eq!(replica.rows, expected(&db));
        assert!(replica.copied >= 199, "{}", replica.copied);
    }
}

/// Someone who changes rows all the time, in transactions of several.
fn writer(db: &Db<'_>, seed: u64, statements: usize) -> String {
    let mut random = Random::new(seed);
    let mut sql = format!("USE {};\n", db.name);
    for number in 0..statements {
        sql.push_str("BEGIN;\n");
        for _ in 0..1 + random.below(4) {
            let (id, table) = (random.below(120), ["t", "u"][random.below(2) as usize]);
            sql.push_str(&match random.below(4) {
                0 => format!("DELETE FROM {table} WHERE id = {id};\n"),
                1 => format!("UPDATE IGNORE {table} SET id = {} WHERE id = {id};\n", random.below(120)),
                2 => format!("UPDATE {table} SET v = 'n{number}' WHERE id >= {id} AND id < {id} + 3;\n"),
                _ => format!("REPLACE INTO {table} VALUES ({id}, 'n{number}');\n"),
            });
        }
        sql.push_str(if random.chance(10) { "ROLLBACK;\n" } else { "COMMIT;\n" });
    }
    sql
}

fn fill(db: &Db<'_>) {
    let rows: Vec<String> = (0..100).map(|id| format!("({id}, 'old')")).collect();
    let rows = rows.join(",");
    db.run(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20)); INSERT INTO t VALUES {rows};
         CREATE TABLE u (id INT PRIMARY KEY, v VARCHAR(20)); INSERT INTO u VALUES {rows}"
    ));
}

fn expected(db: &Db<'_>) -> BTreeMap<(String, i64), String> {
    let mut expected = BTreeMap::new();
    for table in ["t", "u"] {
        for row in db.run(&format!("SELECT id, v FROM {table}")) {
            expected.insert((table.to_owned(), row[0].parse().unwrap()), format!("Text({:?})", row[1]));
        }
    }
    expected
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_under_load_ends_as_the_server_is() {
    let mut random = Random::new(seed("a_copy_under_load_ends_as_the_server_is"));
    for flavour in Flavour::BOTH {
        for _ in 0..3 {
            let db = Db::shared(flavour);
            fill(&db);
            let mut session = db.server.handle().session();
            session.run(&writer(&db, random.bits(), 400));
            let mut reader = Reader::connect(with_snapshot(&db, "initial"), None).await.unwrap();
            let mut replica = Replica::default();
            // The reader is killed and goes on somewhere in the middle.
            let kill_after = 1 + random.below(150) as usize;
            let mut position: Option<Position> = None;
            while replica.copied < kill_after {
                let batch = reader.batch().await.unwrap();
                batch.batch.events().for_each(|event| replica.take(&event));
                position = Some(batch.covers.through);
                if !position.as_ref().unwrap().as_str().contains("jobs") && replica.copied > 0 {
                    break;
                }
            }
            drop(reader);
            let small = of_at_most(7);
            let mut reader =
                Reader::connect_with(with_snapshot(&db, "initial"), position, small).await.unwrap();
            drop(session);
            db.run("INSERT INTO t VALUES (1000, 'end')");
            while !replica.rows.contains_key(&("t".into(), 1000)) {
                reader.batch().await.unwrap().batch.events().for_each(|event| replica.take(&event));
            }
            assert_eq!(replica.rows, expected(&db));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_key_is_walked_from_any_row_on() {
    for flavour in Flavour::BOTH {
        let db = Db::shared(flavour);
        let mut keys = vec![
            ("INT", "n - 40"),
            ("BIGINT UNSIGNED", "18446744073709551615 - n"),
            ("DECIMAL(30,10)", "n / 7 - 3"),
            ("DOUBLE", "(n - 40) / 7e0"),
            ("FLOAT", "(n - 40) / 7e0"),
            ("DATE", "'2020-01-01' + INTERVAL n DAY"),
            ("DATETIME(6)", "'2020-01-01' + INTERVAL n * 12345678 MICROSECOND"),
            ("TIMESTAMP(3)", "'2020-01-01' + INTERVAL n * 12345678 MICROSECOND"),
            ("TIME(6)", "SEC_TO_TIME((n - 40) * 12345.678901)"),
            ("YEAR", "1950 + n"),
            ("VARCHAR(30) CHARACTER SET latin1", "CONCAT(CHAR(65 + n % 26), '''\\\\', n)"),
            ("CHAR(30) CHARACTER SET utf16", "CONCAT('ä', n)"),
            ("VARCHAR(30) COLLATE utf8mb4_bin", "CONCAT(CHAR(35 + n), ' ')"),
            ("VARBINARY(9)", "CHAR(n, 255 - n)"),
            ("BINARY(3)", "CHAR(n)"),
            ("BIT(12)", "n * 3"),
            ("ENUM('z','y','x','w','v','u','a')", "1 + n % 7"),
            ("SET('g','f','e','d','c','b','a')", "n"),
        ];
        if flavour == Flavour::MariaDb {
            keys.push((
                "UUID",
                "CONCAT('00000000-0000-0000-00', LPAD(n, 2, '0'), '-0000000000', LPAD(n, 2, '0'))",
            ));
            keys.push(("INET6", "CONCAT('::', n)"));
        }
        db.run("CREATE TABLE numbers (n INT PRIMARY KEY)");
        let numbers: Vec<String> = (0..80).map(|n| format!("({n})")).collect();
        db.run(&format!("INSERT INTO numbers VALUES {}", numbers.join(",")));
        for (at, (key, value)) in keys.iter().enumerate() {
            // Alone where its values differ, and before another column.
            db.run(&format!(
                "CREATE TABLE k{at} (n INT NOT NULL, k {key} NOT NULL, PRIMARY KEY (k, n));
                 INSERT INTO k{at} SELECT n, {value} FROM numbers"
            ));
        }
        for parallel in [false, true] {
            let mut config = db.config();
            config["tables"] = json!([format!("{}.k%", db.name)]);
            config["snapshot"] = json!({"mode": "initial", "chunk_size": 9, "intra_table_parallel": parallel, "max_parallel_chunks": 3});
            let small = of_at_most(400);
            let mut seen: BTreeMap<(String, i64), u32> = BTreeMap::new();
            let mut position = None;
            // A new reader for every batch.
            while seen.len() < keys.len() * 80 {
                let mut reader = Reader::connect_with(config.clone(), position, small).await.unwrap();
                let batch = reader.batch().await.unwrap();
                for event in batch.batch.events().filter(|event| event.op() == Op::Read) {
                    *seen
                        .entry((event.table().name().to_owned(), int(&event.after().unwrap(), 0)))
                        .or_default() += 1;
                }
                position = Some(batch.covers.through);
            }
            let twice: Vec<_> = seen.iter().filter(|(_, count)| **count != 1).collect();
            assert!(twice.is_empty(), "{flavour:?}: {twice:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_altered_while_it_is_copied_comes_whole() {
    for flavour in Flavour::BOTH {
        let db = Db::shared(flavour);
        fill(&db);
        let small = of_at_most(10);
        let mut config = with_snapshot(&db, "initial");
        config["snapshot"]["max_parallel_tables"] = json!(1);
        let mut reader = Reader::connect_with(config, None, small).await.unwrap();
        let mut replica = Replica::default();
        reader.batch().await.unwrap().batch.events().for_each(|event| replica.take(&event));
        db.run("ALTER TABLE u ADD w INT DEFAULT 5; INSERT INTO u VALUES (500, 'new', 6)");
        while replica.copied < 200 || !replica.rows.contains_key(&("u".into(), 500)) {
            reader.batch().await.unwrap().batch.events().for_each(|event| replica.take(&event));
        }
        // Rows that had been read before have the columns of that time.
        assert!(replica.rows[&("u".into(), 99)].starts_with("Text(\"old\")"));
        assert_eq!(replica.rows[&("u".into(), 500)], "Text(\"new\") Int(6)");
    }
}

/// Reads batches, each by a reader of its own, until so many rows were copied.
async fn copy_on(config: &Value, mut position: Option<Position>, replica: &mut Replica, rows: usize) {
    while replica.copied < rows {
        let mut reader = Reader::connect_with(config.clone(), position, of_at_most(10)).await.unwrap();
        let batch = reader.batch().await.unwrap();
        batch.batch.events().for_each(|event| replica.take(&event));
        position = reader.through.clone();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_renamed_while_it_is_copied_comes_whole() {
    for flavour in Flavour::BOTH {
        for statement in [
            "RENAME TABLE t TO a, u TO b",
            "RENAME TABLE t TO other, u TO t, other TO u",
            "ALTER TABLE t RENAME TO a, ADD w INT; ALTER TABLE u DROP PRIMARY KEY, ADD PRIMARY KEY (v, id), RENAME b",
        ] {
            let db = Db::shared(flavour);
            fill(&db);
            let mut config = with_snapshot(&db, "initial");
            config["snapshot"]["max_parallel_tables"] = json!(1);
            let mut reader = Reader::connect_with(config.clone(), None, of_at_most(10)).await.unwrap();
            let mut replica = Replica::default();
            reader.batch().await.unwrap().batch.events().for_each(|event| replica.take(&event));
            let position = reader.through.clone();
            // MariaDB's copy holds on to the name until it ends.
            let reader = (flavour == Flavour::MySql).then_some(reader);
            db.run(statement);
            drop(reader);
            copy_on(&config, position, &mut replica, 200).await;
            let rows = replica.rows.keys().map(|(_, id)| *id);
            let mut copied: BTreeMap<i64, u32> = BTreeMap::new();
            rows.for_each(|id| *copied.entry(id).or_default() += 1);
            // Of two that exchange their names, ten rows came under the one before.
            let expected = if statement.contains("other") { 190 } else { 200 };
            assert_eq!(
                (copied.len(), replica.rows.len()),
                (100, expected),
                "{flavour:?} {statement}: {copied:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_without_a_key_is_copied_however_much_it_changes() {
    for flavour in Flavour::BOTH {
        let db = Db::shared(flavour);
        db.run("CREATE TABLE t (a INT); INSERT INTO t VALUES (1), (2), (3)");
        let count = |rows: &str| {
            let counted = db.run(&format!("SELECT COUNT(*) FROM t WHERE a IN ({rows})"));
            counted[0][0].parse::<usize>().unwrap()
        };
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, server, name) = (stop.clone(), db.server.handle(), db.name.clone());
        let writer = std::thread::spawn(move || {
            let mut session = server.session();
            session.run(&format!("USE {name}"));
            while !stopped.load(Ordering::Relaxed) {
                session.run("INSERT INTO t VALUES (4)");
            }
        });
        wait::until("the writer is at work", wait::SOON, || (count("4") > 50).then_some(()));
        let mut writer = Some(writer);
        let mut reader = Reader::connect(with_snapshot(&db, "initial"), None).await.unwrap();
        let (mut copied, mut created) = (0, 0);
        let mut is_last = false;
        while !is_last {
            for event in reader.batch().await.unwrap().batch.events() {
                match event.op() {
                    Op::Read => copied += 1,
                    // What came before the copy is in it.
                    Op::Create => created += usize::from(copied > 0),
                    _ => {}
                }
                is_last |= event.after().is_some_and(|row| int(&row, 0) == 9);
            }
            if let Some(writer) = writer.take_if(|_| copied > 0) {
                stop.store(true, Ordering::Relaxed);
                writer.join().unwrap();
                db.run("INSERT INTO t VALUES (9)");
            }
        }
        assert_eq!(copied + created, count("1, 2, 3, 4, 9"), "{flavour:?}: {copied} were copied");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_start_has_one_copy_however_often_the_connection_breaks() {
    let db = Db::shared(Flavour::MariaDb);
    fill(&db);
    let config = || with_snapshot(&db, "always");
    let id = db.name.as_str();
    let connect = |run: &str, resume| {
        let context = SourceContext { run: run.into(), ..context(id, resume, of_at_most(30)) };
        Reader::connect_in(config(), context)
    };
    let mut replica = Replica::default();
    let mut position = None;
    // Three readers for the first copy, of two starts: the second one goes on with what is not finished.
    for (run, until) in [("one", 30), ("one", 90), ("two", 200)] {
        let mut reader = connect(run, position).await.unwrap();
        while replica.copied < until {
            reader.batch().await.unwrap().batch.events().for_each(|event| replica.take(&event));
        }
        position = reader.through.clone();
    }
    let mut reader = connect("two", position).await.unwrap();
    db.run("INSERT INTO t VALUES (500, 'new')");
    assert_eq!(reader.lines(1).await, ["c t id=500 v='new'"]);
    let mut reader = connect("three", reader.through.clone()).await.unwrap();
    let batch = reader.batch().await.unwrap().batch;
    assert!(batch.events().all(|event| event.op() == Op::Read));
}

#[tokio::test(flavor = "multi_thread")]
async fn positions_of_a_copy_are_ordered_by_its_rows() {
    let db = Db::shared(Flavour::MariaDb);
    fill(&db);
    let small = of_at_most(30);
    let mut reader = Reader::connect_with(with_snapshot(&db, "initial"), None, small).await.unwrap();
    let first = reader.batch().await.unwrap();
    let second = reader.batch().await.unwrap();
    let (a, b) = (&first.covers.through, &second.covers.through);
    assert_eq!(MysqlSource.compare(a, b), deltaforge_model::position::Order::Before);
    assert_eq!(MysqlSource.meet(b, a).as_ref(), Some(a));
    assert_eq!(MysqlSource.rows_through(&first.batch, a), first.batch.len());
    assert_eq!(MysqlSource.rows_through(&second.batch, a), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn generated_and_hidden_columns_are_copied_as_they_are_logged() {
    for flavour in Flavour::BOTH {
        let db = Db::shared(flavour);
        let hidden = "INVISIBLE";
        let insert = "INSERT INTO t (id, a, h) VALUES";
        db.run(&format!(
            "CREATE TABLE t (id INT PRIMARY KEY, a INT, s INT AS (a + 1) STORED, v INT AS (a * 2) VIRTUAL, h INT {hidden}, e \
             VARCHAR(9)); {insert} (1, 5, 7)"
        ));
        let mut reader = Reader::connect(with_snapshot(&db, "initial"), None).await.unwrap();
        let copied = reader.lines(1).await;
        assert_eq!(copied, ["r t id=1 a=5 s=6 v=10 h=7 e=NULL"]);
        db.run(&format!("{insert} (2, 5, 7)"));
        let logged = reader.lines(1).await;
        assert_eq!(logged, ["c t id=2 a=5 s=6 v=10 h=7 e=NULL"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_keeps_what_it_had_is_copied_as_it_is_logged() {
    let db = Db::shared(Flavour::MariaDb);
    db.run(
        "CREATE TABLE t (id INT PRIMARY KEY, v INT) WITH SYSTEM VERSIONING; INSERT INTO t VALUES (1, 1), (2, 2); DELETE FROM t WHERE id \
         = 2; CREATE TABLE e (id INT PRIMARY KEY, s TIMESTAMP(6) GENERATED ALWAYS AS ROW START, z TIMESTAMP(6) GENERATED ALWAYS AS \
         ROW END, PERIOD FOR SYSTEM_TIME (s, z)) WITH SYSTEM VERSIONING; INSERT INTO e (id) VALUES (7); UPDATE e SET id = 8",
    );
    let mut reader = Reader::connect(with_snapshot(&db, "initial"), None).await.unwrap();
    let mut rows = BTreeMap::new();
    let mut copied = 0;
    let mut schemas: BTreeMap<String, (Vec<String>, Vec<u16>)> = BTreeMap::new();
    let mut is_last = false;
    let mut changed = false;
    while !is_last {
        if copied == 4 && !std::mem::replace(&mut changed, true) {
            db.run("UPDATE t SET v = 5 WHERE id = 1; INSERT INTO e (id) VALUES (99)");
        }
        for event in reader.batch().await.unwrap().batch.events() {
            let table = event.table();
            if event.op() == Op::Heartbeat {
                continue;
            }
            copied += usize::from(event.op() == Op::Read);
            let names = table.columns().iter().map(|column| column.name.clone()).collect();
            let (names, key) =
                schemas.entry(table.name().to_owned()).or_insert((names, table.key().to_vec())).clone();
            assert_eq!((names.len(), &key[..]), (table.columns().len(), table.key()));
            let key = |row: &Row<'_>| {
                (table.name().to_owned(), format!("{:?} {:?}", row.cell(0), row.cell(names.len() - 1)))
            };
            if let Some(before) = event.before() {
                rows.remove(&key(&before));
            }
            if let Some(after) = event.after() {
                is_last |= int(&after, 0) == 99;
                rows.insert(key(&after), text(&after, 0));
            }
        }
    }
    let count = |table: &str| {
        db.run(&format!("SELECT COUNT(*) FROM {table} FOR SYSTEM_TIME ALL"))[0][0].parse::<usize>().unwrap()
    };
    let of = |name: &str| rows.keys().filter(|(table, _)| table == name).count();
    assert_eq!((of("t"), of("e")), (count("t"), count("e")), "{rows:#?}");
    assert_eq!(schemas["t"].0, ["id", "v", "row_start", "row_end"]);
}
