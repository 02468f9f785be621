//! What statements become.

use std::sync::atomic::{AtomicBool, Ordering};

use deltaforge_testkit::mysql::{Flavour, Server};
use serde_json::json;

use crate::harness::{Db, Reader};

#[tokio::test(flavor = "multi_thread")]
async fn changes_arrive_in_order_with_their_transactions() {
    for flavour in Flavour::BOTH {
        let db = Db::shared(flavour);
        db.run("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20))");
        let mut reader = db.reader().await;
        db.run(
            "INSERT INTO t VALUES (1, 'a'), (2, NULL);
             BEGIN; UPDATE t SET v = 'b' WHERE id = 1; DELETE FROM t WHERE id = 2; COMMIT;
             UPDATE t SET id = 9 WHERE id = 1",
        );
        let seen = reader.events(6).await;
        let lines: Vec<&str> = seen.iter().map(|seen| seen.line.as_str()).collect();
        assert_eq!(
            lines,
            [
                "c t id=1 v='a'",
                "c t id=2 v=NULL",
                "u t [id=1 v='a'] id=1 v='b'",
                "d t [id=2 v=NULL]",
                "d t [id=1 v='b']",
                "c t id=9 v='b'",
            ]
        );
        let ordinals: Vec<u32> = seen.iter().map(|seen| seen.ordinal).collect();
        assert_eq!(ordinals, [0, 1, 0, 1, 0, 1]);
        let last: Vec<bool> = seen.iter().map(|seen| seen.last).collect();
        assert_eq!(last, [false, true, false, true, false, true]);
        assert_eq!(seen[0].transaction, seen[1].transaction);
        assert_ne!(seen[1].transaction, seen[2].transaction);
        // The new key beside the old row, the old one beside the new.
        assert_eq!(seen[4].headers, [("__debezium.newkey".to_owned(), String::new())]);
        assert_eq!(seen[5].headers, [("__debezium.oldkey".to_owned(), String::new())]);
        let names: Vec<&str> = seen[0].source.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["server_id", "gtid", "file"]);
        let gtid = serde_json::from_str::<String>(&seen[0].source[1].1).unwrap();
        assert_eq!(Some(&gtid), seen[0].transaction.as_ref());
        let mut ids: Vec<&String> = seen.iter().map(|seen| &seen.id).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 6);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_rolled_back_or_not_captured_does_not_arrive() {
    for flavour in Flavour::BOTH {
        let db = Db::shared(flavour);
        db.run("CREATE TABLE t (id INT PRIMARY KEY); CREATE TABLE other (id INT PRIMARY KEY)");
        let mut config = db.config();
        config["tables"] = json!([format!("{}.t", db.name)]);
        let mut reader = Reader::connect(config, None).await.unwrap();
        db.run(
            "BEGIN; INSERT INTO t VALUES (1); ROLLBACK;
             BEGIN; INSERT INTO t VALUES (2); SAVEPOINT s; INSERT INTO t VALUES (3); ROLLBACK TO s; COMMIT;
             INSERT INTO other VALUES (1);
             INSERT INTO t VALUES (7)",
        );
        assert_eq!(reader.lines(2).await, ["c t id=2", "c t id=7"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_before_a_savepoint_that_is_rolled_back_to_stay() {
    // MySQL takes such a transaction only without GTIDs.
    let own = Server::start_with(Flavour::MySql, "--gtid-mode=OFF --enforce-gtid-consistency=OFF");
    for server in [Server::shared(Flavour::MariaDb), &own] {
        let db = Db::of(server);
        db.run("CREATE TABLE t (id INT PRIMARY KEY); CREATE TABLE plain (id INT) ENGINE = MyISAM");
        let mut reader = db.reader().await;
        db.run(
            "BEGIN; INSERT INTO t VALUES (4); SAVEPOINT s; INSERT INTO plain VALUES (5); INSERT INTO t VALUES (6);
             ROLLBACK TO s; INSERT INTO t VALUES (7); COMMIT",
        );
        let mut lines = reader.lines(3).await;
        // Rows that no transaction holds are logged before it.
        lines.sort();
        assert_eq!(lines, ["c plain id=5", "c t id=4", "c t id=7"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_without_a_primary_key_have_their_unique_one() {
    for flavour in Flavour::BOTH {
        let db = Db::shared(flavour);
        db.run("CREATE TABLE t (a INT NULL UNIQUE, b INT NOT NULL, c INT NOT NULL, UNIQUE (c, b)); CREATE TABLE u (a INT)");
        let mut reader = db.reader().await;
        for (insert, key) in
            [("INSERT INTO t VALUES (1, 2, 3)", vec!["c", "b"]), ("INSERT INTO u VALUES (1)", vec![])]
        {
            db.run(insert);
            let batch = reader.batch().await.unwrap().batch;
            let schema = &batch.tables()[0];
            let names: Vec<&str> =
                schema.key().iter().map(|at| schema.columns()[usize::from(*at)].name.as_str()).collect();
            assert_eq!(names, key);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_without_names_is_read_by_definitions() {
    for flavour in Flavour::BOTH {
        let metadata = if flavour == Flavour::MySql { "MINIMAL" } else { "NO_LOG" };
        let db = Db::shared(flavour);
        db.run("CREATE TABLE t (id INT UNSIGNED PRIMARY KEY, kind ENUM('a', 'b'), name VARCHAR(9) CHARACTER SET latin1)");
        let mut reader = db.reader().await;
        // Of the server, and while nobody else writes: other readers are not disturbed.
        db.run(&format!(
            "SET GLOBAL binlog_row_metadata = {metadata}; INSERT INTO t VALUES (4000000000, 'b', 'ä'); SET GLOBAL \
             binlog_row_metadata = FULL"
        ));
        assert_eq!(reader.lines(1).await, ["c t id=4000000000 kind=Enum(\"b\") name='ä'"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn definitions_are_those_of_the_place_where_a_stream_begins() {
    for flavour in Flavour::BOTH {
        // One's own: the log tells no names.
        let server = Server::start_with(flavour, "--binlog-row-metadata=MINIMAL");
        let db = Db::of(&server);
        // It takes a while to ask for all of them, and for the one that changes last.
        let others: Vec<String> =
            (0..500).map(|at| format!("CREATE TABLE other{at} (id INT PRIMARY KEY)")).collect();
        db.run(&format!(
            "{}; CREATE TABLE t (id BIGINT PRIMARY KEY AUTO_INCREMENT, c0 CHAR(9))",
            others.join("; ")
        ));
        let stop = AtomicBool::new(false);
        let stopped = || stop.load(Ordering::Relaxed);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for at in (1..).take_while(|_| !stopped()) {
                    let was = at - 1;
                    db.run(&format!(
                        "INSERT INTO t (c{was}) VALUES ('c{was}'); ALTER TABLE t RENAME COLUMN c{was} TO c{at}; DO SLEEP(0.5)"
                    ));
                }
            });
            // Also when this panics.
            let _stop = Stop(&stop);
            let runtime = tokio::runtime::Handle::current();
            tokio::task::block_in_place(|| {
                runtime.block_on(async {
                    for _ in 0..15 {
                        let mut reader = db.reader().await;
                        let lines = reader.at_least(2).await.into_iter().map(|seen| seen.line);
                        for line in lines.filter(|line| !line.starts_with("ddl")) {
                            let (name, value) = line.rsplit(' ').next().unwrap().split_once('=').unwrap();
                            assert_eq!(value, format!("'{name}'"), "{flavour:?}: {line}");
                        }
                    }
                });
            });
        });
    }
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn definitions_of_today_are_not_taken_for_those_of_an_old_position() {
    for flavour in Flavour::BOTH {
        let server = Server::start(flavour);
        let metadata = if flavour == Flavour::MySql { "MINIMAL" } else { "NO_LOG" };
        server.sql(&format!("SET GLOBAL binlog_row_metadata = {metadata}"));
        let db = Db::of(&server);
        db.run("CREATE TABLE t (id INT PRIMARY KEY, kind ENUM('a', 'b'))");
        let mut reader = db.reader().await;
        db.run("INSERT INTO t VALUES (1, 'a')");
        reader.events(1).await;
        let stood = reader.through.clone();
        db.run("INSERT INTO t VALUES (2, 'a'); ALTER TABLE t MODIFY kind ENUM('b', 'a')");
        assert_eq!(reader.lines(2).await[0], "c t id=2 kind=Enum(\"a\")");
        // The host's state is gone, and a sink knows where it stood.
        let mut config = db.config();
        config["id"] = json!(format!("{} anew", db.name));
        let mut reader = Reader::connect(config.clone(), stood).await.unwrap();
        let failure = reader.failure().await;
        assert!(failure.message.contains("does not name the columns of"), "{failure}");
        // At the end of the log they are what the server says.
        config["id"] = json!(format!("{} at the end", db.name));
        let mut reader = Reader::connect(config, None).await.unwrap();
        db.run("INSERT INTO t VALUES (3, 'a')");
        assert_eq!(reader.lines(1).await, ["c t id=3 kind=Enum(\"a\")"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_an_outbox_are_marked() {
    for flavour in Flavour::BOTH {
        let db = Db::shared(flavour);
        let engine = if flavour == Flavour::MySql { "ENGINE = BLACKHOLE" } else { "" };
        db.run(&format!(
            "CREATE TABLE t (id INT PRIMARY KEY); CREATE TABLE outbox (id INT PRIMARY KEY) {engine}"
        ));
        let mut config = db.config();
        config["outbox"] = json!({"tables": ["*.outbox"]});
        let mut reader = Reader::connect(config, None).await.unwrap();
        db.run("BEGIN; INSERT INTO t VALUES (1); INSERT INTO outbox VALUES (1); COMMIT");
        let seen = reader.events(2).await;
        assert_eq!(seen[0].tags, None);
        assert_eq!(seen[1].tags, Some(vec!["__outbox".to_owned()]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_transactions_and_tagged_gtids_arrive() {
    let db = Db::shared(Flavour::MySql);
    db.run("CREATE TABLE t (id INT PRIMARY KEY, v TEXT)");
    let mut reader = db.reader().await;
    db.run(
        "SET binlog_transaction_compression = ON; INSERT INTO t VALUES (1, REPEAT('a', 2000)), (2, 'b');
         SET binlog_transaction_compression = OFF; SET gtid_next = 'AUTOMATIC:shop'; INSERT INTO t VALUES (3, 'c')",
    );
    let seen = reader.events(3).await;
    assert!(seen[0].line.ends_with("aaa'"));
    assert!(seen[1].last && !seen[0].last);
    assert!(seen[2].transaction.as_ref().unwrap().contains(":shop:"), "{seen:?}");
    // Another reader goes on behind it: the server understands the set with the tag.
    let through = reader.through.clone();
    drop(reader);
    let mut reader = Reader::connect(db.config(), through).await.unwrap();
    db.run("INSERT INTO t VALUES (4, 'd')");
    assert_eq!(reader.lines(1).await, ["c t id=4 v='d'"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_in_place_of_rows_are_refused() {
    for flavour in Flavour::BOTH {
        // One's own: every reader of the server stops there.
        let server = Server::start(flavour);
        let db = Db::of(&server);
        db.run("CREATE TABLE t (id INT PRIMARY KEY)");
        let mut reader = db.reader().await;
        db.run("SET SESSION binlog_format = 'STATEMENT'; INSERT INTO t VALUES (1)");
        let failure = reader.failure().await;
        assert_eq!(failure.code, "mysql_not_ready");
        assert!(failure.message.contains("binlog_format is not ROW"), "{failure}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_documents_that_are_not_in_the_log_are_refused() {
    let db = Db::shared(Flavour::MySql);
    db.run("CREATE TABLE t (id INT PRIMARY KEY, n INT, j JSON)");
    let mut reader = db.reader().await;
    let partly = "SET binlog_row_value_options = 'PARTIAL_JSON';";
    db.run(&format!(
        r#"INSERT INTO t VALUES (1, 1, '{{"a": 1, "long": "0123456789012345678901234567890123456789"}}');
           {partly} UPDATE t SET j = JSON_SET(j, '$.a', 2) WHERE id = 1;
           SET binlog_row_image = 'MINIMAL'; UPDATE t SET n = 2 WHERE id = 1"#
    ));
    let lines = reader.lines(3).await;
    assert!(
        lines[1]
            .ends_with(r#"n=1 j=Json("{\"a\":2,\"long\":\"0123456789012345678901234567890123456789\"}")"#),
        "{lines:?}"
    );
    db.run(&format!(
        "{partly} SET binlog_row_image = 'MINIMAL'; UPDATE t SET j = JSON_SET(j, '$.a', 3) WHERE id = 1"
    ));
    let failure = reader.failure().await;
    assert_eq!(failure.code, "table_unreadable");
    let names = format!("{}.t has only what changed in the JSON documents of column j", db.name);
    assert!(failure.message.contains(&names), "{failure:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_without_events_is_told() {
    for flavour in Flavour::BOTH {
        let db = Db::shared(flavour);
        db.run("CREATE TABLE other (id INT PRIMARY KEY)");
        let mut config = db.config();
        config["tables"] = json!(["nothing.here"]);
        let mut reader = Reader::connect(config, None).await.unwrap();
        db.run("INSERT INTO other VALUES (1)");
        let batch = reader.batch().await.unwrap();
        assert_ne!(batch.covers.from, batch.covers.through);
        assert_eq!(batch.batch.event(0).op(), deltaforge_model::Op::Heartbeat);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_is_told_once_of_each_table_that_it_touches() {
    for flavour in Flavour::BOTH {
        let db = Db::shared(flavour);
        db.run(
            "CREATE TABLE a (id INT PRIMARY KEY); CREATE TABLE parted (id INT PRIMARY KEY) PARTITION BY HASH (id) PARTITIONS 2;
             CREATE TABLE single (id INT PRIMARY KEY)",
        );
        let mut reader = db.reader().await;
        let mut tables = async |sql: &str, count: usize| {
            db.run(sql);
            let seen = reader.events(count).await;
            assert!(seen.iter().all(|seen| seen.note.as_deref() == Some(sql)), "{sql}: {seen:?}");
            let mut tables: Vec<String> =
                seen.iter().map(|seen| seen.line.split(' ').nth(1).unwrap().to_owned()).collect();
            tables.sort();
            tables
        };
        assert_eq!(tables("RENAME TABLE a TO b", 2).await, ["a", "b"]);
        assert_eq!(tables("ALTER TABLE b RENAME TO c", 2).await, ["b", "c"]);
        assert_eq!(
            tables("ALTER TABLE parted EXCHANGE PARTITION p0 WITH TABLE single", 2).await,
            ["parted", "single"]
        );
        if flavour == Flavour::MariaDb {
            assert_eq!(tables("CREATE OR REPLACE TABLE c (id INT PRIMARY KEY, v INT)", 1).await, ["c"]);
        }
        // Nothing more was told of any of them.
        assert_eq!(tables("ALTER TABLE c ADD COLUMN w INT", 1).await, ["c"]);
    }
}
