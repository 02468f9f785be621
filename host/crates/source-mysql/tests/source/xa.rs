//! XA transactions: rows come to be when the second phase says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use deltaforge_engine::batcher::BatchLimits;
use deltaforge_testkit::mysql::{Flavour, Server};
use deltaforge_testkit::wait;
use serde_json::json;

use crate::harness::{Db, Reader};

#[tokio::test(flavor = "multi_thread")]
async fn prepared_rows_arrive_at_their_commit() {
    for flavour in Flavour::BOTH {
        let server = Server::start(flavour);
        let db = Db::of(&server);
        db.run("CREATE TABLE t (id INT PRIMARY KEY)");
        let mut reader = db.reader().await;
        let name = &db.name;
        db.run(&format!(
            "XA START '{name}a'; INSERT INTO t VALUES (1), (2); XA END '{name}a'; XA PREPARE '{name}a'"
        ));
        db.run("INSERT INTO t VALUES (3)");
        let between = reader.events(1).await;
        assert_eq!(between[0].line, "c t id=3");
        let checkpoint = reader.through.clone();
        assert!(checkpoint.as_ref().unwrap().as_str().contains("\"open\""));
        db.run(&format!("XA COMMIT '{name}a'; INSERT INTO t VALUES (4)"));
        let seen = reader.events(3).await;
        let lines: Vec<&str> = seen.iter().map(|seen| seen.line.as_str()).collect();
        assert_eq!(lines, ["c t id=1", "c t id=2", "c t id=4"]);
        assert!(seen[1].last && !seen[0].last);
        assert!(!reader.through.as_ref().unwrap().as_str().contains("\"open\""));
        drop(reader);
        // Who was stopped between the two phases reads the rows again, and nothing else.
        let mut reader = Reader::connect(db.config(), checkpoint).await.unwrap();
        assert_eq!(reader.events(3).await, seen);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_stopped_twice_between_the_phases_has_the_rows_still() {
    for flavour in Flavour::BOTH {
        let server = Server::start(flavour);
        let db = Db::of(&server);
        db.run("CREATE TABLE t (id INT PRIMARY KEY)");
        let mut reader = db.reader().await;
        let name = &db.name;
        db.run(&format!(
            "XA START '{name}a'; INSERT INTO t VALUES (1); XA END '{name}a'; XA PREPARE '{name}a'"
        ));
        for id in [2, 3, 4] {
            db.run(&format!("INSERT INTO t VALUES ({id})"));
            assert_eq!(reader.lines(1).await, [format!("c t id={id}")]);
            let checkpoint = reader.through.clone();
            drop(reader);
            reader = Reader::connect(db.config(), checkpoint).await.unwrap();
        }
        db.run(&format!("XA COMMIT '{name}a'"));
        assert_eq!(reader.lines(1).await, ["c t id=1"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rolled_back_and_one_phase_transactions_are_what_they_are() {
    for flavour in Flavour::BOTH {
        let server = Server::start(flavour);
        let db = Db::of(&server);
        db.run("CREATE TABLE t (id INT PRIMARY KEY)");
        let mut reader = db.reader().await;
        let name = &db.name;
        db.run(&format!(
            "XA START '{name}b'; INSERT INTO t VALUES (1); XA END '{name}b'; XA PREPARE '{name}b'; XA ROLLBACK '{name}b';
             XA START '{name}c'; INSERT INTO t VALUES (2); XA END '{name}c'; XA COMMIT '{name}c' ONE PHASE;
             INSERT INTO t VALUES (3)"
        ));
        assert_eq!(reader.lines(2).await, ["c t id=2", "c t id=3"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_ones_too() {
    let server = Server::start(Flavour::MySql);
    let db = Db::of(&server);
    db.run("CREATE TABLE t (id INT PRIMARY KEY, v TEXT)");
    let mut reader = db.reader().await;
    let name = &db.name;
    db.run(&format!(
        "SET binlog_transaction_compression = ON; XA START '{name}'; INSERT INTO t VALUES (1, REPEAT('a', 999)); XA END \
         '{name}'; XA PREPARE '{name}'; XA COMMIT '{name}'; INSERT INTO t VALUES (2, '')"
    ));
    let lines = reader.lines(2).await;
    assert!(lines[0].starts_with("c t id=1 v='aaa") && lines[1].starts_with("c t id=2"), "{lines:?}");
}

/// Servers whose logs name places in different ways.
fn servers() -> impl Iterator<Item = Server> {
    let all = [
        (Flavour::MySql, ""),
        (Flavour::MySql, "--gtid-mode=OFF --enforce-gtid-consistency=OFF"),
        (Flavour::MariaDb, ""),
        (Flavour::MariaDb, "--gtid-strict-mode=OFF"),
    ];
    all.into_iter().map(|(flavour, options)| Server::start_with(flavour, options))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_prepared_before_a_first_start_arrives_at_its_commit() {
    for server in servers() {
        let db = Db::of(&server);
        db.run(
            "CREATE TABLE t (id INT PRIMARY KEY);
             XA START 'x', X'00ff2c', 7; INSERT INTO t VALUES (1), (2); XA END 'x', X'00ff2c', 7; XA PREPARE 'x', X'00ff2c', 7",
        );
        // Of one name as before, in a file of its own.
        db.run("XA START 'y'; INSERT INTO t VALUES (3); XA END 'y'; XA PREPARE 'y'; XA COMMIT 'y'; FLUSH BINARY LOGS");
        db.run("XA START 'y'; INSERT INTO t VALUES (4); XA END 'y'; XA PREPARE 'y'");
        db.run("FLUSH BINARY LOGS; INSERT INTO t VALUES (5)");
        let mut reader = db.reader().await;
        db.run("INSERT INTO t VALUES (6)");
        assert_eq!(reader.lines(1).await, ["c t id=6"]);
        let checkpoint = reader.through.clone();
        assert!(checkpoint.as_ref().unwrap().as_str().contains("\"open\""));
        db.run("XA COMMIT 'x', X'00ff2c', 7; XA ROLLBACK 'y'; INSERT INTO t VALUES (7)");
        let seen = reader.events(3).await;
        let lines: Vec<&str> = seen.iter().map(|seen| seen.line.as_str()).collect();
        assert_eq!(lines, ["c t id=1", "c t id=2", "c t id=7"]);
        assert!(!reader.through.as_ref().unwrap().as_str().contains("\"open\""));
        drop(reader);
        let mut reader = Reader::connect(db.config(), checkpoint).await.unwrap();
        assert_eq!(reader.events(3).await, seen);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_prepared_before_a_copy_arrives_at_its_commit() {
    for server in servers() {
        let db = Db::of(&server);
        db.run(
            "CREATE TABLE t (id INT PRIMARY KEY); INSERT INTO t VALUES (1);
             XA START 'x'; INSERT INTO t VALUES (2); XA END 'x'; XA PREPARE 'x'",
        );
        let mut config = db.config();
        config["snapshot"] = json!({"mode": "initial"});
        let mut reader = Reader::connect(config.clone(), None).await.unwrap();
        assert_eq!(reader.lines(1).await, ["r t id=1"]);
        let copied = reader.through.clone();
        assert!(copied.as_ref().unwrap().as_str().contains("\"open\""), "{copied:?}");
        drop(reader);
        db.run("XA COMMIT 'x'; INSERT INTO t VALUES (3)");
        let mut reader = Reader::connect(config, copied).await.unwrap();
        assert_eq!(reader.lines(2).await, ["c t id=2", "c t id=3"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_xa_transactions_come_and_go_a_first_start_loses_none() {
    for flavour in Flavour::BOTH {
        let server = Server::start(flavour);
        let db = Db::of(&server);
        db.run("CREATE TABLE t (id INT PRIMARY KEY)");
        let handle = server.handle();
        let (next, done) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
        let writers: Vec<_> = (0..4)
            .map(|_| {
                let (mut session, database) = (handle.session(), db.name.clone());
                let (next, done) = (next.clone(), done.clone());
                std::thread::spawn(move || {
                    session.run(&format!("USE {database}"));
                    while !done.load(Ordering::SeqCst) {
                        let id = next.fetch_add(1, Ordering::SeqCst);
                        assert!(session.run(&format!(
                            "XA START '{id}'; INSERT INTO t VALUES ({id}); XA END '{id}'; XA PREPARE '{id}'; XA COMMIT '{id}'"
                        )));
                    }
                })
            })
            .collect();
        let mut config = db.config();
        config["snapshot"] = json!({"mode": "initial"});
        // Each start is a first one.
        let mut readers = Vec::new();
        for start in 0..10 {
            config["id"] = json!(format!("{}_{start}", db.name));
            readers.push(Reader::connect(config.clone(), None).await.unwrap());
        }
        done.store(true, Ordering::SeqCst);
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        let rows = next.load(Ordering::SeqCst);
        for mut reader in readers {
            let mut ids: Vec<u32> = Vec::new();
            for line in reader.lines(rows as usize).await {
                ids.push(line.rsplit('=').next().unwrap().parse().unwrap());
            }
            ids.sort_unstable();
            assert_eq!(ids, (0..rows).collect::<Vec<_>>());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_that_a_server_was_restored_with_are_not_asked_for() {
    let server = Server::start(Flavour::MySql);
    server.sql(
        "RESET BINARY LOGS AND GTIDS; SET GLOBAL gtid_purged = '3e11fa47-71ca-11e1-9e33-c80aa9429562:1-23'",
    );
    let db = Db::of(&server);
    db.run("CREATE TABLE t (id INT PRIMARY KEY); XA START 'x'; INSERT INTO t VALUES (1); XA END 'x'; XA PREPARE 'x'");
    let mut reader = db.reader().await;
    db.run("XA COMMIT 'x'; INSERT INTO t VALUES (2)");
    assert_eq!(reader.lines(2).await, ["c t id=1", "c t id=2"]);
    assert!(!reader.through.as_ref().unwrap().as_str().contains("\"open\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn large_ones_that_have_ended_are_not_in_the_way_of_one_that_has_not() {
    for flavour in Flavour::BOTH {
        let server = Server::start(flavour);
        let db = Db::of(&server);
        let rows: Vec<String> = (10..200).map(|id| format!("({id}, REPEAT('a', 900))")).collect();
        let rows = rows.join(", ");
        db.run(&format!(
            "CREATE TABLE t (id INT PRIMARY KEY, v TEXT);
             XA START 'large'; INSERT INTO t VALUES {rows}; XA END 'large'; XA PREPARE 'large'; XA COMMIT 'large'"
        ));
        db.run("XA START 'x'; INSERT INTO t VALUES (1, NULL); XA END 'x'; XA PREPARE 'x'");
        let limits = BatchLimits { hard_bytes: 64 << 10, ..BatchLimits::default() };
        let mut reader = Reader::connect_with(db.config(), None, limits).await.unwrap();
        db.run("XA COMMIT 'x'; INSERT INTO t VALUES (2, NULL)");
        assert_eq!(reader.lines(2).await, ["c t id=1 v=NULL", "c t id=2 v=NULL"]);
        // Of one that has not ended there is something to lose.
        db.run(&format!(
            "DELETE FROM t; XA START 'late'; INSERT INTO t VALUES {rows}; XA END 'late'; XA PREPARE 'late'"
        ));
        let mut late = Reader::connect_with(db.config(), None, limits).await.unwrap();
        db.run("XA COMMIT 'late'");
        let failure = late.failure().await;
        assert_eq!(failure.code, "row_too_large", "{failure}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_outlives_the_log_of_one_that_is_prepared_for_ever() {
    let server = Server::start(Flavour::MySql);
    let db = Db::of(&server);
    db.run("CREATE TABLE t (id INT PRIMARY KEY); XA START 'x'; INSERT INTO t VALUES (1); XA END 'x'; XA PREPARE 'x'");
    let mut reader = db.reader().await;
    db.run("FLUSH BINARY LOGS; INSERT INTO t VALUES (2)");
    assert_eq!(reader.lines(1).await, ["c t id=2"]);
    let checkpoint = reader.through.clone();
    drop(reader);
    let files = db.run("FLUSH BINARY LOGS; SHOW BINARY LOGS");
    wait::until("the log is purged", wait::SOON, || {
        db.run(&format!("PURGE BINARY LOGS TO '{}'", files[files.len() - 2][0]));
        (db.run("SHOW BINARY LOGS").len() == 2).then_some(())
    });
    let mut reader = Reader::connect(db.config(), checkpoint).await.unwrap();
    db.run("INSERT INTO t VALUES (3)");
    assert_eq!(reader.lines(1).await, ["c t id=3"]);
    db.run("XA COMMIT 'x'");
    assert_eq!(reader.failure().await.code, "mysql_unsupported");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_of_what_the_log_no_longer_has_is_refused() {
    for flavour in Flavour::BOTH {
        let server = Server::start(flavour);
        let db = Db::of(&server);
        db.run("CREATE TABLE t (id INT PRIMARY KEY); XA START 'x'; INSERT INTO t VALUES (1); XA END 'x'; XA PREPARE 'x'");
        db.run("FLUSH BINARY LOGS; FLUSH BINARY LOGS");
        let files = db.run("SHOW BINARY LOGS");
        db.run(&format!("PURGE BINARY LOGS TO '{}'", files.last().unwrap()[0]));
        let mut reader = db.reader().await;
        db.run("XA COMMIT 'x'");
        if flavour == Flavour::MariaDb {
            // It purges no file with the rows of one that is prepared.
            assert_eq!(reader.lines(1).await, ["c t id=1"]);
            continue;
        }
        let failure = reader.failure().await;
        assert_eq!(failure.code, "mysql_unsupported");
        assert!(failure.message.contains("was prepared before the stream began"), "{failure}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_tables_that_nobody_captures_are_not_kept() {
    for flavour in Flavour::BOTH {
        for compressed in [false, true] {
            if compressed && flavour == Flavour::MariaDb {
                continue;
            }
            let server = Server::start(flavour);
            let db = Db::of(&server);
            db.run(
                "CREATE TABLE t (id INT PRIMARY KEY); CREATE TABLE other (id INT PRIMARY KEY, v LONGTEXT)",
            );
            let mut config = db.config();
            config["tables"] = json!([format!("{}.t", db.name)]);
            let limits = BatchLimits { hard_bytes: 64 << 10, ..BatchLimits::default() };
            let mut reader = Reader::connect_with(config, None, limits).await.unwrap();
            let set = if compressed { "SET binlog_transaction_compression = ON;" } else { "" };
            let many: Vec<String> = (1..100)
                .map(|id| format!("INSERT INTO other VALUES ({id}, HEX(RANDOM_BYTES(1000)))"))
                .collect();
            let (many, own) = (many.join(";"), "INSERT INTO t VALUES (1)");
            db.run(&format!("{set} XA START 'a'; {many}; XA END 'a'; XA PREPARE 'a'"));
            let own = if compressed { "" } else { own };
            db.run(&format!(
                "{set} XA START 'b'; {}; {own}; {} XA END 'b'; XA PREPARE 'b'",
                many.replace("VALUES (", "VALUES (200 + "),
                if own.is_empty() { "" } else { "INSERT INTO other VALUES (500, 'x');" }
            ));
            db.run("XA COMMIT 'a'; XA COMMIT 'b'; INSERT INTO t VALUES (2)");
            let expected = if compressed { vec!["c t id=2"] } else { vec!["c t id=1", "c t id=2"] };
            assert_eq!(reader.lines(expected.len()).await, expected, "{flavour:?} {compressed}");
        }
    }
}
