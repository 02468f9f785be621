//! Going on from a checkpoint, and refusing to.

use std::time::{SystemTime, UNIX_EPOCH};

use deltaforge_testkit::mysql::{Flavour, Server};
use deltaforge_testkit::wait;
use serde_json::json;

use crate::harness::{Db, Reader};

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_goes_on_behind_its_checkpoint_with_the_same_ids() {
    for flavour in Flavour::BOTH {
        let db = Db::shared(flavour);
        db.run("CREATE TABLE t (id INT PRIMARY KEY)");
        let mut reader = db.reader().await;
        db.run("INSERT INTO t VALUES (1)");
        reader.events(1).await;
        let checkpoint = reader.through.clone();
        db.run("INSERT INTO t VALUES (2); BEGIN; INSERT INTO t VALUES (3); UPDATE t SET id = 4 WHERE id = 3; COMMIT");
        let first = reader.events(4).await;
        drop(reader);
        let mut reader = Reader::connect(db.config(), checkpoint).await.unwrap();
        db.run("INSERT INTO t VALUES (5)");
        let again = reader.events(5).await;
        assert_eq!(again[..4], first);
        assert_eq!(again[4].line, "c t id=5");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_do_not_depend_on_what_else_is_captured() {
    for flavour in Flavour::BOTH {
        let db = Db::shared(flavour);
        db.run("CREATE TABLE t (id INT PRIMARY KEY); CREATE TABLE u (id INT PRIMARY KEY)");
        let mut both = db.reader().await;
        let mut config = db.config();
        config["tables"] = json!([format!("{}.t", db.name)]);
        config["id"] = json!(format!("{}_too", db.name));
        let mut one = Reader::connect(config, None).await.unwrap();
        db.run("BEGIN; INSERT INTO u VALUES (1), (2); INSERT INTO t VALUES (1), (2); COMMIT");
        let all = both.events(4).await;
        let own: Vec<String> = one.events(2).await.into_iter().map(|seen| seen.id).collect();
        assert_eq!(own, [all[2].id.clone(), all[3].id.clone()]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_gtids_a_restart_goes_on_by_file_and_offset() {
    let server = Server::start_with(Flavour::MySql, "--gtid-mode=OFF --enforce-gtid-consistency=OFF");
    let db = Db::of(&server);
    db.run("CREATE TABLE t (id INT PRIMARY KEY)");
    let mut reader = db.reader().await;
    db.run("INSERT INTO t VALUES (1); FLUSH BINARY LOGS; INSERT INTO t VALUES (2)");
    let seen = reader.events(2).await;
    assert!(!reader.through.as_ref().unwrap().as_str().contains("gtid"));
    let checkpoint = reader.through.clone();
    db.run("INSERT INTO t VALUES (3)");
    let third = reader.events(1).await;
    drop(reader);
    let mut reader = Reader::connect(db.config(), checkpoint.clone()).await.unwrap();
    assert_eq!(reader.events(1).await, third);
    assert_ne!(seen[0].id, seen[1].id);
    drop(reader);
    // The same place means nothing on another server.
    let other = Server::start_with(Flavour::MySql, "--gtid-mode=OFF --enforce-gtid-consistency=OFF");
    let mut config = db.config();
    config["dsn"] = json!(other.dsn());
    let failure = Reader::connect(config, checkpoint.clone()).await.err().unwrap();
    assert_eq!(failure.code, "source_changed");
    // Files that are gone were not read to the end.
    db.run("FLUSH BINARY LOGS; FLUSH BINARY LOGS; PURGE BINARY LOGS TO 'binlog.000004'");
    let failure = Reader::connect(db.config(), checkpoint).await.err().unwrap();
    assert_eq!(failure.code, "position_lost");
    assert!(failure.message.contains("binlog.000002"), "{failure}");
}

/// The last file of the log, and the name of it as `PURGE … TO` takes it.
fn last_file(server: &Server) -> String {
    server.sql("SHOW BINARY LOGS").last().unwrap()[0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn purged_transactions_stop_the_stream_and_are_named() {
    for flavour in Flavour::BOTH {
        let server = Server::start(flavour);
        let db = Db::of(&server);
        db.run("CREATE TABLE t (id INT PRIMARY KEY)");
        let mut reader = db.reader().await;
        db.run("INSERT INTO t VALUES (1)");
        reader.events(1).await;
        let checkpoint = reader.through.clone();
        drop(reader);
        db.run("INSERT INTO t VALUES (2); FLUSH BINARY LOGS; INSERT INTO t VALUES (3)");
        let missing = match flavour {
            Flavour::MySql => {
                let executed = server.sql("SELECT @@gtid_executed").concat().concat();
                let last: u64 = executed.rsplit('-').next().unwrap().parse().unwrap();
                format!("{}:{} are purged", executed.split(':').next().unwrap(), last - 1)
            }
            Flavour::MariaDb => {
                let last: u64 = server
                    .sql("SELECT @@gtid_binlog_pos")
                    .concat()
                    .concat()
                    .rsplit('-')
                    .next()
                    .unwrap()
                    .parse()
                    .unwrap();
                format!("up to 0-1-{} are purged", last - 1)
            }
        };
        // MariaDB keeps what a crash may need.
        deltaforge_testkit::wait::until("the log is purged", deltaforge_testkit::wait::SOON, || {
            server.sql(&format!("PURGE BINARY LOGS TO '{}'", last_file(&server)));
            (server.sql("SHOW BINARY LOGS").len() == 1).then_some(())
        });
        let failure = Reader::connect(db.config(), checkpoint).await.err().unwrap();
        assert_eq!(failure.code, "position_lost");
        assert!(failure.message.contains(&missing), "{missing}: {failure}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_server_that_wrote_before_is_nothing_that_is_missing() {
    let server = Server::start_with(Flavour::MariaDb, "--gtid-strict-mode=OFF");
    let db = Db::of(&server);
    db.run("CREATE TABLE t (id INT PRIMARY KEY); INSERT INTO t VALUES (1); FLUSH BINARY LOGS");
    deltaforge_testkit::wait::until("the log is purged", deltaforge_testkit::wait::SOON, || {
        server.sql(&format!("PURGE BINARY LOGS TO '{}'", last_file(&server)));
        (server.sql("SHOW BINARY LOGS").len() == 1).then_some(())
    });
    db.run("SET server_id = 2; INSERT INTO t VALUES (2)");
    let mut reader = db.reader().await;
    db.run("SET server_id = 2; INSERT INTO t VALUES (3)");
    assert_eq!(reader.lines(1).await, ["c t id=3"]);
    let checkpoint = reader.through.clone();
    drop(reader);
    let mut config = db.config();
    config["snapshot"] = serde_json::json!({"mode": "always"});
    let mut reader = Reader::connect(config, checkpoint).await.unwrap();
    assert_eq!(reader.lines(3).await, ["r t id=1", "r t id=2", "r t id=3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_went_back_is_refused() {
    for flavour in Flavour::BOTH {
        let server = Server::start(flavour);
        let db = Db::of(&server);
        db.run("CREATE TABLE t (id INT PRIMARY KEY)");
        let mut reader = db.reader().await;
        db.run("INSERT INTO t VALUES (1)");
        reader.events(1).await;
        let checkpoint = reader.through.clone();
        drop(reader);
        server.sql(if flavour == Flavour::MySql { "RESET BINARY LOGS AND GTIDS" } else { "RESET MASTER" });
        let failure = Reader::connect(db.config(), checkpoint).await.err().unwrap();
        assert_eq!(failure.code, "source_rewound");
        assert!(failure.message.contains("were delivered, and it does not know them"), "{failure}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_restarts_is_read_on() {
    for flavour in Flavour::BOTH {
        let server = Server::start(flavour);
        let db = Db::of(&server);
        db.run("CREATE TABLE t (id INT PRIMARY KEY)");
        let mut reader = db.reader().await;
        db.run("INSERT INTO t VALUES (1)");
        reader.events(1).await;
        let checkpoint = reader.through.clone();
        server.kill();
        let failure = reader.failure().await;
        assert_eq!(
            (failure.code, failure.next),
            ("mysql_unreachable", deltaforge_engine::error::Next::Retry)
        );
        server.start_again();
        db.run("INSERT INTO t VALUES (2)");
        let mut reader = Reader::connect(db.config(), checkpoint).await.unwrap();
        assert_eq!(reader.lines(1).await, ["c t id=2"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_its_server_died_in_is_not_handed_out() {
    // MySQL cuts it off its file when it starts.
    let server = Server::start(Flavour::MariaDb);
    let db = Db::of(&server);
    db.run("CREATE TABLE t (id INT PRIMARY KEY)");
    let mut reader = db.reader().await;
    db.run("INSERT INTO t VALUES (1)");
    reader.events(1).await;
    let checkpoint = reader.through.clone();
    drop(reader);
    db.run("INSERT INTO t VALUES (2); INSERT INTO t VALUES (3)");
    let base = server.sql("SELECT @@log_bin_basename").concat().concat();
    let file = std::path::Path::new(&base).with_file_name(last_file(&server));
    server.kill();
    // All of the last transaction is in the file, but for the event that ends it.
    const XID: u64 = 19 + 8 + 4;
    let file = std::fs::OpenOptions::new().write(true).open(file).unwrap();
    file.set_len(file.metadata().unwrap().len() - XID).unwrap();
    server.start_again();
    // It gets the number that the lost one had.
    db.run("INSERT INTO t VALUES (4)");
    let mut reader = Reader::connect(db.config(), checkpoint).await.unwrap();
    assert_eq!(reader.lines(2).await, ["c t id=2", "c t id=4"]);
}

/// A crash of the machine: the server has lost the end of its log, and its sessions commit other things in its place.
fn loses_its_end(server: &Server, db: &Db<'_>, then: &str) {
    server.kill();
    server.put_back();
    // A file of the log is known by the second in which it was begun.
    let second = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let lost = second();
    wait::until("the next second", wait::SOON, || (second() != lost).then_some(()));
    server.start_again();
    db.run(then);
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_that_were_given_twice_are_not_taken_for_what_was_read() {
    // Less is in the file of that name than was read, and more.
    for (flavour, then) in Flavour::BOTH.into_iter().flat_map(|flavour| [(flavour, 2), (flavour, 500)]) {
        let server = Server::start(flavour);
        let db = Db::of(&server);
        db.run("CREATE TABLE t (id INT PRIMARY KEY, v TEXT)");
        server.stop();
        server.keep();
        server.start_again();
        let mut reader = db.reader().await;
        db.run("INSERT INTO t VALUES (1, REPEAT('a', 9999)); INSERT INTO t VALUES (2, 'b')");
        reader.events(2).await;
        let checkpoint = reader.through.clone();
        drop(reader);
        let wide = if then > 2 { 999 } else { 1 };
        let other: Vec<String> =
            (10..10 + then).map(|id| format!("INSERT INTO t VALUES ({id}, REPEAT('c', {wide}))")).collect();
        loses_its_end(&server, &db, &other.join(";"));
        let failure = Reader::connect(db.config(), checkpoint).await.err().unwrap();
        assert_eq!(failure.code, "source_rewound", "{flavour:?} {then}: {failure}");
        assert!(failure.message.contains("binlog.0000"), "{failure}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_gtids_a_log_that_began_anew_under_the_same_names_is_noticed() {
    let server = Server::start_with(Flavour::MySql, "--gtid-mode=OFF --enforce-gtid-consistency=OFF");
    server.sql("RESET BINARY LOGS AND GTIDS");
    let db = Db::of(&server);
    db.run("CREATE TABLE t (id INT PRIMARY KEY, v TEXT)");
    let mut reader = db.reader().await;
    db.run("INSERT INTO t VALUES (1, 'a')");
    reader.events(1).await;
    let checkpoint = reader.through.clone();
    drop(reader);
    // It is known by the second in which it was begun.
    let second = || server.sql("SELECT UNIX_TIMESTAMP()").concat();
    let began = second();
    wait::until("the next second", wait::SOON, || (second() != began).then_some(()));
    server.sql("RESET BINARY LOGS AND GTIDS");
    db.run("INSERT INTO t VALUES (2, REPEAT('b', 9999))");
    let failure = Reader::connect(db.config(), checkpoint).await.err().unwrap();
    assert_eq!(failure.code, "source_rewound", "{failure}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_of_another_kind_of_server_is_refused() {
    let dbs = Flavour::BOTH.map(Db::shared);
    for (from, to) in [(&dbs[0], &dbs[1]), (&dbs[1], &dbs[0])] {
        from.run("CREATE TABLE t (id INT PRIMARY KEY)");
        let mut reader = from.reader().await;
        from.run("INSERT INTO t VALUES (1)");
        reader.lines(1).await;
        let failure = Reader::connect(to.config(), reader.through.clone()).await.err().unwrap();
        assert_eq!(failure.code, "source_changed");
        assert!(failure.message.contains("another kind of server"), "{failure}");
    }
}
