//! What is in the way of reading a server.

use deltaforge_engine::source::{Complaint, SourceFactory};
use deltaforge_source_mysql::MysqlSource;
use deltaforge_testkit::mysql::{Flavour, Pair, Server};
use serde_json::{Value, json};

use crate::harness::{Db, Reader};

async fn complaints(config: &Value) -> Vec<Complaint> {
    MysqlSource.examine(config).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_privilege_is_not_taken_for_one_whose_name_begins_like_it() {
    let server = Server::start(Flavour::MariaDb);
    let db = Db::of(&server);
    db.run("CREATE TABLE t (id INT PRIMARY KEY)");
    for (privileges, is_enough) in [
        ("SELECT, BINLOG MONITOR, REPLICATION SLAVE ADMIN", false),
        ("SELECT, BINLOG MONITOR, REPLICATION SLAVE", true),
        ("ALL PRIVILEGES", true),
    ] {
        let user = format!("u{}", privileges.len());
        server.account(&user, "BY 'a'", privileges);
        let mut config = db.config();
        config["dsn"] = json!(server.dsn_of(&user, "a"));
        let found = complaints(&config).await;
        let complains = found.iter().any(|found| found.fatal && found.what.contains("REPLICATION SLAVE"));
        assert_eq!(complains, !is_enough, "{privileges}: {found:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_does_not_log_what_it_gets_is_refused() {
    for flavour in Flavour::BOTH {
        let pair = Pair::start_with(flavour, "--log-slave-updates=OFF");
        let db = Db::of(&pair.primary);
        db.run("CREATE TABLE t (id INT PRIMARY KEY)");
        pair.wait_for(0, &db.table("t"));
        let mut config = db.config();
        config["dsn"] = json!(pair.replica.dsn());
        let found = complaints(&config).await;
        assert!(found.iter().any(|found| found.fatal && found.what.contains("is a replica")), "{found:?}");
        let failure = Reader::connect(config, None).await.err().unwrap();
        assert_eq!(failure.code, "mysql_not_ready");
    }
}

/// The privileges that the documentation tells to grant.
fn documented() -> &'static str {
    let text = include_str!("../../../../../docs/OPERATIONS.md");
    let grant = text.lines().find_map(|line| line.strip_prefix("GRANT ")).unwrap();
    grant.strip_suffix(" ON *.* TO deltaforge@'%';").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_privileges_are_enough() {
    for flavour in Flavour::BOTH {
        let db = Db::shared(flavour);
        db.run("CREATE TABLE t (id INT PRIMARY KEY, v TEXT); INSERT INTO t VALUES (1, 'old')");
        db.server.account("documented", "BY 'a'", documented());
        let mut config = db.config();
        config["dsn"] = json!(db.server.dsn_of("documented", "a"));
        config["snapshot"] = json!({"mode": "initial"});
        let found = complaints(&config).await;
        assert!(found.iter().all(|found| !found.fatal && !found.what.contains("may not")), "{found:?}");
        let mut reader = Reader::connect(config, None).await.unwrap();
        assert_eq!(reader.lines(1).await, ["r t id=1 v='old'"]);
        db.run("INSERT INTO t VALUES (2, 'new')");
        assert_eq!(reader.lines(1).await, ["c t id=2 v='new'"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_snapshot_may_have_to_lock_and_the_account_may_not_is_told() {
    for flavour in Flavour::BOTH {
        let db = Db::shared(flavour);
        db.run("CREATE TABLE keyed (id INT NOT NULL UNIQUE); CREATE TABLE bare (id INT, u INT UNIQUE)");
        let user = format!("locks_{}", db.name);
        db.server.account(&user, "BY 'a'", documented());
        let mut config = db.config();
        config["dsn"] = json!(db.server.dsn_of(&user, "a"));
        let of_locks = async |config: &Value| {
            let found = complaints(config).await;
            found.into_iter().find(|found| found.what.contains("LOCK TABLES"))
        };
        assert!(of_locks(&config).await.is_none(), "nothing is copied");
        config["snapshot"] = json!({"mode": "initial"});
        let told = of_locks(&config).await.unwrap();
        let bare = format!("{}.bare", db.name);
        assert!(!told.fatal && told.what.ends_with(&format!("(LOCK TABLES): {bare}")), "{told:?}");
        assert_eq!(told.mend, format!("GRANT LOCK TABLES ON `{}`.* TO '{user}'@'%'", db.name));
        db.server.sql(&told.mend);
        assert!(of_locks(&config).await.is_none(), "granted");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_transactions_have_no_gtids_a_snapshot_needs_the_privilege_to_lock() {
    let server = Server::start_with(Flavour::MySql, "--gtid-mode=OFF --enforce-gtid-consistency=OFF");
    let db = Db::of(&server);
    db.run("CREATE TABLE t (id INT PRIMARY KEY)");
    server.account("documented", "BY 'a'", documented());
    let mut config = db.config();
    config["dsn"] = json!(server.dsn_of("documented", "a"));
    config["snapshot"] = json!({"mode": "initial"});
    let of_reload = async || {
        let found = complaints(&config).await;
        found.into_iter().find(|found| found.what.contains("(RELOAD)"))
    };
    let told = of_reload().await.unwrap();
    assert!(told.fatal, "{told:?}");
    let failure = match Reader::connect(config.clone(), None).await {
        Ok(mut reader) => reader.failure().await,
        Err(failure) => failure,
    };
    assert_eq!(failure.code, "mysql_not_ready", "it is as doctor says: {failure:?}");
    server.sql(&told.mend);
    assert!(of_reload().await.is_none(), "granted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_of_mariadb_is_told_with_the_documented_privileges_and_one_that_stopped_with_one_more() {
    let pair = Pair::start_with(Flavour::MariaDb, "--log-slave-updates=OFF");
    pair.primary.account("documented", "BY 'a'", documented());
    let db = Db::of(&pair.primary);
    db.run("CREATE TABLE t (id INT PRIMARY KEY)");
    pair.wait_for(0, &db.table("t"));
    let mut config = db.config();
    config["dsn"] = json!(pair.replica.dsn_of("documented", "a"));
    let of_replication = async || {
        let found = complaints(&config).await;
        found.into_iter().find(|found| found.what.contains("log_slave_updates is OFF")).unwrap()
    };
    let running = of_replication().await;
    assert!(running.fatal && running.what.contains("is a replica"), "{running:?}");
    assert_eq!(Reader::connect(config.clone(), None).await.err().unwrap().code, "mysql_not_ready");
    pair.stop_replicating();
    let stopped = of_replication().await;
    assert!(!stopped.fatal && stopped.what.contains("may not ask"), "{stopped:?}");
    let grant = stopped.mend.split(", or ").next().unwrap();
    assert_eq!(grant, "GRANT SLAVE MONITOR ON *.* TO 'documented'@'%'");
    pair.replica.sql(grant);
    let stopped = of_replication().await;
    assert!(stopped.fatal && stopped.what.contains("is a replica"), "{stopped:?}");
    pair.replica.sql("RESET SLAVE ALL");
    assert!(!of_replication().await.fatal);
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_without_transactions_are_named_where_they_are_copied() {
    for flavour in Flavour::BOTH {
        let db = Db::shared(flavour);
        db.run("CREATE TABLE t (id INT PRIMARY KEY); CREATE TABLE old (id INT PRIMARY KEY) ENGINE = MyISAM");
        let named = format!("{}.old", db.name);
        for (mode, is_told) in [("never", false), ("initial", true)] {
            let mut config = db.config();
            config["snapshot"] = json!({"mode": mode});
            let found = complaints(&config).await;
            let told = found.iter().find(|found| found.what.contains("without transactions"));
            assert_eq!(told.is_some_and(|told| told.what.ends_with(&named)), is_told, "{found:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_keys_that_change_rows_are_logged_or_named() {
    for flavour in Flavour::BOTH {
        let db = Db::shared(flavour);
        db.run(
            "CREATE TABLE p (id INT PRIMARY KEY); CREATE TABLE c (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES p (id) ON \
             DELETE CASCADE); CREATE TABLE n (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES p (id) ON DELETE SET NULL ON \
             UPDATE CASCADE); INSERT INTO p VALUES (1), (2); INSERT INTO c VALUES (10, 1); INSERT INTO n VALUES (20, 1), (21, 2)",
        );
        let found = complaints(&db.config()).await;
        let is_named = found.iter().any(|found| found.what.contains("foreign keys"));
        let mut reader = db.reader().await;
        db.run("DELETE FROM p WHERE id = 1; UPDATE p SET id = 3 WHERE id = 2; INSERT INTO p VALUES (9)");
        let (mut lines, mut reads) = (Vec::new(), true);
        while reads {
            let batch = reader.batch().await.unwrap().batch;
            lines.extend(
                batch.events().map(|event| format!("{} {}", event.op().code(), event.table().name())),
            );
            reads = !batch
                .events()
                .any(|event| event.op().code() == "c" && event.ordinal() == 0 && event.table().name() == "p");
        }
        let is_logged =
            lines.iter().any(|line| line == "d c") && lines.iter().filter(|line| *line == "u n").count() == 2;
        assert_eq!(is_logged, !is_named, "{flavour:?}: {lines:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_xa_is_used_an_account_that_may_not_list_transactions_is_told() {
    for flavour in Flavour::BOTH {
        let server = Server::start(flavour);
        let db = Db::of(&server);
        db.run("CREATE TABLE t (id INT PRIMARY KEY)");
        server.account("documented", "BY 'a'", documented());
        let mut config = db.config();
        config["dsn"] = json!(server.dsn_of("documented", "a"));
        let of_xa = async || {
            let found = complaints(&config).await;
            found.into_iter().find(|found| found.what.contains("XA transactions")).map(|found| found.mend)
        };
        assert_eq!(of_xa().await, None);
        db.run("XA START 'x'; INSERT INTO t VALUES (1); XA END 'x'; XA PREPARE 'x'");
        let mend = (flavour == Flavour::MySql)
            .then(|| "GRANT XA_RECOVER_ADMIN ON *.* TO 'documented'@'%'".to_owned());
        assert_eq!(of_xa().await, mend);
        let mut reader = Reader::connect(config.clone(), None).await.unwrap();
        db.run("INSERT INTO t VALUES (2)");
        assert_eq!(reader.lines(1).await, ["c t id=2"]);
        if let Some(grant) = mend {
            server.sql(&grant);
            assert_eq!(of_xa().await, None);
        }
        config["id"] = json!(format!("{}_again", db.name));
        let mut reader = Reader::connect(config.clone(), None).await.unwrap();
        db.run("XA COMMIT 'x'");
        assert_eq!(reader.lines(1).await, ["c t id=1"]);
    }
}
