//! Copies that somebody asks for while the log is read.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use deltaforge_engine::batcher::BatchLimits;
use deltaforge_engine::snapshots::{Command, Snapshot, SnapshotError, SnapshotState, Table};
use deltaforge_engine::source::SourceFactory;
use deltaforge_model::{Cell, Event, Op, Row, SnapshotMark};
use deltaforge_source_mysql::MysqlSource;
use deltaforge_testkit::mysql::{Flavour, Server};
use deltaforge_testkit::random::{Random, seed};
use serde_json::{Value, json};

use crate::harness::{DEADLINE, Db, Reader};

pub fn table(db: &Db<'_>, name: &str) -> Table {
    Table { name: format!("{}.{name}", db.name), condition: None }
}

fn chosen(db: &Db<'_>, name: &str, condition: &str) -> Table {
    Table { condition: Some(condition.into()), ..table(db, name) }
}

pub fn in_chunks(db: &Db<'_>, rows: usize) -> Value {
    let mut config = db.config();
    config["snapshot"] = json!({"mode": "never", "chunk_size": rows});
    config
}

fn int(row: &Row<'_>, at: usize) -> i64 {
    match row.cell(at) {
        Cell::Int(number) => number,
        other => panic!("{other:?}"),
    }
}

/// What a consumer has who keeps the last row of every key, and never takes an older version after a newer one.
#[derive(Default)]
pub struct Replica {
    /// By table and key: version and text.
    pub rows: BTreeMap<(String, i64), (i64, String)>,
    versions: HashMap<(String, i64), i64>,
    /// Copied rows, by table.
    copied: BTreeMap<String, usize>,
    changes: usize,
    ids: HashMap<String, String>,
    marks: Vec<SnapshotMark>,
}

impl Replica {
    /// Tables are `(id, version, text)`; versions of a key only grow.
    fn take(&mut self, event: &Event<'_>) {
        let name = event.table().name().to_owned();
        let Some(row) = event.after().or(event.before()).filter(|_| event.op() != Op::Heartbeat) else {
            return;
        };
        let key = (name.clone(), int(&row, 0));
        let version = int(&row, 1);
        let what = format!("{name} {} v{version}", key.1);
        if let Some(before) = self.ids.insert(event.id().to_string(), what.clone()) {
            assert!(
                before == what
                    || event.op() == Op::Read && before.split(" v").next() == what.split(" v").next(),
                "{before}, {what}"
            );
        }
        let newest = self.versions.entry(key.clone()).or_insert(version);
        assert!(version >= *newest, "{what} after v{newest}");
        *newest = version;
        match event.op() {
            Op::Delete => drop(self.rows.remove(&key)),
            op => {
                if op == Op::Read {
                    *self.copied.entry(name).or_default() += 1;
                    self.marks.push(event.snapshot());
                } else {
                    self.changes += 1;
                }
                self.rows.insert(key, (version, format!("{:?}", row.cell(2))));
            }
        }
    }

    pub fn copied(&self, table: &str) -> usize {
        self.copied.get(table).copied().unwrap_or(0)
    }
}

/// What the server has.
fn expected(db: &Db<'_>, tables: &[&str]) -> BTreeMap<(String, i64), (i64, String)> {
    let mut expected = BTreeMap::new();
    for table in tables {
        for row in db.run(&format!("SELECT id, version, v FROM {table}")) {
            let text = format!("Text({:?})", row[2]);
            expected.insert((table.to_string(), row[0].parse().unwrap()), (row[1].parse().unwrap(), text));
        }
    }
    expected
}

pub fn fill(db: &Db<'_>, rows: u32) {
    for table in ["t", "u"] {
        let values: Vec<String> = (0..rows).map(|id| format!("({id}, 1, 'old')")).collect();
        db.run(&format!(
            "CREATE TABLE {table} (id INT PRIMARY KEY, version BIGINT, v VARCHAR(20)); INSERT INTO {table} VALUES {}",
            values.join(",")
        ));
    }
}

/// Someone who changes rows all the time. Versions are numbers of statements, so they only grow.
fn writer(db: &Db<'_>, seed: u64, rows: u64, statements: u64) -> String {
    let mut random = Random::new(seed);
    let mut sql = format!("USE {};\n", db.name);
    for number in 2..statements + 2 {
        let (id, table) = (random.below(rows), ["t", "u"][random.below(2) as usize]);
        sql.push_str(&match random.below(5) {
            0 => format!("BEGIN; UPDATE {table} SET version = {number} WHERE id = {id}; DELETE FROM {table} WHERE id = {id}; COMMIT;\n"),
            1 | 2 => format!(
                "UPDATE {table} SET version = {number}, v = 'n{number}' WHERE id >= {id} AND id < {id} + 3;\n"
            ),
            3 => format!("REPLACE INTO {table} VALUES ({id}, {number}, 'r{number}'); DO SLEEP(0.002);\n"),
            _ => format!(
                "BEGIN; INSERT INTO {table} VALUES ({id}, {number}, 'i{number}') ON DUPLICATE KEY UPDATE version = {number}; ROLLBACK;\n"
            ),
        });
    }
    sql
}

impl Reader {
    pub async fn ask(&self, tables: Vec<Table>) -> u64 {
        self.snapshots.ask(tables, "test").await.unwrap().id
    }

    pub async fn state(&self, id: u64) -> Snapshot {
        self.snapshots.get(id).await.unwrap()
    }

    pub async fn take(&mut self, replica: &mut Replica) {
        self.batch().await.unwrap().batch.events().for_each(|event| replica.take(&event));
    }

    /// Reads until a snapshot has ended.
    pub async fn until_ended(&mut self, id: u64, replica: &mut Replica) -> Snapshot {
        loop {
            self.take(replica).await;
            self.confirm().await;
            let state = self.state(id).await;
            if state.ended_ms.is_some() {
                return state;
            }
        }
    }
}

async fn under_load(server: &Server, random: &mut Random) {
    for _ in 0..2 {
        let db = Db::of(server);
        fill(&db, 300);
        let config = in_chunks(&db, 20);
        let mut reader = Reader::connect(config.clone(), None).await.unwrap();
        let start = reader.through.clone();
        let mut session = server.handle().session();
        session.run(&writer(&db, random.bits(), 350, 450));
        let mut replica = Replica::default();
        while replica.changes < 50 {
            reader.take(&mut replica).await;
        }
        let id = reader.ask(vec![table(&db, "t"), table(&db, "u")]).await;
        // Killed in the middle, and again, with a rest that was read and is not checkpointed.
        for copied in [40, 250] {
            let mut kept = reader.through.clone().or(start.clone());
            let mut back = random.below(4);
            // Of a busy table the log says much itself: there may be fewer to copy.
            while replica.copied("t") < copied && replica.copied("u") == 0 {
                reader.take(&mut replica).await;
                back -= u64::from(back > 0);
                if back == 0 {
                    (kept, back) = (reader.through.clone(), random.below(4));
                }
            }
            let small = BatchLimits { max_events: 7, ..BatchLimits::default() };
            // What comes again is older than what came: a consumer takes it by its id.
            replica.versions.clear();
            reader = Reader::connect_with(config.clone(), kept, small).await.unwrap();
            assert!(reader.state(id).await.ended_ms.is_none());
        }
        let ended = reader.until_ended(id, &mut replica).await;
        assert_eq!((ended.state, &ended.why[..]), (SnapshotState::Done, &[][..]));
        assert!(ended.started_ms.unwrap() >= ended.asked_ms && ended.ended_ms >= ended.started_ms);
        assert!(ended.rows > 0, "{ended:?}");
        drop(session);
        db.run("INSERT INTO t VALUES (1000, 9999, 'end')");
        while !replica.rows.contains_key(&("t".into(), 1000)) {
            reader.take(&mut replica).await;
        }
        assert_eq!(replica.rows, expected(&db, &["t", "u"]));
        assert_eq!(replica.marks[0], SnapshotMark::First);
        // It is done for good, whoever reads on.
        let through = reader.through.clone();
        drop(reader);
        let mut reader = Reader::connect(config, through).await.unwrap();
        db.run("DELETE FROM t WHERE id = 1000");
        let line = reader.lines(1).await;
        assert!(line[0].starts_with("d t"), "{line:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_beside_the_log_ends_as_the_server_is_and_never_goes_back() {
    let mut random = Random::new(seed("a_copy_beside_the_log_ends_as_the_server_is_and_never_goes_back"));
    for flavour in Flavour::BOTH {
        under_load(Server::shared(flavour), &mut random).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_beside_the_log_needs_no_gtids() {
    let mut random = Random::new(seed("a_copy_beside_the_log_needs_no_gtids"));
    let server = Server::start_with(Flavour::MySql, "--gtid-mode=OFF --enforce-gtid-consistency=OFF");
    under_load(&server, &mut random).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_beside_the_log_writes_nothing() {
    for flavour in Flavour::BOTH {
        let server = Server::start(flavour);
        let db = Db::of(&server);
        fill(&db, 30);
        server.account("reader", "BY 'pass'", "SELECT, REPLICATION SLAVE, REPLICATION CLIENT");
        server.sql("SET GLOBAL read_only = 1");
        let mut config = in_chunks(&db, 7);
        config["dsn"] = json!(server.dsn_of("reader", "pass"));
        let mut reader = Reader::connect(config, None).await.unwrap();
        let id = reader.ask(vec![table(&db, "t")]).await;
        let mut replica = Replica::default();
        let ended = reader.until_ended(id, &mut replica).await;
        assert_eq!((ended.state, ended.rows), (SnapshotState::Done, 30));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_go_on_between_chunks() {
    for flavour in Flavour::BOTH {
        let db = Db::shared(flavour);
        fill(&db, 200);
        let mut reader = Reader::connect(in_chunks(&db, 10), None).await.unwrap();
        reader.ask(vec![table(&db, "t")]).await;
        let mut replica = Replica::default();
        let mut between = 0;
        for number in 0..10 {
            let (copied, changes) = (replica.copied("t"), replica.changes);
            db.run(&format!("REPLACE INTO u VALUES (500, {number}, 'x')"));
            while replica.changes == changes {
                reader.take(&mut replica).await;
            }
            // A change waits for a chunk or two, not for the copy.
            assert!(replica.copied("t") - copied <= 40, "{}", replica.copied("t") - copied);
            between += usize::from(replica.copied("t") > 0 && replica.copied("t") < 200);
        }
        assert!(between > 3, "{between}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_pauses_goes_on_and_stops() {
    for flavour in Flavour::BOTH {
        let db = Db::shared(flavour);
        fill(&db, 200);
        let config = in_chunks(&db, 10);
        let mut reader = Reader::connect(config.clone(), None).await.unwrap();
        let mut replica = Replica::default();
        let first = reader.ask(vec![table(&db, "t")]).await;
        while replica.copied("t") < 30 {
            reader.take(&mut replica).await;
        }
        let running = reader.state(first).await;
        assert_eq!(running.state, SnapshotState::Running);
        assert_eq!(running.table, Some(table(&db, "t").name));
        assert!(running.rows >= 20 && running.key.len() == 1, "{running:?}");
        let paused = reader.snapshots.command(first, Command::Pause).await.unwrap();
        assert_eq!(paused.state, SnapshotState::Paused);
        // The next one does not wait for it.
        let second = reader.ask(vec![table(&db, "u")]).await;
        assert!(second > first);
        let ended = reader.until_ended(second, &mut replica).await;
        assert_eq!((ended.state, ended.rows), (SnapshotState::Done, 200));
        let copied = replica.copied("t");
        assert!(copied < 60, "{copied}");
        // A pause outlives its reader.
        let mut reader = Reader::connect(config, reader.through.clone()).await.unwrap();
        db.run("REPLACE INTO u VALUES (500, 1, 'x')");
        while !replica.rows.contains_key(&("u".into(), 500)) {
            reader.take(&mut replica).await;
        }
        assert_eq!((reader.state(first).await.state, replica.copied("t")), (SnapshotState::Paused, copied));
        reader.snapshots.command(first, Command::Resume).await.unwrap();
        while replica.copied("t") < copied + 20 {
            reader.take(&mut replica).await;
        }
        let stopped = reader.snapshots.command(first, Command::Stop).await.unwrap();
        assert_eq!(stopped.state, SnapshotState::Stopped);
        assert!(stopped.rows < 200, "{stopped:?}");
        // The log goes on, and rows soon do not.
        let changes = replica.changes;
        db.run("REPLACE INTO u VALUES (501, 1, 'x'), (502, 1, 'x')");
        while replica.changes < changes + 2 {
            reader.take(&mut replica).await;
        }
        let copied = replica.copied("t");
        assert!(copied < 200);
        let error = reader.snapshots.command(first, Command::Resume).await.unwrap_err();
        assert!(matches!(error, SnapshotError::Ended { state: "stopped", .. }), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_chosen_rows_are_copied() {
    for flavour in Flavour::BOTH {
        let db = Db::shared(flavour);
        fill(&db, 200);
        db.run("UPDATE t SET v = 'it''s \\\\ new' WHERE id IN (3, 77, 199)");
        let mut reader = Reader::connect(in_chunks(&db, 10), None).await.unwrap();
        let tables = vec![
            chosen(&db, "t", "V = 'it''s \\ new' OR id between 100 and 101"),
            chosen(&db, "u", "id < 0"),
        ];
        MysqlSource.check_snapshot(&db.config(), &tables).await.unwrap();
        let id = reader.ask(tables).await;
        let mut replica = Replica::default();
        let ended = reader.until_ended(id, &mut replica).await;
        assert_eq!((ended.state, ended.rows), (SnapshotState::Done, 5));
        let keys: Vec<i64> = replica.rows.keys().map(|(_, id)| *id).collect();
        assert_eq!(keys, [3, 77, 100, 101, 199]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_altered_in_the_middle_is_copied_anew_and_said_so() {
    for flavour in Flavour::BOTH {
        let db = Db::shared(flavour);
        fill(&db, 100);
        let small = BatchLimits { max_events: 5, ..BatchLimits::default() };
        let mut reader = Reader::connect_with(in_chunks(&db, 10), None, small).await.unwrap();
        let id = reader.ask(vec![table(&db, "t")]).await;
        let mut replica = Replica::default();
        while replica.copied("t") < 30 {
            reader.take(&mut replica).await;
        }
        db.run("ALTER TABLE t ADD w INT DEFAULT 5");
        let before = replica.copied("t");
        let ended = reader.until_ended(id, &mut replica).await;
        assert_eq!(ended.state, SnapshotState::Done);
        assert!(ended.why.len() == 1 && ended.why[0].contains("began anew"), "{ended:?}");
        assert!(replica.copied("t") - before >= 100, "{before} and {}", replica.copied("t"));
        assert_eq!(replica.rows, expected(&db, &["t"]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_gone_or_loses_its_key_fails_and_the_others_are_copied() {
    for flavour in Flavour::BOTH {
        for (statement, why) in [
            ("DROP TABLE t", "dropped or renamed"),
            ("RENAME TABLE t TO v", "dropped or renamed"),
            ("ALTER TABLE t DROP PRIMARY KEY", "neither a primary key"),
        ] {
            let db = Db::shared(flavour);
            fill(&db, 100);
            let small = BatchLimits { max_events: 5, ..BatchLimits::default() };
            let mut reader = Reader::connect_with(in_chunks(&db, 10), None, small).await.unwrap();
            let id = reader.ask(vec![table(&db, "t"), table(&db, "u")]).await;
            let mut replica = Replica::default();
            while replica.copied("t") < 30 {
                reader.take(&mut replica).await;
            }
            db.run(statement);
            let ended = reader.until_ended(id, &mut replica).await;
            assert_eq!(ended.state, SnapshotState::Failed, "{statement}");
            assert!(ended.why[0].contains(why) && ended.why[0].contains("in part"), "{ended:?}");
            assert_eq!(replica.copied("u"), 100);
            // The stream has not noticed.
            db.run("REPLACE INTO u VALUES (500, 1, 'x')");
            while !replica.rows.contains_key(&("u".into(), 500)) {
                reader.take(&mut replica).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_taken_out_of_the_configuration_fails_and_the_others_are_copied() {
    for flavour in Flavour::BOTH {
        let db = Db::shared(flavour);
        fill(&db, 100);
        let mut reader = Reader::connect(in_chunks(&db, 10), None).await.unwrap();
        let id = reader.ask(vec![table(&db, "t"), table(&db, "u")]).await;
        let mut replica = Replica::default();
        while replica.copied("t") < 30 {
            reader.take(&mut replica).await;
        }
        let mut config = in_chunks(&db, 10);
        config["tables"] = json!([table(&db, "u").name]);
        let mut reader = Reader::connect(config, reader.through.clone()).await.unwrap();
        let copied = replica.copied("t");
        let ended = reader.until_ended(id, &mut replica).await;
        assert_eq!(ended.state, SnapshotState::Failed);
        assert!(ended.why.len() == 1 && ended.why[0].contains("in part"), "{ended:?}");
        assert!(ended.why[0].contains("not capture it any more"), "{ended:?}");
        assert_eq!((replica.copied("t"), replica.copied("u")), (copied, 100));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_was_given_up_and_is_copied_after_a_kill_is_no_failure() {
    let db = Db::shared(Flavour::MySql);
    fill(&db, 100);
    let mut reader = Reader::connect(in_chunks(&db, 10), None).await.unwrap();
    let id = reader.ask(vec![table(&db, "t"), table(&db, "u")]).await;
    let mut replica = Replica::default();
    while replica.copied("t") < 30 {
        reader.take(&mut replica).await;
    }
    let kept = reader.through.clone();
    let mut without = in_chunks(&db, 10);
    without["tables"] = json!([table(&db, "u").name]);
    let mut reader = Reader::connect(without, kept.clone()).await.unwrap();
    while reader.state(id).await.why.is_empty() {
        reader.take(&mut replica).await;
    }
    // Killed before it is checkpointed; and the table is captured again.
    let mut reader = Reader::connect(in_chunks(&db, 10), kept).await.unwrap();
    let ended = reader.until_ended(id, &mut replica).await;
    assert_eq!((ended.state, &ended.why[..]), (SnapshotState::Done, &[][..]));
    assert!(replica.copied("t") >= 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_had_ended_is_not_copied_again_because_the_stream_began_anew() {
    let db = Db::shared(Flavour::MySql);
    fill(&db, 10);
    let config = in_chunks(&db, 10);
    let mut reader = Reader::connect(config.clone(), None).await.unwrap();
    let id = reader.ask(vec![table(&db, "t")]).await;
    reader.until_ended(id, &mut Replica::default()).await;
    // Its checkpoints were deleted, and then it was started once more.
    let mut reader = Reader::connect(config.clone(), None).await.unwrap();
    let mut replica = Replica::default();
    db.run("REPLACE INTO u VALUES (500, 1, 'x')");
    while replica.changes == 0 {
        reader.take(&mut replica).await;
    }
    let reader = Reader::connect(config, reader.through.clone()).await.unwrap();
    let shown = reader.state(id).await;
    assert_eq!((shown.state, &shown.why[..]), (SnapshotState::Done, &[][..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_had_ended_is_copied_again_where_a_sink_lost_it() {
    for flavour in Flavour::BOTH {
        let db = Db::shared(flavour);
        fill(&db, 100);
        let config = in_chunks(&db, 10);
        let mut reader = Reader::connect(config.clone(), None).await.unwrap();
        let mut lost = Replica::default();
        db.run("REPLACE INTO u VALUES (500, 1, 'x')");
        while lost.changes == 0 {
            reader.take(&mut lost).await;
        }
        let before = reader.through.clone();
        let id = reader.ask(vec![table(&db, "t")]).await;
        while lost.copied("t") < 30 {
            reader.take(&mut lost).await;
        }
        let within = reader.through.clone();
        let ids = reader.until_ended(id, &mut lost).await;
        assert_eq!((ids.state, lost.copied("t")), (SnapshotState::Done, 100));
        // It had some of the rows, and then none of them.
        for (position, at_least) in [(within, 60), (before, 100)] {
            let mut replica = Replica::default();
            let mut reader = Reader::connect(config.clone(), position).await.unwrap();
            assert_eq!(reader.state(id).await.ended_ms, None);
            let ended = reader.until_ended(id, &mut replica).await;
            assert_eq!(ended.state, SnapshotState::Done);
            assert!(ended.why.len() == 1 && ended.why[0].contains("copied again"), "{ended:?}");
            assert!(replica.copied("t") >= at_least, "{}", replica.copied("t"));
            assert!(replica.ids.keys().all(|id| lost.ids.contains_key(id)), "they have the same ids");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_another_one_takes_the_place_of_in_a_pause_is_copied_anew_by_the_same_condition() {
    for flavour in Flavour::BOTH {
        let db = Db::shared(flavour);
        fill(&db, 100);
        // The same columns, and rows that the log knows under another name.
        db.run(
            "CREATE TABLE w LIKE t; INSERT INTO w SELECT id + 1000, 2, 'new' FROM t; UPDATE w SET v = 'other' WHERE id >= 1050",
        );
        let small = BatchLimits { max_events: 5, ..BatchLimits::default() };
        let mut reader = Reader::connect_with(in_chunks(&db, 10), None, small).await.unwrap();
        let id = reader.ask(vec![chosen(&db, "t", "v <> 'other'")]).await;
        let mut replica = Replica::default();
        while replica.copied("t") < 30 {
            reader.take(&mut replica).await;
        }
        reader.snapshots.command(id, Command::Pause).await.unwrap();
        db.run("RENAME TABLE t TO x, w TO t; REPLACE INTO u VALUES (500, 1, 'x')");
        while !replica.rows.contains_key(&("u".into(), 500)) {
            reader.take(&mut replica).await;
        }
        let before = replica.copied("t");
        reader.snapshots.command(id, Command::Resume).await.unwrap();
        let ended = reader.until_ended(id, &mut replica).await;
        assert_eq!(ended.state, SnapshotState::Done);
        assert!(ended.why.len() == 1 && ended.why[0].contains("began anew"), "{ended:?}");
        assert_eq!(replica.copied("t") - before, 50);
        let new: Vec<i64> = replica.rows.keys().map(|(_, id)| *id).filter(|id| *id >= 1000).collect();
        assert_eq!(new, (1000..1050).collect::<Vec<_>>());
        // Nobody asked for the one that went.
        assert_eq!((replica.copied("x"), replica.copied("w")), (0, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_which_the_log_says_a_part_only_is_copied_however_much_it_changes() {
    for flavour in Flavour::BOTH {
        let db = Db::shared(flavour);
        fill(&db, 100);
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, server, name) = (stop.clone(), db.server.handle(), db.name.clone());
        let writer = std::thread::spawn(move || {
            let mut session = server.session();
            session.run(&format!("USE {name}; SET SESSION binlog_row_image = 'MINIMAL'"));
            for number in 2.. {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                session.run(&format!("UPDATE t SET version = {number} WHERE id IN (3, 77)"));
            }
        });
        let mut reader = Reader::connect(in_chunks(&db, 40), None).await.unwrap();
        let mut lines = 0;
        while lines < 50 {
            lines += reader.batch().await.unwrap().batch.len();
        }
        let id = reader.ask(vec![table(&db, "t")]).await;
        let mut copied: BTreeMap<i64, i64> = BTreeMap::new();
        let mut updates = 0;
        let ended = loop {
            for event in reader.batch().await.unwrap().batch.events() {
                match event.op() {
                    Op::Read => {
                        let row = event.after().unwrap();
                        let version = int(&row, 1);
                        assert_eq!(copied.insert(int(&row, 0), version), None);
                        // What the log said before is not newer.
                        assert!(version == 1 || version >= updates, "{version} after {updates}");
                    }
                    Op::Update => updates = int(&event.after().unwrap(), 1),
                    _ => {}
                }
            }
            reader.confirm().await;
            let state = reader.state(id).await;
            if state.ended_ms.is_some() {
                break state;
            }
        };
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap();
        assert_eq!((ended.state, &ended.why[..]), (SnapshotState::Done, &[][..]));
        assert_eq!(copied.len(), 100);
        assert!(copied[&3] > 1 && copied[&77] > 1, "{copied:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_a_table_had_are_chosen_too() {
    let db = Db::shared(Flavour::MariaDb);
    db.run(
        "CREATE TABLE t (id INT PRIMARY KEY, v INT) WITH SYSTEM VERSIONING; INSERT INTO t VALUES (1, 1), (2, 1), (3, 1); UPDATE t SET v \
         = 2 WHERE id < 3; DELETE FROM t WHERE id = 3",
    );
    let mut reader = Reader::connect(in_chunks(&db, 1), None).await.unwrap();
    let tables = vec![chosen(&db, "t", "v = 1")];
    MysqlSource.check_snapshot(&db.config(), &tables).await.unwrap();
    let id = reader.ask(tables).await;
    let mut copied = Vec::new();
    while reader.state(id).await.ended_ms.is_none() {
        let batch = reader.batch().await.unwrap().batch;
        let read = batch.events().filter(|event| event.op() == Op::Read);
        copied.extend(read.map(|event| (int(&event.after().unwrap(), 0), int(&event.after().unwrap(), 1))));
        reader.confirm().await;
    }
    copied.sort_unstable();
    assert_eq!(copied, [(1, 1), (2, 1), (3, 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_copied_is_refused_at_once() {
    for flavour in Flavour::BOTH {
        let db = Db::shared(flavour);
        fill(&db, 1);
        db.run("CREATE TABLE keyless (a INT); CREATE TABLE other (a INT PRIMARY KEY)");
        let mut config = db.config();
        config["tables"] = json!(["t", "u", "keyless"].map(|name| format!("{}.{name}", db.name)));
        let other = Table { name: "mysql.user".into(), condition: None };
        for (asked, path, wanted) in [
            (table(&db, "other"), "tables[0]".to_owned(), "not captured"),
            (other, "tables[0]".into(), "not captured"),
            (table(&db, "tt"), "tables[0]".into(), "not captured"),
            (Table { name: "t".into(), condition: None }, "tables[0]".into(), "did you mean"),
            (table(&db, "keyles"), "tables[0]".into(), "did you mean"),
            (table(&db, "keyless"), "tables[0]".into(), "neither a primary key"),
            (chosen(&db, "t", "x = 1"), format!("where.{}.t", db.name), "no column x"),
            (chosen(&db, "t", "id = 1 OR"), format!("where.{}.t", db.name), "syntax"),
            (
                chosen(&db, "t", "1) UNION SELECT 1, 2, 3 FROM (mysql.user"),
                format!("where.{}.t", db.name),
                "has no `(`",
            ),
        ] {
            let name = asked.name.clone();
            match MysqlSource.check_snapshot(&config, &[asked]).await {
                Err(SnapshotError::Invalid(problems)) => {
                    assert_eq!((problems.len(), &problems[0].path), (1, &path));
                    assert!(problems[0].message.contains(wanted), "{name}: {}", problems[0].message);
                }
                other => panic!("{name}: {other:?}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_kept_for_less_than_a_copy_takes_is_told_before() {
    for flavour in Flavour::BOTH {
        let server = Server::start(flavour);
        let db = Db::of(&server);
        fill(&db, 1);
        let outlook = async |seconds: u32| {
            server.sql(&format!("SET GLOBAL binlog_expire_logs_seconds = {seconds}"));
            MysqlSource.check_snapshot(&db.config(), &[table(&db, "t")]).await.unwrap()
        };
        for seconds in [0, 86_400] {
            let long = outlook(seconds).await;
            assert!(long.warnings.is_empty() && long.outlasts_log.is_none(), "{long:?}");
        }
        let short = outlook(100).await;
        assert!(
            short.warnings[0].contains("keeps its log for 100 s") && short.outlasts_log.is_none(),
            "{short:?}"
        );
        let too_short = outlook(20).await.outlasts_log.unwrap();
        assert!(too_short.contains("keeps its log for 20 s"), "{too_short}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_asked_for_while_the_first_one_is_taken_comes_after_it() {
    let db = Db::shared(Flavour::MySql);
    fill(&db, 50);
    let mut config = in_chunks(&db, 10);
    config["snapshot"]["mode"] = json!("initial");
    let small = BatchLimits { max_events: 5, ..BatchLimits::default() };
    let mut reader = Reader::connect_with(config, None, small).await.unwrap();
    let id = reader.ask(vec![table(&db, "t")]).await;
    let mut replica = Replica::default();
    let ended = tokio::time::timeout(DEADLINE, reader.until_ended(id, &mut replica)).await.unwrap();
    assert_eq!((ended.state, ended.rows), (SnapshotState::Done, 50));
    assert_eq!((replica.copied("t"), replica.copied("u")), (100, 50));
}
